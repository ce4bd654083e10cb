import itertools

import numpy as np
import pytest

from compass_ops.monitoring.permutation import benjamini_hochberg, holm, step_down_max_t, window_sums
from tests import oracles


def test_the_first_sum_is_the_window_as_it_is() -> None:
    features = np.arange(15.0).reshape(5, 3)
    assert window_sums(features, (3, 2), 7, np.random.default_rng(0))[0].tolist() == features[3:].sum(0).tolist()


def test_every_subset_of_blocks_is_drawn_alike() -> None:
    features = np.diag([1.0, 10.0, 100.0, 1000.0])
    sums = window_sums(features, (2, 2), 12_000, np.random.default_rng(1))[1:].sum(axis=1)
    subsets, counts = np.unique(sums, return_counts=True)
    assert len(subsets) == len(list(itertools.combinations(range(4), 2)))
    assert counts == pytest.approx(2000, abs=5 * np.sqrt(2000))


def test_step_down_equals_the_naive_loop() -> None:
    rng = np.random.default_rng(11)
    statistics = rng.chisquare(3, (9, 60))
    statistics[2, 0] += 30
    statistics[5, 0] += 9
    np.testing.assert_allclose(step_down_max_t(statistics), oracles.step_down(statistics), atol=1e-12)
    assert step_down_max_t(statistics)[2] == pytest.approx(1 / 60)


def test_step_down_by_hand() -> None:
    # Standardised, row 0 is (+, -, -, -): its observed value is above every maximum, so 1 / 4. Of what remains,
    # row 1 alone decides: two of its three permutations reach the observed one.
    statistics = np.array([[9.0, 1.0, 1.0, 1.0], [2.0, 3.0, 1.0, 2.0]])
    np.testing.assert_allclose(step_down_max_t(statistics), [1 / 4, 3 / 4])


def test_step_down_of_nothing_and_of_a_constant() -> None:
    assert step_down_max_t(np.zeros((0, 100))).shape == (0,)
    np.testing.assert_array_equal(step_down_max_t(np.zeros((2, 100))), [1.0, 1.0])


def test_holm_and_benjamini_hochberg_equal_their_definitions() -> None:
    rng = np.random.default_rng(2)
    for _ in range(50):
        p = np.round(rng.random(7) ** 3, 2)
        assert holm(p).tolist() == pytest.approx(oracles.holm(p.tolist()))
        assert benjamini_hochberg(p).tolist() == pytest.approx(oracles.benjamini_hochberg(p.tolist()))


def test_holm_and_benjamini_hochberg_by_hand() -> None:
    p = np.array([0.04, 0.01, 0.03])
    np.testing.assert_allclose(holm(p), [0.06, 0.03, 0.06])
    np.testing.assert_allclose(benjamini_hochberg(p), [0.04, 0.03, 0.04])
