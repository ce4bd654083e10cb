"""Accuracy, margins, and paired differences with their uncertainty. Pure: arrays in, numbers out."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A share with its confidence limits, all in [0, 1], and the number of items it was taken from."""

    estimate: float
    low: float
    high: float
    n: float


@dataclass(frozen=True)
class PairedMean:
    """A weighted mean of paired differences.

    Attributes
    ----------
    estimate : float
        Weighted mean, in the differences' unit.
    standard_error : float
        Its standard error, items of one group counted as dependent.
    null_error : float
        The standard error if the true mean were 0: root of the second moment in place of the variance.
    effective_n : float
        Kish's effective number of independent groups.
    """

    estimate: float
    standard_error: float
    null_error: float
    effective_n: float


def predicted_choice(scores: FloatArray) -> int:
    """Return the number of the highest score (the first of equals)."""
    return int(np.argmax(scores))


def gold_margin(scores: FloatArray, answer: int) -> float:
    """Return the answer's score minus the best other score, in nats; at least two choices."""
    others = np.delete(scores, answer)
    return float(scores[answer] - others.max())


def wilson_interval(correct: float, n: float) -> Interval:
    """Return the 95 % Wilson score interval of a share (Wilson 1927), without continuity correction; n > 0.

    Under weights give Kish's effective size for ``n`` and the weighted share of it for ``correct``.
    """
    z = NormalDist().inv_cdf(0.975)
    share = correct / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low = 0.0 if correct == 0 else float(centre - half)
    high = 1.0 if correct == n else float(centre + half)
    return Interval(share, low, high, n)


def weighted_mean(values: FloatArray, weights: FloatArray) -> float:
    """Return the mean of ``values`` (n,) under ``weights`` (n,), >= 0 with a positive sum."""
    return float(values @ weights / weights.sum())


def effective_size(weights: FloatArray) -> float:
    """Return Kish's effective sample size (sum w)^2 / sum w^2, in [1, n]; weights (n,) >= 0, positive sum."""
    return float(weights.sum() ** 2 / (weights @ weights))


def share_weights(clusters: NDArray[np.int64], shares: FloatArray) -> FloatArray:
    """Weight items so that each cluster counts by its share.

    Parameters
    ----------
    clusters : int64 (n,), in [0, K)
        Cluster of each item.
    shares : float64 (K,), >= 0
        Share of each cluster in the distribution that the items stand for.

    Returns
    -------
    float64 (n,), >= 0
        share(cluster) / items(cluster). They sum to the share of the clusters that have an item.
    """
    items = np.bincount(clusters, minlength=len(shares))
    return shares[clusters] / items[clusters]


def histogram_weights(clusters: NDArray[np.int64], counts: NDArray[np.int64]) -> FloatArray:
    """Weight items (n,) by a histogram (K,), see ``share_weights``; all alike if none of its clusters has one."""
    weights = share_weights(clusters, counts / max(counts.sum(), 1))
    return weights if weights.sum() > 0 else np.ones(len(clusters))


def group_numbers(parallel_ids: Sequence[str | None], ids: Sequence[str]) -> NDArray[np.int64]:
    """Number the groups of dependent items from 0: by parallel id, or each item by itself where there is none."""
    named = zip(parallel_ids, ids, strict=True)
    names = [f"item {own}" if parallel is None else f"parallel {parallel}" for parallel, own in named]
    return np.unique(np.asarray(names, dtype=object), return_inverse=True)[1].astype(np.int64)


def paired_mean(
    differences: FloatArray, weights: FloatArray, groups: NDArray[np.int64], *, adjusted: bool = False
) -> PairedMean:
    """Estimate a weighted mean with a standard error clustered by group (linearised ratio, Taylor series).

    Parameters
    ----------
    differences : float64 (n,)
    weights : float64 (n,), >= 0, positive sum
    groups : int64 (n,), >= 0
        Items of one group (one question in several forms) count as dependent.
    adjusted : bool
        Add two groups, one better and one worse by 1, each as heavy as the heaviest. With equal weights and
        differences in {-1, 0, 1} this is Bonett and Price's (2012) adjusted interval for paired shares, which
        never has width 0; the heaviest weight (as in Fay and Feuer 1997) keeps the level where few clusters
        carry much. The estimate then is the shrunken one.

    Returns
    -------
    PairedMean
    """
    weight_sums: FloatArray = np.bincount(groups, weights=weights).astype(np.float64)
    weighted_sums: FloatArray = np.bincount(groups, weights=weights * differences).astype(np.float64)
    effective_n = effective_size(weight_sums)
    if adjusted:
        heaviest = weight_sums.max()
        weight_sums = np.append(weight_sums, [heaviest, heaviest])
        weighted_sums = np.append(weighted_sums, [heaviest, -heaviest])
    total = weight_sums.sum()
    estimate = weighted_sums.sum() / total
    residuals = weighted_sums - estimate * weight_sums
    return PairedMean(
        float(estimate),
        float(np.sqrt(residuals @ residuals) / total),
        float(np.sqrt(weighted_sums @ weighted_sums) / total),
        effective_n,
    )
