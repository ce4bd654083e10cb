from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from compass_ops.errors import ParamsError
from compass_ops.monitoring.drift import (
    Compared,
    Correction,
    DriftSettings,
    Histograms,
    LanguageDrift,
    is_enough,
    judge,
    moved_clusters,
    unconfirmed,
)
from compass_ops.monitoring.measures import STATISTICS, Lens, Sample, fit_lens, measure

SETTINGS = DriftSettings(
    correction="max-t",
    permutations=199,
    alpha=0.05,
    effect_floor_nats=0.01,
    mmd_floor=0.0005,
    novelty_floor=2.0,
    fixed_threshold_nats=0.1,
    persistence=1,
    minimum_window=50,
    minimum_reference=50,
    minimum_sessions=20,
    random_features=64,
    novelty_quantile=0.95,
    moved_clusters=3,
)
CENTROIDS = np.eye(5, dtype=np.float32)


def _counts(*values: int) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


def _rows(shares: NDArray[np.float64], rows: int, rng: np.random.Generator, script: str = "LATIN") -> Sample:
    vectors = CENTROIDS[rng.choice(5, rows, p=shares)] + 0.3 * rng.standard_normal((rows, 5))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Sample(vectors.astype(np.float32), np.array([script] * rows), np.arange(rows))


def _lens(rng: np.random.Generator) -> Lens:
    return fit_lens(CENTROIDS, _rows(np.full(5, 0.2), 100, rng).vectors, (64, 0.95), rng)


def _compared(reference: Sample, window: Sample, rng: np.random.Generator, permutations: int = 199) -> Compared:
    counts = [
        np.bincount(np.argmax(sample.vectors @ CENTROIDS.T, axis=1), minlength=5) for sample in (reference, window)
    ]
    measured = measure(reference, window, _lens(rng), permutations, rng)
    return Compared(Histograms(counts[0], counts[1]), (len(window.blocks), len(reference.blocks)), measured)


def _fleet(rng: np.random.Generator, languages: int, permutations: int = 199) -> dict[str, Compared]:
    fleet = {}
    for number in range(languages):
        shares = rng.dirichlet(np.full(5, 2.0))
        fleet[f"l{number}"] = _compared(_rows(shares, 120, rng), _rows(shares, 80, rng), rng, permutations)
    return fleet


def _shifted(rng: np.random.Generator, permutations: int = 199) -> Compared:
    before, after = np.array([0.6, 0.1, 0.1, 0.1, 0.1]), np.array([0.1, 0.1, 0.1, 0.1, 0.6])
    return _compared(_rows(before, 120, rng), _rows(after, 80, rng), rng, permutations)


def test_false_alarms_over_all_languages_stay_at_alpha() -> None:
    rng, rounds = np.random.default_rng(17), 150
    settings = replace(SETTINGS, alpha=0.1, effect_floor_nats=0.0, mmd_floor=-1.0, novelty_floor=0.0)
    alarms = sum(
        any((one.p_value or 0) <= settings.alpha for one in judge(_fleet(rng, 5, 99), settings).values())
        for _ in range(rounds)
    )
    low, high = binom.interval(0.999, rounds, 0.1)
    assert alarms <= high
    assert alarms >= low / 2  # a test that never alarms would pass the first line too


def test_one_shifted_language_of_many_is_flagged_and_no_other() -> None:
    rng, rounds, hits, others = np.random.default_rng(19), 8, 0, 0
    for _ in range(rounds):
        fleet = _fleet(rng, 20)
        fleet["l7"] = _shifted(rng)
        flagged = {name for name, one in judge(fleet, SETTINGS).items() if one.verdict == "drift"}
        hits += "l7" in flagged
        others += bool(flagged - {"l7"})
    assert hits == rounds
    assert others <= binom.ppf(0.999, rounds, SETTINGS.alpha)


def test_a_language_leaves_the_others_own_p_values() -> None:
    fleet = _fleet(np.random.default_rng(23), 3)
    alone, among = judge({"l0": fleet["l0"]}, SETTINGS)["l0"], judge(fleet, SETTINGS)["l0"]
    assert [one.p_raw for one in alone.findings] == [one.p_raw for one in among.findings]
    assert (among.p_value or 0) >= (alone.p_value or 0)
    assert (alone.family, among.family) == (1, 3)


def test_each_finding_names_its_statistic_and_figures() -> None:
    found = judge({"sw": _shifted(np.random.default_rng(1))}, SETTINGS)["sw"]
    assert [one.statistic for one in found.findings] == list(STATISTICS)
    assert [one.floor for one in found.findings] == [0.01, 0.0005, 2.0, 0.01]
    divergence = found.findings[0]
    assert divergence.p_value == pytest.approx(1 / 200)
    assert divergence.effect > 0.05
    assert "debiased divergence of clusters" in found.sentence
    assert "the share of cluster" in found.sentence
    assert found.findings[3].p_value == 1.0, "one script cannot change its share"


def test_a_change_of_script_alone_is_found() -> None:
    rng = np.random.default_rng(2)
    shares = np.full(5, 0.2)
    window = _rows(shares, 80, rng)
    window.scripts[:8] = "CYRIL"
    found = judge({"sw": _compared(_rows(shares, 120, rng), window, rng)}, SETTINGS)["sw"]
    assert found.verdict == "drift"
    assert "divergence of scripts" in found.sentence


def test_a_shift_below_its_floor_is_significant_but_no_drift() -> None:
    settings = replace(SETTINGS, effect_floor_nats=0.6, mmd_floor=1.0, novelty_floor=1000.0)
    found = judge({"sw": _shifted(np.random.default_rng(3))}, settings)["sw"]
    assert found.p_value == pytest.approx(1 / 200)
    assert found.verdict == "no drift"
    assert found.sentence.startswith("A shift too small to act on")


def test_no_shift_is_said_with_its_smallest_p() -> None:
    rng = np.random.default_rng(4)
    shares = np.full(5, 0.2)
    found = judge({"sw": _compared(_rows(shares, 120, rng), _rows(shares, 80, rng), rng)}, SETTINGS)["sw"]
    assert found.verdict == "no drift"
    assert found.sentence.startswith("No sign of a shift: smallest p")


@pytest.mark.parametrize("correction", ["holm", "benjamini-hochberg"])
def test_other_corrections_find_the_shifted_one_where_the_permutations_suffice(correction: Correction) -> None:
    rng = np.random.default_rng(5)
    fleet = _fleet(rng, 6) | {"sw": _shifted(rng)}
    found = judge(fleet, replace(SETTINGS, correction=correction))
    assert {name for name, one in found.items() if one.verdict == "drift"} == {"sw"}
    assert found["sw"].p_value == pytest.approx(7 / 200)


@pytest.mark.parametrize("correction", ["holm", "benjamini-hochberg"])
def test_corrections_that_the_permutations_cannot_reach_are_refused(correction: Correction) -> None:
    rng = np.random.default_rng(6)
    with pytest.raises(ParamsError, match=r"be >= 219 for .* over 11 languages .* that shifts alone cannot"):
        judge(_fleet(rng, 11), replace(SETTINGS, correction=correction))


def test_the_fixed_threshold_makes_no_test() -> None:
    rng = np.random.default_rng(7)
    fleet = {"sw": _shifted(rng), "id": _fleet(rng, 1)["l0"]}
    found = judge(fleet, replace(SETTINGS, correction="fixed"))
    assert [one.verdict for one in found.values()] == ["drift", "no drift"]
    assert found["sw"].p_value is None
    assert "above the fixed threshold 0.1; no test" in found["sw"].sentence


def test_a_shift_seen_once_waits() -> None:
    found = judge({"sw": _shifted(np.random.default_rng(8))}, SETTINGS)["sw"]
    waiting = unconfirmed(found, (1, 2))
    assert waiting.verdict == "unconfirmed"
    assert waiting.sentence.startswith(found.sentence)
    assert waiting.sentence.endswith("Seen in 1 of 2 windows in a row, so nothing is done yet.")


def _untested(reference: NDArray[np.int64], window: NDArray[np.int64], sessions: tuple[int, int]) -> LanguageDrift:
    histograms = Histograms(reference, window)
    rows = int(window.sum()), int(reference.sum())
    assert not is_enough(rows, sessions, SETTINGS)
    return judge({"sw": Compared(histograms, sessions, None)}, SETTINGS)["sw"]


def test_too_few_rows_or_sessions_are_said() -> None:
    found = _untested(_counts(300, 300), _counts(1, 0), (1, 600))
    assert (found.verdict, found.p_value, found.findings, found.family) == ("insufficient data", None, (), 0)
    assert "the window has 1 rows, 50 are needed" in found.sentence
    assert "the reference has 6 rows" in _untested(_counts(3, 3), _counts(90, 0), (90, 6)).sentence
    few = _untested(_counts(300, 300), _counts(90, 0), (3, 600))
    assert few.sentence == "Too little to judge: the window has 3 sessions, 20 are needed."
    assert _untested(_counts(300, 300), _counts(0, 0), (0, 600)).moved == ()


def test_an_untested_language_does_not_enter_the_family() -> None:
    fleet = _fleet(np.random.default_rng(9), 1)
    found = judge(fleet | {"zu": Compared(Histograms(_counts(9), _counts(1)), (1, 9), None)}, SETTINGS)
    assert list(found) == ["l0", "zu"]
    assert found["l0"].family == 1


def test_no_language_at_all() -> None:
    assert judge({}, SETTINGS) == {}


def test_moved_clusters_by_hand() -> None:
    moved = moved_clusters(Histograms(_counts(50, 30, 20), _counts(10, 6, 24)), 2)
    assert [move.cluster for move in moved] == [2, 0]
    assert (moved[0].before, moved[0].after) == (0.2, 0.6)


@pytest.mark.parametrize(("permutations", "alpha"), [(18, 0.05), (0, 0.05), (99, 0.0), (99, 1.0)])
def test_settings_that_could_never_alarm_are_refused(permutations: int, alpha: float) -> None:
    with pytest.raises(ValueError, match=r"drift\.(permutations|alpha) must be"):
        replace(SETTINGS, permutations=permutations, alpha=alpha)
    replace(SETTINGS, permutations=19, alpha=0.05)
