"""Whether a candidate may replace what serves now: one pure function, for ``admit`` and ``gate``.

Both models answered the same labelled items. Items are weighted so that each cluster counts by its share in the
distribution asked about: the old one (what Production was made for) and the new one (the window). All tests must
pass (intersection-union, so each is made at the stated level), and each is one-sided on paired differences.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compass_ops.evaluation.metrics import FloatArray, PairedMean, histogram_weights, paired_mean, weighted_mean

Verdict = Literal["promote", "refuse", "cannot judge", "already judged", "no candidate"]
_NAMED = 8  # clusters named in a sentence

NOT_WORSE, BETTER = "not worse on old", "better on new"
ALL_ALIKE, GOLD_MARGIN = "guard, all items alike", "guard, gold margin on new"
LEARNED = "guard, what it was trained on"
_HALF_OF_MARGIN = "not both the lower bound below -{margin:.4f} and the change below -{half:.4f}"
RULES = {
    NOT_WORSE: "the lower bound must be above -{margin:.4f}",
    BETTER: "the lower bound must be above 0",
    ALL_ALIKE: _HALF_OF_MARGIN,
    LEARNED: _HALF_OF_MARGIN,
    GOLD_MARGIN: "the upper bound must not be below 0",
}


@dataclass(frozen=True)
class GateLimits:
    """What the decision is held to.

    Attributes
    ----------
    margin : float
        Largest loss of accuracy on the old distribution that is tolerated, in (0, 1).
    alpha : float
        Error rate of each one-sided test.
    power : float
        Power at which ``resolvable`` is stated.
    uncovered_share : float
        Largest share of either distribution in clusters without a labelled item.
    least_items : int
        Labelled items below which nothing is judged.
    """

    margin: float
    alpha: float
    power: float
    uncovered_share: float
    least_items: int


@dataclass(frozen=True)
class PairedItems:
    """Labelled items answered by the reference model and by the candidate, in one order.

    Attributes
    ----------
    reference_correct, candidate_correct : bool (n,)
    reference_margin, candidate_margin : float64 (n,)
        Gold margins in nats.
    clusters : int64 (n,), in [0, K)
    groups : int64 (n,), >= 0
        Equal for items that are the same question.
    unlabelled : int
        Items left out because they have no answer.
    """

    reference_correct: NDArray[np.bool_]
    candidate_correct: NDArray[np.bool_]
    reference_margin: FloatArray
    candidate_margin: FloatArray
    clusters: NDArray[np.int64]
    groups: NDArray[np.int64]
    unlabelled: int

    def accuracy_differences(self) -> FloatArray:
        """Return candidate minus reference, float64 (n,) in {-1, 0, 1}."""
        return self.candidate_correct.astype(np.float64) - self.reference_correct

    def margin_differences(self) -> FloatArray:
        """Return candidate minus reference gold margin, float64 (n,), in nats."""
        return self.candidate_margin - self.reference_margin


@dataclass(frozen=True)
class GateTest:
    """One test of the decision.

    Attributes
    ----------
    name : str
        A key of ``RULES``.
    estimate, low, high : float
        Weighted mean difference, candidate minus reference, and its one-sided bounds: accuracy, or nats.
    margin : float
        Tolerated loss, in the same unit.
    n : int
        Items.
    effective_n : float
        Kish's effective number of independent groups under the weights.
    passed : bool
    resolvable : float
        Smallest difference that these items could have resolved at the stated power, given how often the two
        models disagree: a gain, or for a margin the smallest one that an equally good candidate passes.
    """

    name: str
    estimate: float
    low: float
    high: float
    margin: float
    n: int
    effective_n: float
    passed: bool
    resolvable: float


@dataclass(frozen=True)
class Judgement:
    """A verdict, its reasons as sentences, and the tests behind it (none where nothing was tested)."""

    verdict: Verdict
    reasons: tuple[str, ...]
    tests: tuple[GateTest, ...] = ()


def judge(
    items: PairedItems,
    old_counts: NDArray[np.int64],
    new_counts: NDArray[np.int64],
    limits: GateLimits,
    against: Literal["base", "production"],
    learned_counts: NDArray[np.int64] | None = None,
) -> Judgement:
    """Decide on the candidate.

    Against Production it must be non-inferior on the old distribution (lower bound of the accuracy difference
    above -margin); against it, or the bare base, superior on the new one (lower bound above 0). Guards: over all items
    alike, and over what Production was trained on, which holds what was asked before its own window, not both a
    lower bound below -margin and an estimate below -margin / 2; on the new no significant loss of gold margin.

    Parameters
    ----------
    items : PairedItems
        The gate half.
    old_counts, new_counts : int64 (K,), >= 0
        Cluster histograms: Production's reference and the window, or twice the target's.
    limits : GateLimits
    against : "base" or "production"
    learned_counts : int64 (K,), >= 0, or None
        Cluster histogram of all rows that Production was trained on.

    Returns
    -------
    Judgement
        "promote", "refuse", or "cannot judge" where labels, scores or clusters with items are lacking.

    Raises
    ------
    ValueError
        If the histograms differ in length or do not cover an item's cluster.
    """
    _require_cover(items.clusters, len(old_counts), len(new_counts))
    if obstacles := _obstacles(items, {"old": old_counts, "new": new_counts}, limits):
        return Judgement("cannot judge", tuple(obstacles))
    old, new = (histogram_weights(items.clusters, counts) for counts in (old_counts, new_counts))
    tests = [_accuracy_test(NOT_WORSE, items, old, limits, margin=limits.margin)[0]] if against == "production" else []
    tests += [_superior(items, new, limits), _guard_accuracy(ALL_ALIKE, items, np.ones(len(old)), limits)]
    if learned_counts is not None and learned_counts[items.clusters].any():
        tests.append(_guard_accuracy(LEARNED, items, histogram_weights(items.clusters, learned_counts), limits))
    tests.append(_guard_gold_margin(items, new, limits))
    reasons = [_sentence(test, limits) for test in tests]
    if against == "base":
        reasons.insert(0, "The base was beaten." if tests[0].passed else "The base was not beaten.")
    verdict: Verdict = "promote" if all(test.passed for test in tests) else "refuse"
    return Judgement(verdict, tuple(reasons + _remarks(items, new_counts)), tuple(tests))


def _require_cover(clusters: NDArray[np.int64], old: int, new: int) -> None:
    highest = clusters.max(initial=-1)
    if old != new or highest >= old:
        raise ValueError(
            f"Histograms of {old} and {new} clusters must agree and cover the items' clusters, up to {highest}."
        )


def _obstacles(items: PairedItems, counts: Mapping[str, NDArray[np.int64]], limits: GateLimits) -> list[str]:
    n = len(items.clusters)
    if n < limits.least_items:
        return [
            f"Only {n} labelled items of {n + items.unlabelled} (at least {limits.least_items} needed): "
            "label more test items of this language."
        ]
    unfit = int(np.sum(~np.isfinite(items.margin_differences())))
    if unfit:
        return [f"{unfit} of {n} items have no finite score: look at the candidate's training loss and weights."]
    found = []
    for name, histogram in counts.items():
        if histogram.sum() == 0:
            found.append(f"The {name} distribution is empty (0 rows in {len(histogram)} clusters).")
            continue
        missing, share = _uncovered(items, histogram)
        if share > limits.uncovered_share:
            found.append(
                f"{share:.1%} of the {name} distribution (at most {limits.uncovered_share:.1%} allowed) lies in "
                f"clusters without a labelled item: {_named(missing)}. Label test items there."
            )
    return found


def _uncovered(items: PairedItems, histogram: NDArray[np.int64]) -> tuple[list[int], float]:
    """Return the histogram's clusters without an item, the largest first, and their share."""
    empty = np.bincount(items.clusters, minlength=len(histogram)) == 0
    missing = [int(k) for k in np.argsort(-histogram, kind="stable") if empty[k] and histogram[k] > 0]
    return missing, float(histogram[empty].sum() / histogram.sum())


def _named(clusters: list[int]) -> str:
    names = ", ".join(str(cluster) for cluster in clusters[:_NAMED])
    return names if len(clusters) <= _NAMED else f"{names} and {len(clusters) - _NAMED} more"


def _z_sum(limits: GateLimits) -> float:
    return NormalDist().inv_cdf(1 - limits.alpha) + NormalDist().inv_cdf(limits.power)


def _accuracy_test(
    name: str, items: PairedItems, weights: FloatArray, limits: GateLimits, *, margin: float
) -> tuple[GateTest, PairedMean]:
    """Lower one-sided bound of the weighted accuracy difference against -margin."""
    differences = items.accuracy_differences()
    adjusted = paired_mean(differences, weights, items.groups, adjusted=True)
    half = NormalDist().inv_cdf(1 - limits.alpha) * adjusted.standard_error
    low, high = adjusted.estimate - half, adjusted.estimate + half
    estimate = weighted_mean(differences, weights)
    resolvable = _z_sum(limits) * adjusted.null_error
    test = GateTest(
        name, estimate, low, high, margin, len(differences), adjusted.effective_n, low > -margin, resolvable
    )
    return test, adjusted


def _superior(items: PairedItems, weights: FloatArray, limits: GateLimits) -> GateTest:
    """``resolvable``: the smallest gain g found at the stated power: n g^2 = z^2 (discordance - g^2)."""
    test, mean = _accuracy_test(BETTER, items, weights, limits, margin=0.0)
    shrunk = test.resolvable / float(np.sqrt(1 + _z_sum(limits) ** 2 / mean.effective_n))
    return replace(test, resolvable=shrunk)


def _guard_accuracy(name: str, items: PairedItems, weights: FloatArray, limits: GateLimits) -> GateTest:
    test, _ = _accuracy_test(name, items, weights, limits, margin=limits.margin)
    return replace(test, passed=test.passed or test.estimate >= -limits.margin / 2)


def _guard_gold_margin(items: PairedItems, weights: FloatArray, limits: GateLimits) -> GateTest:
    """Broken where the upper bound of the change in gold margin (nats) lies below 0."""
    mean = paired_mean(items.margin_differences(), weights, items.groups)
    half = NormalDist().inv_cdf(1 - limits.alpha) * mean.standard_error
    resolvable = _z_sum(limits) * mean.standard_error
    low, high = mean.estimate - half, mean.estimate + half
    n = len(weights)
    return GateTest(GOLD_MARGIN, mean.estimate, low, high, 0.0, n, mean.effective_n, high >= 0, resolvable)


def _sentence(test: GateTest, limits: GateLimits) -> str:
    unit = "gold margin (nats)" if test.name == GOLD_MARGIN else "accuracy"
    rule = RULES[test.name].format(margin=test.margin, half=test.margin / 2)
    bound = f"one-sided {1 - limits.alpha:.0%} bounds {test.low:+.4f} and {test.high:+.4f}"
    return (
        f"{test.name[0].upper()}{test.name[1:]}: {'passed' if test.passed else 'failed'}; {unit} changed by "
        f"{test.estimate:+.4f}, {bound}; {rule}. {test.n} items (effective {test.effective_n:.0f}) could resolve "
        f"{test.resolvable:.4f} at power {limits.power:.0%}."
    )


def _remarks(items: PairedItems, new_counts: NDArray[np.int64]) -> list[str]:
    remarks = []
    missing, share = _uncovered(items, new_counts)
    if missing:
        remarks.append(
            f"{share:.1%} of the new distribution lies in clusters without a labelled item ({_named(missing)}) "
            "and was not judged."
        )
    if items.unlabelled:
        total = items.unlabelled + len(items.clusters)
        remarks.append(f"{items.unlabelled} of {total} items have no answer and were left out.")
    return remarks
