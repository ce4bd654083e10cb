import itertools
import time

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from compass_ops.monitoring.drift import DriftSettings, Histograms, LanguageDrift, judge, moved_clusters
from compass_ops.monitoring.permutation import jensen_shannon, permuted_divergences, step_down_max_t

SETTINGS = DriftSettings(
    permutations=199,
    alpha=0.05,
    effect_floor_nats=0.01,
    minimum_window=50,
    minimum_reference=50,
    moved_clusters=3,
)


def _counts(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _judge(
    samples: dict[str, Histograms], seed: int = 0, settings: DriftSettings = SETTINGS
) -> dict[str, LanguageDrift]:
    streams = {name: np.random.default_rng([seed, place]) for place, name in enumerate(samples)}
    return judge(samples, settings, streams)


def test_jensen_shannon_by_hand() -> None:
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4): H(m) - H(p) / 2 - 0 = 0.562335 - 0.346574
    assert jensen_shannon(_counts(1, 1), _counts(2, 0)) == pytest.approx(0.2157615543, abs=1e-10)
    assert jensen_shannon(_counts(5, 0), _counts(0, 3)) == pytest.approx(np.log(2), abs=1e-12)
    assert jensen_shannon(_counts(2, 4, 6), _counts(1, 2, 3)) == 0.0


def test_jensen_shannon_is_the_square_of_scipy_distance() -> None:
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 9, (2, 50, 12))
    expected = [jensenshannon(p, q) ** 2 for p, q in zip(first, second, strict=True)]
    np.testing.assert_allclose(jensen_shannon(first, second), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [
        (_counts(1, 2), _counts(1, 2, 3), "same clusters"),
        (_counts(1, -1), _counts(1, 2), "counts >= 0"),
        (_counts(0, 0), _counts(1, 2), "at least one row"),
    ],
)
def test_jensen_shannon_refuses(first: NDArray[np.int64], second: NDArray[np.int64], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        jensen_shannon(first, second)


def _rows(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(counts)), counts)


def test_p_value_against_all_splits_of_a_tiny_sample() -> None:
    reference, window = _counts(4, 1, 0), _counts(0, 1, 3)
    rows = np.concatenate([_rows(reference), _rows(window)])
    observed = float(jensen_shannon(reference, window))
    exceeded = total = 0
    for chosen in itertools.combinations(range(len(rows)), int(window.sum())):
        drawn = np.bincount(rows[list(chosen)], minlength=3)
        exceeded += float(jensen_shannon(reference + window - drawn, drawn)) >= observed - 1e-12
        total += 1
    exact = exceeded / total
    statistics = permuted_divergences(reference, window, 20_000, np.random.default_rng(5))
    assert statistics[0] == pytest.approx(observed, abs=1e-11)
    assert (statistics[1:] >= statistics[0]).mean() == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000))


def test_hypergeometric_draws_equal_shuffled_rows_in_distribution() -> None:
    rng = np.random.default_rng(7)
    reference, window = _counts(30, 20, 10, 5), _counts(10, 12, 8, 6)
    rows, size = np.concatenate([_rows(reference), _rows(window)]), int(window.sum())
    shuffled = []
    for _ in range(4000):
        drawn = np.bincount(rng.permutation(rows)[:size], minlength=4)
        shuffled.append(float(jensen_shannon(reference + window - drawn, drawn)))
    drawn_directly = permuted_divergences(reference, window, 4000, rng)[1:]
    for share in (0.1, 0.5, 0.9, 0.99):
        level = np.quantile(shuffled, share)
        assert (drawn_directly <= level).mean() == pytest.approx(share, abs=0.03)
    assert drawn_directly.mean() == pytest.approx(np.mean(shuffled), rel=0.05)


def _naive_step_down(statistics: NDArray[np.float64]) -> list[float]:
    scaled = [(row - row.mean()) / row.std() for row in statistics]
    remaining = sorted(range(len(scaled)), key=lambda row: -scaled[row][0])
    adjusted, largest = [0.0] * len(scaled), 0.0
    while remaining:
        best = remaining[0]
        reached = 0
        for column in range(1, statistics.shape[1]):
            reached += max(scaled[row][column] for row in remaining) >= scaled[best][0]
        largest = max(largest, (1 + reached) / statistics.shape[1])
        adjusted[best] = largest
        remaining.pop(0)
    return adjusted


def test_step_down_equals_the_naive_loop() -> None:
    rng = np.random.default_rng(11)
    statistics = rng.chisquare(3, (9, 60))
    statistics[2, 0] += 30
    statistics[5, 0] += 9
    np.testing.assert_allclose(step_down_max_t(statistics), _naive_step_down(statistics), atol=1e-12)
    assert step_down_max_t(statistics)[2] == pytest.approx(1 / 60)


def test_step_down_by_hand() -> None:
    # Standardised, row 0 is (+, -, -, -): its observed value is above every maximum, so 1 / 4. Of what remains,
    # row 1 alone decides: two of its three permutations reach the observed one.
    statistics = np.array([[9.0, 1.0, 1.0, 1.0], [2.0, 3.0, 1.0, 2.0]])
    np.testing.assert_allclose(step_down_max_t(statistics), [1 / 4, 3 / 4])


def test_step_down_of_nothing_and_of_a_constant() -> None:
    assert step_down_max_t(np.zeros((0, 100))).shape == (0,)
    np.testing.assert_array_equal(step_down_max_t(np.zeros((2, 100))), [1.0, 1.0])


def test_identical_windows_never_drift() -> None:
    counts = _counts(40, 30, 20, 10)
    found = _judge({"sw": Histograms(counts * 5, counts)})["sw"]
    assert (found.verdict, found.statistic, found.p_value, found.p_raw) == ("no drift", 0.0, 1.0, 1.0)
    assert found.debiased is not None
    assert found.debiased < 0
    assert found.moved == ()


def test_all_rows_in_one_cluster_are_no_drift() -> None:
    found = _judge({"sw": Histograms(_counts(0, 500, 0), _counts(0, 80, 0))})["sw"]
    assert (found.verdict, found.p_value) == ("no drift", 1.0)


def test_too_few_rows_are_said_and_do_not_enter_the_family() -> None:
    samples = {
        "sw": Histograms(_counts(300, 300), _counts(1, 0)),
        "id": Histograms(_counts(300, 300), _counts(100, 100)),
        "zu": Histograms(_counts(3, 3), _counts(0, 0)),
    }
    found = _judge(samples)
    assert list(found) == ["sw", "id", "zu"]
    assert found["sw"].verdict == found["zu"].verdict == "insufficient data"
    assert found["sw"].p_value is found["sw"].statistic is None
    assert "the window has 1 rows, 50 are needed" in found["sw"].sentence
    assert "the reference has 6 rows" in found["zu"].sentence
    assert found["id"].family == 1


def test_no_language_at_all() -> None:
    assert _judge({}) == {}


def test_a_shift_below_the_floor_is_significant_but_no_drift() -> None:
    samples = {"sw": Histograms(_counts(50_000, 50_000), _counts(10_600, 9_400))}
    found = _judge(samples)["sw"]
    assert found.p_value == pytest.approx(1 / 200)
    assert found.verdict == "no drift"
    assert found.sentence.startswith("A shift too small to act on")


def test_moved_clusters_by_hand() -> None:
    moved = moved_clusters(Histograms(_counts(50, 30, 20), _counts(10, 6, 24)), 2)
    assert [move.cluster for move in moved] == [2, 0]
    assert (moved[0].before, moved[0].after) == (0.2, 0.6)


@pytest.mark.parametrize(("permutations", "alpha"), [(18, 0.05), (0, 0.05), (99, 0.0), (99, 1.0)])
def test_settings_that_could_never_alarm_are_refused(permutations: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"drift\.(permutations|alpha) must be"):
        DriftSettings(permutations, alpha, 0.0, 1, 1, 3)
    DriftSettings(19, 0.05, 0.0, 1, 1, 3)


def _fleet(rng: np.random.Generator, languages: int, clusters: int = 20) -> dict[str, Histograms]:
    samples = {}
    for number in range(languages):
        shares = rng.dirichlet(np.full(clusters, 0.7))
        samples[f"l{number}"] = Histograms(rng.multinomial(300, shares), rng.multinomial(150, shares))
    return samples


def test_false_alarms_over_all_languages_stay_at_alpha() -> None:
    rng, rounds = np.random.default_rng(17), 300
    settings = DriftSettings(99, 0.1, 0.0, 50, 50, 0)
    alarms = 0
    for number in range(rounds):
        found = _judge(_fleet(rng, 8), seed=number, settings=settings)
        alarms += any(one.verdict == "drift" for one in found.values())
    low, high = binom.interval(0.999, rounds, 0.1)
    assert alarms <= high
    assert alarms >= low / 2  # a test that never alarms would pass the first line too


def test_one_shifted_language_of_many_is_flagged_and_others_at_alpha_at_most() -> None:
    rng, rounds, hits, others = np.random.default_rng(19), 20, 0, 0
    for number in range(rounds):
        samples = _fleet(rng, 40)
        shares = samples["l7"].reference / samples["l7"].reference.sum()
        rarest = np.eye(20)[np.argmin(shares)]
        samples["l7"] = Histograms(samples["l7"].reference, rng.multinomial(150, 0.8 * shares + 0.2 * rarest))
        found = _judge(samples, seed=number)
        flagged = {name for name, one in found.items() if one.verdict == "drift"}
        hits += "l7" in flagged
        others += bool(flagged - {"l7"})
    assert hits == rounds
    assert others <= binom.ppf(0.999, rounds, SETTINGS.alpha)


def test_adding_a_language_leaves_the_raw_p_values() -> None:
    samples = _fleet(np.random.default_rng(23), 3)
    alone = judge({"l0": samples["l0"]}, SETTINGS, {"l0": np.random.default_rng(1)})["l0"]
    streams = {name: np.random.default_rng(place + 1) for place, name in enumerate(samples)}
    among = judge(samples, SETTINGS, streams)["l0"]
    assert (alone.p_raw, alone.debiased) == (among.p_raw, among.debiased)
    assert alone.p_value is not None
    assert among.p_value is not None
    assert among.p_value >= alone.p_value


def test_two_hundred_languages_in_seconds() -> None:
    rng = np.random.default_rng(29)
    samples = {
        f"l{number}": Histograms(rng.multinomial(2000, shares), rng.multinomial(400, shares))
        for number, shares in enumerate(rng.dirichlet(np.ones(40), 200))
    }
    settings = DriftSettings(999, 0.05, 0.01, 150, 150, 5)
    start = time.perf_counter()
    _judge(samples, settings=settings)
    assert time.perf_counter() - start < 30
