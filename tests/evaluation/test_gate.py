import dataclasses
import re

import numpy as np
import pytest
from numpy.typing import NDArray

from compass_ops.evaluation.candidates import choose_candidate
from compass_ops.evaluation.gate import (
    ALL_ALIKE,
    BETTER,
    GOLD_MARGIN,
    LEARNED,
    NOT_WORSE,
    GateLimits,
    PairedItems,
    judge,
)

LIMITS = GateLimits(margin=0.05, alpha=0.05, power=0.8, uncovered_share=0.2, least_items=2)
Z = 1.6448536269514722


def paired(
    differences: NDArray[np.float64],
    clusters: NDArray[np.int64] | None = None,
    margins: float | NDArray[np.float64] = 0.0,
) -> PairedItems:
    """Items on which the candidate is better (1), worse (-1) or level (0: both right)."""
    n = len(differences)
    return PairedItems(
        reference_correct=differences < 1,
        candidate_correct=differences > -1,
        reference_margin=np.zeros(n),
        candidate_margin=np.zeros(n) + margins,
        clusters=np.zeros(n, dtype=np.int64) if clusters is None else clusters,
        groups=np.arange(n),
        unlabelled=0,
    )


def drawn(rng: np.random.Generator, n: int, discordance: float, mean: float) -> NDArray[np.float64]:
    chances = [(discordance - mean) / 2, 1 - discordance, (discordance + mean) / 2]
    return rng.choice([-1.0, 0.0, 1.0], n, p=chances)


def counts(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, dtype=np.int64)


def test_hand_computed() -> None:
    """Two clusters, four items: old shares 3/4 and 1/4, new shares 1/4 and 3/4."""
    items = paired(np.array([0.0, -1, 1, 1]), np.array([0, 0, 1, 1]), margins=np.array([1.0, -1, 2, 2]))
    judgement = judge(items, counts(3, 1), counts(1, 3), LIMITS, "production")
    tests = {test.name: test for test in judgement.tests}
    assert judgement.verdict == "refuse"
    assert list(tests) == [NOT_WORSE, BETTER, ALL_ALIKE, GOLD_MARGIN]
    old, new = tests[NOT_WORSE], tests[BETTER]
    # Weights 3/8 3/8 1/8 1/8: mean -3/8 + 2/8; Kish 1 / (2 * 9/64 + 2 / 64) = 64 / 20.
    assert old.estimate == pytest.approx(-0.125)
    assert old.effective_n == pytest.approx(3.2)
    # With two added items of weight 3/8: mean -1/14, and residuals (in 1/112): 3, -39, 15, 15, 45, -39.
    error = np.sqrt(3**2 + 39**2 + 15**2 + 15**2 + 45**2 + 39**2) / 112 / 1.75
    assert old.low == pytest.approx(-1 / 14 - Z * error)
    assert old.high == pytest.approx(-1 / 14 + Z * error)
    assert new.estimate == pytest.approx(-1 / 8 + 6 / 8)
    assert tests[ALL_ALIKE].estimate == pytest.approx(0.25)
    assert tests[GOLD_MARGIN].estimate == pytest.approx((1 - 1) / 8 + 2 * 3 / 8 * 2)
    assert (old.passed, new.passed) == (False, False)


def test_promotes_a_clear_gain_without_loss() -> None:
    differences = np.repeat([1.0, 0.0, -1.0, 0.0], [30, 70, 2, 398])
    items = paired(differences, np.repeat([0, 1], [100, 400]), margins=0.5)
    judgement = judge(items, counts(0, 10), counts(10, 0), LIMITS, "production")
    assert judgement.verdict == "promote"
    assert all(test.passed for test in judgement.tests)


def test_a_loss_on_the_old_is_refused_however_large_the_gain() -> None:
    differences = np.repeat([1.0, 0.0, -1.0, 0.0], [90, 10, 40, 360])
    items = paired(differences, np.repeat([0, 1], [100, 400]), margins=1.0)
    judgement = judge(items, counts(0, 10), counts(10, 0), LIMITS, "production")
    assert judgement.verdict == "refuse"
    assert [test.name for test in judgement.tests if not test.passed] == [NOT_WORSE]


def test_guard_of_what_was_asked_before_production_s_own_window() -> None:
    """Asked were first cluster 0, then 1, which Production was made for, now 2; the candidate forgets 0."""
    differences = np.repeat([-1.0, 0.0, 1.0, 0.0], [30, 70 + 100, 40, 60 + 700])
    items = paired(differences, np.repeat([0, 1, 2, 3], [100, 100, 100, 700]), margins=1.0)
    asked = counts(0, 9, 0, 0), counts(0, 0, 9, 0)
    assert judge(items, *asked, LIMITS, "production").verdict == "promote"
    judgement = judge(items, *asked, LIMITS, "production", counts(10, 10, 0, 0))
    assert judgement.verdict == "refuse"
    assert [(test.name, test.estimate) for test in judgement.tests if not test.passed] == [(LEARNED, -0.15)]
    assert judge(items, *asked, LIMITS, "production", counts(0, 10, 0, 0)).verdict == "promote"


def test_training_rows_in_clusters_without_an_item_judge_nothing() -> None:
    items = paired(np.repeat([1.0, 0.0], [40, 60]))
    judgement = judge(items, counts(9, 0), counts(9, 0), LIMITS, "production", counts(0, 9))
    assert LEARNED not in [test.name for test in judgement.tests]


def test_guard_over_all_items() -> None:
    """Both distributions lie in cluster 0; the loss lies in cluster 1."""
    differences = np.repeat([1.0, 0.0, -1.0, 0.0], [30, 70, 80, 320])
    items = paired(differences, np.repeat([0, 1], [100, 400]), margins=1.0)
    judgement = judge(items, counts(9, 1), counts(10, 0), LIMITS, "base")
    assert judgement.verdict == "refuse"
    assert [test.name for test in judgement.tests if not test.passed] == [ALL_ALIKE]


def test_guard_of_the_gold_margin() -> None:
    items = paired(np.repeat([1.0, 0.0], [40, 160]), margins=np.linspace(-2, 0, 200))
    judgement = judge(items, counts(1), counts(1), LIMITS, "production")
    assert [test.name for test in judgement.tests if not test.passed] == [GOLD_MARGIN]
    assert judgement.verdict == "refuse"


@pytest.mark.parametrize(
    ("better", "verdict", "words"), [(40, "promote", "was beaten"), (4, "refuse", "was not beaten")]
)
def test_against_the_base(better: int, verdict: str, words: str) -> None:
    items = paired(np.repeat([1.0, 0.0], [better, 200 - better]))
    judgement = judge(items, counts(7), counts(7), LIMITS, "base")
    assert judgement.verdict == verdict
    assert words in judgement.reasons[0]
    assert NOT_WORSE not in {test.name for test in judgement.tests}


def test_equal_models_are_refused_with_few_items_as_with_many() -> None:
    for n in (3, 30, 3000):
        judgement = judge(paired(np.zeros(n)), counts(1), counts(1), LIMITS, "production")
        assert judgement.verdict == "refuse"
        non_inferior = judgement.tests[0].passed
        assert non_inferior == (n == 3000)


def test_cannot_judge_too_few_labels() -> None:
    items = dataclasses.replace(paired(np.ones(1)), unlabelled=749)
    judgement = judge(items, counts(1), counts(1), LIMITS, "production")
    assert judgement.verdict == "cannot judge"
    assert judgement.tests == ()
    assert "Only 1 labelled items of 750 (at least 2 needed)" in judgement.reasons[0]


def test_cannot_judge_no_labels_at_all() -> None:
    items = dataclasses.replace(paired(np.zeros(0)), unlabelled=750)
    judgement = judge(items, counts(1), counts(1), LIMITS, "base")
    assert judgement.verdict == "cannot judge"
    assert "Only 0 labelled items of 750" in judgement.reasons[0]


def test_cannot_judge_a_window_outside_the_items() -> None:
    items = paired(np.ones(50), np.zeros(50, dtype=np.int64))
    judgement = judge(items, counts(5, 0, 0), counts(5, 2, 3), LIMITS, "production")
    assert judgement.verdict == "cannot judge"
    [reason] = judgement.reasons
    assert "50.0% of the new distribution (at most 20.0% allowed)" in reason
    assert "clusters without a labelled item: 2, 1." in reason


def test_a_small_uncovered_share_is_named_and_judged() -> None:
    items = paired(np.ones(50), np.zeros(50, dtype=np.int64), margins=1.0)
    judgement = judge(items, counts(5, 0, 0), counts(9, 1, 0), LIMITS, "production")
    assert judgement.verdict == "promote"
    assert "10.0% of the new distribution lies in clusters without a labelled item (1)" in judgement.reasons[-1]


def test_cannot_judge_an_empty_distribution() -> None:
    judgement = judge(paired(np.ones(50)), counts(0), counts(5), LIMITS, "production")
    assert judgement.verdict == "cannot judge"
    assert judgement.reasons == ("The old distribution is empty (0 rows in 1 clusters).",)


def test_cannot_judge_scores_that_are_not_finite() -> None:
    items = paired(np.ones(50), margins=np.where(np.arange(50) < 3, np.nan, 0.0))
    judgement = judge(items, counts(1), counts(1), LIMITS, "production")
    assert judgement.verdict == "cannot judge"
    assert "3 of 50 items have no finite score" in judgement.reasons[0]


def test_histograms_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="Histograms of 1 and 2 clusters must agree"):
        judge(paired(np.ones(5)), counts(1), counts(1, 1), LIMITS, "production")
    with pytest.raises(ValueError, match="up to 4"):
        judge(paired(np.ones(5), np.arange(5)), counts(1), counts(1), LIMITS, "production")


def test_every_sentence_carries_its_numbers() -> None:
    rng = np.random.default_rng(0)
    items = paired(drawn(rng, 500, 0.15, 0.02), rng.integers(0, 3, 500), margins=rng.normal(size=500))
    judgement = judge(items, counts(5, 3, 2), counts(1, 1, 8), LIMITS, "production")
    assert len(judgement.reasons) == len(judgement.tests) == 4
    for sentence, test in zip(judgement.reasons, judgement.tests, strict=True):
        assert sentence.casefold().startswith(test.name)
        for number in (f"{test.estimate:+.4f}", f"{test.low:+.4f}", f"{test.high:+.4f}", f"{test.resolvable:.4f}"):
            assert number in sentence
        assert f"{test.n} items (effective {test.effective_n:.0f})" in sentence
        assert ("passed" in sentence) == test.passed
        assert re.search(r"95% bounds .* at power 80%\.$", sentence)


def test_same_items_same_judgement() -> None:
    rng = np.random.default_rng(0)
    items = paired(drawn(rng, 500, 0.15, 0.02), rng.integers(0, 3, 500))
    first, second = (judge(items, counts(5, 3, 2), counts(1, 1, 8), LIMITS, "production") for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("n", "discordance", "gain"), [(1025, 0.15, 0.03), (365, 0.15, 0.05), (2313, 0.15, 0.02)])
def test_resolvable_gain_agrees_with_the_planning_formula(n: int, discordance: float, gain: float) -> None:
    """METHOD.md 5: n = z^2 (p_d - g^2) / g^2."""
    better = round(n * discordance / 2)
    items = paired(np.repeat([1.0, -1.0, 0.0], [better, better, n - 2 * better]))
    test = judge(items, counts(1), counts(1), LIMITS, "production").tests[1]
    assert test.resolvable == pytest.approx(gain, rel=0.02)


@pytest.mark.parametrize(("n", "discordance", "margin"), [(371, 0.15, 0.05), (687, 0.30, 0.0521), (1031, 0.15, 0.03)])
def test_resolvable_margin_agrees_with_the_planning_formula(n: int, discordance: float, margin: float) -> None:
    """METHOD.md 5: n = z^2 p_d / m^2."""
    better = round(n * discordance / 2)
    items = paired(np.repeat([1.0, -1.0, 0.0], [better, better, n - 2 * better]))
    test = judge(items, counts(1), counts(1), LIMITS, "production").tests[0]
    assert test.resolvable == pytest.approx(margin, rel=0.02)


def _rate(name: str, n: int, discordance: float, mean: float, concentration: float, limits: GateLimits) -> float:
    """Share of 2,000 simulated decisions in which a test passes; uneven cluster shares, evenly drawn items."""
    rng = np.random.default_rng(7)
    histogram = rng.multinomial(10_000, rng.dirichlet(np.full(20, concentration)))
    passed = 0
    for _ in range(2000):
        items = paired(drawn(rng, n, discordance, mean), rng.integers(0, 20, n))
        judgement = judge(items, histogram, histogram, limits, "production")
        passed += next(test.passed for test in judgement.tests if test.name == name)
    return passed / 2000


@pytest.mark.long
@pytest.mark.parametrize(
    ("n", "discordance", "concentration"),
    [(750, 0.15, 100.0), (750, 0.15, 0.5), (200, 0.3, 1.0), (750, 0.06, 0.3), (200, 0.1, 0.3)],
)
def test_level(n: int, discordance: float, concentration: float) -> None:
    """At the edge of either hypothesis at most alpha pass; three standard errors of 2,000 draws are 0.015."""
    limits = dataclasses.replace(LIMITS, uncovered_share=1.0)
    assert _rate(NOT_WORSE, n, discordance, -0.05, concentration, limits) <= 0.065
    assert _rate(BETTER, n, discordance, 0.0, concentration, limits) <= 0.065


@pytest.mark.long
def test_power() -> None:
    """With even weights, the sizes of METHOD.md 5 have the power they were planned for."""
    limits = dataclasses.replace(LIMITS, uncovered_share=1.0)
    assert _rate(NOT_WORSE, 371, 0.15, 0.0, 1e6, limits) == pytest.approx(0.8, abs=0.05)
    assert _rate(BETTER, 365, 0.15, 0.05, 1e6, limits) == pytest.approx(0.8, abs=0.05)


def test_choice_of_the_candidate() -> None:
    clusters = np.repeat([0, 1], 100)
    old, new = counts(1, 0), counts(0, 1)

    def candidate(lost: int, gained: int, margin: float = 0.0) -> PairedItems:
        return paired(np.repeat([-1.0, 0.0, 1.0, 0.0], [lost, 100 - lost, gained, 100 - gained]), clusters, margin)

    dev = {0.25: candidate(0, 5), 0.5: candidate(5, 20), 0.75: candidate(6, 40), 1.0: candidate(20, 60)}
    choice = choose_candidate(dev, old, new, 0.05)
    assert choice.alpha == 0.5
    assert "-0.050 on the old, +0.200 on the new" in choice.reason
    assert "2 of 4 candidates within 0.050" in choice.reason
    assert choose_candidate(dev, old, new, 0.3).alpha == 1.0
    hopeless = {0.5: candidate(30, 90), 1.0: candidate(20, 50)}
    choice = choose_candidate(hopeless, old, new, 0.05)
    assert choice.alpha == 1.0
    assert "all 2 candidates lose more than 0.050" in choice.reason


def test_choice_among_equals() -> None:
    level = {0.5: paired(np.zeros(9)), 1.0: paired(np.zeros(9))}
    assert choose_candidate(level, counts(1), counts(1), 0.05).alpha == 0.5
    surer = {0.5: paired(np.zeros(9)), 1.0: paired(np.zeros(9), margins=0.1)}
    assert choose_candidate(surer, counts(1), counts(1), 0.05).alpha == 1.0


def test_choice_without_labels() -> None:
    choice = choose_candidate({0.5: paired(np.zeros(0)), 1.0: paired(np.zeros(0))}, counts(1), counts(1), 0.05)
    assert (choice.alpha, choice.reason) == (1.0, "alpha 1: 0 labelled dev items, so nothing was compared.")
