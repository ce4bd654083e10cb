import numpy as np
import pytest

from compass_ops.evaluation.metrics import (
    effective_size,
    gold_margin,
    group_numbers,
    histogram_weights,
    paired_mean,
    predicted_choice,
    share_weights,
    weighted_mean,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_as_published(correct: int, n: int, low: float, high: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3."""
    interval = wilson_interval(correct, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)
    assert (interval.estimate, interval.n) == (correct / n, n)


def test_wilson_at_the_ends() -> None:
    assert wilson_interval(0, 7).low == 0.0
    assert wilson_interval(7, 7).high == 1.0


def test_prediction_and_gold_margin() -> None:
    scores = np.array([-2.0, -0.5, -3.0, -0.5])
    assert predicted_choice(scores) == 1  # the first of equals
    assert gold_margin(scores, 0) == -1.5
    assert gold_margin(scores, 3) == 0.0
    assert gold_margin(np.array([-1.0, -4.0]), 0) == 3.0


def test_kish_by_hand() -> None:
    assert effective_size(np.array([1.0, 1.0, 2.0])) == pytest.approx(16 / 6)
    assert effective_size(np.full(9, 0.3)) == pytest.approx(9)


def test_weights_by_share() -> None:
    clusters = np.array([0, 0, 2])
    shares = np.array([0.5, 0.3, 0.2])
    np.testing.assert_allclose(share_weights(clusters, shares), [0.25, 0.25, 0.2])
    np.testing.assert_allclose(histogram_weights(clusters, np.array([5, 3, 2])), [0.25, 0.25, 0.2])
    np.testing.assert_array_equal(histogram_weights(clusters, np.array([0, 9, 0])), [1, 1, 1])
    assert weighted_mean(np.array([1.0, 0.0, -1.0]), np.array([0.25, 0.25, 0.2])) == pytest.approx(0.05 / 0.7)


def test_groups_by_parallel_id() -> None:
    groups = group_numbers(["a", None, "a", None, "x"], ["1", "x", "2", "y", "3"])
    assert groups[0] == groups[2]
    assert len(set(groups.tolist())) == 4


def test_paired_mean_with_equal_weights_is_the_textbook_one() -> None:
    differences = np.array([1.0, 0, 0, -1, 1, 1, 0, 0])
    mean = paired_mean(differences, np.full(8, 0.125), np.arange(8))
    assert mean.estimate == pytest.approx(0.25)
    assert mean.standard_error == pytest.approx(differences.std() / np.sqrt(8))
    assert mean.null_error == pytest.approx(np.sqrt(4 / 8 / 8))
    assert mean.effective_n == pytest.approx(8)


def test_doubling_every_item_within_its_group_gives_no_new_evidence() -> None:
    rng = np.random.default_rng(0)
    differences, weights = rng.choice([-1.0, 0, 1], 50), rng.random(50)
    once = paired_mean(differences, weights, np.arange(50), adjusted=True)
    twice = paired_mean(np.tile(differences, 2), np.tile(weights, 2), np.tile(np.arange(50), 2), adjusted=True)
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert twice.effective_n == pytest.approx(once.effective_n)
    independent = paired_mean(np.tile(differences, 2), np.tile(weights, 2), np.arange(100), adjusted=True)
    assert independent.standard_error < 0.8 * once.standard_error


def test_adjusted_is_bonett_and_price_with_equal_weights() -> None:
    """(better + 1) / (n + 2) and (worse + 1) / (n + 2): their formula, written out."""
    n, better, worse = 40, 9, 3
    differences = np.array([1.0] * better + [-1.0] * worse + [0.0] * (n - better - worse))
    mean = paired_mean(differences, np.ones(n), np.arange(n), adjusted=True)
    p, q = (better + 1) / (n + 2), (worse + 1) / (n + 2)
    assert mean.estimate == pytest.approx(p - q)
    assert mean.standard_error == pytest.approx(np.sqrt((p + q - (p - q) ** 2) / (n + 2)))


def test_agreement_everywhere_still_has_a_width() -> None:
    assert paired_mean(np.zeros(10), np.ones(10), np.arange(10), adjusted=True).standard_error > 0.1


def test_standard_error_against_resampled_groups() -> None:
    """The linearised error agrees with a cluster bootstrap."""
    rng = np.random.default_rng(1)
    groups = rng.integers(0, 120, 400)
    differences = np.sign(rng.normal(size=120))[groups] * rng.integers(0, 2, 400)
    weights = rng.choice([0.5, 1.0, 2.0], 400)
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    means = []
    for _ in range(1000):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        means.append(weighted_mean(differences[rows].astype(float), weights[rows]))
    mean = paired_mean(differences.astype(float), weights, groups)
    assert mean.standard_error == pytest.approx(np.std(means), rel=0.1)
