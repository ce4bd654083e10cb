import itertools
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from compass_ops.monitoring.measures import STATISTICS, Lens, Sample, comparable, fit_lens, jensen_shannon, measure
from compass_ops.monitoring.permutation import step_down_max_t
from tests import oracles

DIVERGENCE, MMD, NOVELTY, MIX = range(4)


def unit(
    rng: np.random.Generator, rows: int, centre: NDArray[np.float64] | None = None, d: int = 6
) -> NDArray[np.float32]:
    drawn = rng.standard_normal((rows, d)) + (0 if centre is None else centre)
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def sample(vectors: NDArray[np.float32], scripts: list[str] | None = None, blocks: list[int] | None = None) -> Sample:
    rows = len(vectors)
    names = np.array(scripts if scripts is not None else ["LATIN"] * rows)
    return Sample(vectors, names, np.array(blocks if blocks is not None else range(rows)))


def lens(rng: np.random.Generator, d: int = 6) -> Lens:
    return fit_lens(unit(rng, 4, d=d), unit(rng, 60, d=d), (64, 0.95), rng)


def test_jensen_shannon_by_hand() -> None:
    # p = (1/2, 1/2), q = (1, 0), m = (3/4, 1/4): H(m) - H(p) / 2 - 0 = 0.562335 - 0.346574
    assert jensen_shannon(np.array([1, 1]), np.array([2, 0])) == pytest.approx(0.2157615543, abs=1e-10)
    assert jensen_shannon(np.array([5, 0]), np.array([0, 3])) == pytest.approx(np.log(2), abs=1e-12)
    assert jensen_shannon(np.array([2, 4, 6]), np.array([1, 2, 3])) == 0.0


def test_jensen_shannon_is_the_square_of_scipy_distance() -> None:
    from scipy.spatial.distance import jensenshannon

    first, second = np.random.default_rng(3).integers(0, 9, (2, 50, 12))
    expected = [jensenshannon(p, q) ** 2 for p, q in zip(first, second, strict=True)]
    np.testing.assert_allclose(jensen_shannon(first, second), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("first", "second", "match"),
    [([1, 2], [1, 2, 3], "same clusters"), ([1, -1], [1, 2], "counts >= 0"), ([0, 0], [1, 2], "at least one row")],
)
def test_jensen_shannon_refuses(first: list[int], second: list[int], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        jensen_shannon(np.array(first), np.array(second))


def test_observed_values_equal_the_slow_ones() -> None:
    rng = np.random.default_rng(5)
    seen = lens(rng)
    reference, window = unit(rng, 30), unit(rng, 14, np.full(6, 0.4))
    scripts = (["LATIN"] * 25 + ["ARABIC"] * 5, ["LATIN"] * 9 + ["CJK"] * 5)
    found = measure(sample(reference, scripts[0]), sample(window, scripts[1]), seen, 9, rng)
    nearest = [
        np.argmin(np.linalg.norm(rows[:, None] - seen.centroids, axis=2), axis=1) for rows in (reference, window)
    ]
    away = [np.linalg.norm(rows[:, None] - seen.centroids, axis=2).min(axis=1) for rows in (reference, window)]
    counts = [np.bincount(own, minlength=4).astype(float) for own in nearest]
    shares = [(own > seen.radius).mean() for own in away]
    assert found.values[DIVERGENCE, 0] == pytest.approx(oracles.jensen_shannon(counts[0], counts[1]), abs=1e-10)
    assert found.values[MMD, 0] == pytest.approx(oracles.squared_mmd(reference, window, seen.frequencies), abs=1e-6)
    assert found.values[NOVELTY, 0] == pytest.approx(shares[1])
    assert found.values[MIX, 0] == pytest.approx(
        oracles.jensen_shannon(np.array([25.0, 5, 0]), np.array([9.0, 0, 5])), abs=1e-10
    )
    assert found.effects[NOVELTY] == pytest.approx((shares[1] + 0.5 / 44) / (shares[0] + 0.5 / 44))
    assert found.effects[MMD] == pytest.approx(found.values[MMD, 0] - found.values[MMD, 1:].mean())


def test_permuted_values_are_those_of_all_splits() -> None:
    rng = np.random.default_rng(7)
    seen = lens(rng, d=3)
    rows = unit(rng, 7, d=3)
    found = measure(sample(rows[:4]), sample(rows[4:]), seen, 4000, rng)
    expected = []
    for chosen in itertools.combinations(range(7), 3):
        left = [row for row in range(7) if row not in chosen]
        expected.append(oracles.squared_mmd(rows[left], rows[list(chosen)], seen.frequencies))
    drawn = found.values[MMD, 1:]
    assert np.abs(drawn[:, None] - np.array(expected)).min(axis=1).max() < 1e-6
    assert drawn.mean() == pytest.approx(np.mean(expected), rel=0.05)
    exact = np.mean(np.array(expected) >= found.values[MMD, 0] - 1e-7)
    assert (drawn >= found.values[MMD, 0] - 1e-7).mean() == pytest.approx(exact, abs=0.04)


def test_the_kernel_is_a_gaussian_of_the_median_distance() -> None:
    rng = np.random.default_rng(9)
    fitting = unit(rng, 200)
    seen = fit_lens(unit(rng, 4), fitting, (4096, 0.95), rng)
    distances = np.linalg.norm(fitting[:, None] - fitting, axis=2)
    scale = np.median(distances[distances > 0.001])
    found = [float(np.cos((fitting[0] - other) @ seen.frequencies).mean()) for other in fitting[:40]]
    np.testing.assert_allclose(found, np.exp(-(distances[0, :40] ** 2) / (2 * scale**2)), atol=0.07)


def test_the_radius_is_a_quantile_of_what_it_is_fitted_on() -> None:
    rng = np.random.default_rng(10)
    centroids, fitting = unit(rng, 4), unit(rng, 500)
    away = np.linalg.norm(fitting[:, None] - centroids, axis=2).min(axis=1)
    assert fit_lens(centroids, fitting, (8, 0.9), rng).radius == pytest.approx(np.quantile(away, 0.9), abs=1e-5)


def test_rows_of_a_session_are_permuted_together() -> None:
    rng = np.random.default_rng(11)
    seen = lens(rng)
    rows = unit(rng, 40)
    blocks = [place // 10 for place in range(20)]
    found = measure(sample(rows[:20], blocks=blocks), sample(rows[20:], blocks=blocks), seen, 500, rng)
    assert len(np.unique(found.values[MMD].round(9))) <= 6, "4 sessions, 2 of them the window's: 6 splits"


def test_sessions_of_equal_rows_alarm_unless_they_are_permuted_together() -> None:
    rng, alarms = np.random.default_rng(12), {"rows": 0, "sessions": 0}
    seen, rounds = lens(rng), 60
    for _ in range(rounds):
        talks = np.repeat(unit(rng, 24), 8, axis=0)
        blocks = np.repeat(np.arange(24), 8)
        for name in alarms:
            numbers = blocks if name == "sessions" else np.arange(len(blocks))
            parts = [Sample(talks[at], np.array(["LATIN"] * 96), numbers[at]) for at in (slice(96), slice(96, None))]
            found = measure(parts[0], parts[1], seen, 99, rng)
            alarms[name] += step_down_max_t(found.scores).min() <= 0.05
    assert alarms["rows"] > rounds / 2
    assert alarms["sessions"] <= binom.ppf(0.999, rounds, 0.05)


def _talks(rng: np.random.Generator, shift: float) -> Sample:
    """300 rows in sessions of five that stay half of the time with one topic."""
    shares = np.array([0.25 + shift, *[0.25 - shift / 3] * 3])
    topics, own = np.repeat(rng.choice(4, 60, p=shares), 5), rng.choice(4, 300, p=shares)
    return _asked(np.where(rng.random(300) < 0.5, topics, own), rng, np.repeat(np.arange(60), 5))


def _asked(topics: NDArray[np.int64], rng: np.random.Generator, blocks: NDArray[np.int64] | None = None) -> Sample:
    rows = np.eye(6)[topics] + 0.25 * rng.standard_normal((len(topics), 6))
    numbers = np.arange(len(rows)) if blocks is None else blocks
    vectors = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return Sample(vectors, np.array(["LATIN"] * len(rows)), numbers)


def _found(shift: float, swapped: bool, rounds: int) -> dict[str, int]:
    """Count alarms of a sample with sessions against one without, by what is permuted."""
    rng, alarms = np.random.default_rng(19), {"as they are": 0, "single rows": 0, "one per session": 0}
    seen = fit_lens(np.eye(6, dtype=np.float32)[:4], _asked(rng.integers(0, 4, 100), rng).vectors, (32, 0.95), rng)
    for _ in range(rounds):
        single, talks = _asked(rng.integers(0, 4, 300), rng), _talks(rng, shift)
        rows = replace(talks, blocks=np.arange(300))
        for name, with_sessions in (("as they are", talks), ("single rows", rows), ("one per session", talks)):
            pair = (with_sessions, single) if swapped else (single, with_sessions)
            pair = comparable(*pair, rng) if name == "one per session" else pair
            alarms[name] += step_down_max_t(measure(*pair, seen, 99, rng).scores).min() <= 0.05
    return alarms


@pytest.mark.parametrize("swapped", [False, True])
def test_sessions_against_single_rows_keep_the_level_and_see_more(swapped: bool) -> None:
    rounds = 150
    still, moved = _found(0.0, swapped, rounds), _found(0.1, swapped, rounds)
    assert still["one per session"] <= binom.ppf(0.999, rounds, 0.05)
    assert still["single rows"] > binom.ppf(0.999, rounds, 0.05), "sessions that do not matter would show nothing"
    assert moved["one per session"] > 1.4 * moved["as they are"]


def test_one_row_of_each_session_is_chosen_at_random() -> None:
    rng = np.random.default_rng(20)
    blocks = np.array([7, 7, 7, 2, 2, 9])
    talks = Sample(np.eye(6, dtype=np.float32), np.array(list("ABCDEF")), blocks)
    single = sample(unit(rng, 4))
    chosen: set[str] = set()
    for _ in range(50):
        kept, thinned = comparable(single, talks, rng)
        assert kept is single
        assert sorted(thinned.blocks.tolist()) == [2, 7, 9]
        places = thinned.vectors.argmax(axis=1)
        assert (talks.scripts[places] == thinned.scripts).all()
        assert (talks.blocks[places] == thinned.blocks).all()
        chosen |= set(thinned.scripts.tolist())
    assert chosen == set("ABCDEF")
    assert comparable(talks, single, rng)[1] is single
    again = [comparable(single, talks, np.random.default_rng(1))[1].scripts.tolist() for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("blocks", [None, [0, 0, 1, 1, 2]])
def test_samples_alike_in_having_sessions_are_compared_as_they_are(blocks: list[int] | None) -> None:
    rng = np.random.default_rng(21)
    before, after = sample(unit(rng, 5), blocks=blocks), sample(unit(rng, 5), blocks=blocks)
    assert [found is given for found, given in zip(comparable(before, after, rng), (before, after), strict=True)] == [
        True,
        True,
    ]


def test_one_pair_of_rows_is_no_reason_to_permute_long_sessions() -> None:
    """A log that began to carry session ids midway: 38 single rows and one pair, against ten sessions of four."""
    rng = np.random.default_rng(22)
    midway = sample(unit(rng, 40), blocks=[0, *range(39)])
    talks = sample(unit(rng, 40), blocks=np.repeat(np.arange(10), 4).tolist())
    for pair in ((midway, talks), (talks, midway)):
        assert sorted(len(found.blocks) for found in comparable(*pair, rng)) == [10, 39]


def test_identical_rows_never_differ() -> None:
    rng = np.random.default_rng(13)
    same = np.repeat(unit(rng, 1), 50, axis=0)
    seen = fit_lens(unit(rng, 4), same, (64, 0.95), rng)
    found = measure(sample(same), sample(same[:20]), seen, 99, rng)
    assert (found.values == 0).all()
    assert step_down_max_t(found.scores).tolist() == [1.0] * 4


def test_a_constant_window_differs_from_a_varied_reference() -> None:
    rng = np.random.default_rng(14)
    seen = lens(rng)
    found = measure(sample(unit(rng, 100)), sample(np.repeat(unit(rng, 1), 60, axis=0)), seen, 99, rng)
    assert step_down_max_t(found.scores)[MMD] == 0.01


def test_rows_that_are_all_new_are_novel() -> None:
    rng = np.random.default_rng(15)
    centre = np.array([6.0, 0, 0, 0, 0, 0])
    seen = fit_lens(unit(rng, 4, centre), unit(rng, 100, centre), (64, 0.95), rng)
    found = measure(sample(unit(rng, 100, centre)), sample(unit(rng, 60, -centre)), seen, 99, rng)
    assert found.values[NOVELTY, 0] == 1.0
    assert found.effects[NOVELTY] > 5
    assert step_down_max_t(found.scores)[NOVELTY] == 0.01


def test_one_row_can_be_measured() -> None:
    rng = np.random.default_rng(16)
    found = measure(sample(unit(rng, 9)), sample(unit(rng, 1)), lens(rng), 19, rng)
    assert np.isfinite(found.scores).all()
    assert found.values.shape == (len(STATISTICS), 20)


@pytest.mark.parametrize("fault", ["nan", "empty"])
def test_what_cannot_be_measured_is_refused(fault: str) -> None:
    rng = np.random.default_rng(17)
    rows = unit(rng, 5)
    rows = rows[:0] if fault == "empty" else np.where(rows > 0, np.float32("nan"), rows)
    with pytest.raises(ValueError, match="finite vectors and at least one"):
        measure(sample(unit(rng, 9)), sample(rows), lens(rng), 19, rng)


def _novel_alarm(rng: np.random.Generator, disjoint: bool) -> bool:
    """One round without drift, rows of a wide distribution, the radius fitted on rows apart or on the reference."""
    rows = unit(rng, 260, d=24)
    centroids = rows[:40] if disjoint else rows[60:100]
    reference = rows[60:160]
    seen = fit_lens(centroids, rows[40:60] if disjoint else reference, (8, 0.8), rng)
    found = measure(sample(reference), sample(rows[160:]), seen, 99, rng)
    return bool(step_down_max_t(found.scores[NOVELTY][None])[0] <= 0.05)


def test_what_is_fitted_on_the_reference_itself_alarms_without_drift() -> None:
    rng, rounds = np.random.default_rng(18), 60
    assert sum(_novel_alarm(rng, disjoint=False) for _ in range(rounds)) > rounds / 2
    assert sum(_novel_alarm(rng, disjoint=True) for _ in range(rounds)) <= binom.ppf(0.999, rounds, 0.05)
