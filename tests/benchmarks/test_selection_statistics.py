"""The comparison's tests against enumeration and by hand."""

from itertools import product

import numpy as np
import pytest

from benchmarks.selection.statistics import difference, effect_size, holm, mean_interval, sign_flip_p


def test_sign_flips_are_all_counted() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        values = rng.standard_normal(int(rng.integers(2, 9))).round(1)
        patterns = [
            abs(sum(s * v for s, v in zip(signs, values, strict=True)))
            for signs in product((1, -1), repeat=len(values))
        ]
        expected = np.mean([size >= abs(values.sum()) - 1e-9 for size in patterns])
        assert sign_flip_p(values) == pytest.approx(expected)


def test_all_of_one_sign_is_the_least_p() -> None:
    assert sign_flip_p(np.array([0.1, 0.2, 0.3, 0.05])) == 2 / 2**4
    assert sign_flip_p(np.zeros(5)) == 1.0


def test_more_languages_than_can_be_enumerated_are_refused() -> None:
    with pytest.raises(ValueError, match="21 languages are too many"):
        sign_flip_p(np.ones(21))


def test_holm_by_hand() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_effect_size_by_hand() -> None:
    assert effect_size(np.array([1.0, 2.0, 3.0])) == pytest.approx(2.0)
    assert effect_size(np.zeros(3)) == 0.0
    assert effect_size(-np.ones(3)) == -np.inf


def test_intervals_by_hand() -> None:
    """Mean 2, standard error 1 / sqrt(3), t(.975, 2) = 4.3027."""
    assert mean_interval(np.array([1.0, 2.0, 3.0])) == pytest.approx(
        (2.0, 2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-4
    )
    apart = difference(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 0.0]))
    assert (apart.mean, apart.p) == (2.0, 0.25)


def test_the_null_is_rejected_as_often_as_said() -> None:
    rng = np.random.default_rng(1)
    rejected = [sign_flip_p(rng.standard_normal(8)) <= 0.05 for _ in range(600)]
    assert 0.02 < np.mean(rejected) < 0.08
