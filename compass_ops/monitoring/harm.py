"""Does Production answer worse what is asked now? The loss on labelled items of the window against the reference's.

A shift that the adapter copes with needs no update, and an adapter can get worse without any shift of what is asked
(METHOD.md 4.4.4). Pure: losses and histograms in, figures out.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compass_ops.evaluation.metrics import FloatArray, effective_size, share_weights, weighted_mean
from compass_ops.monitoring.drift import Histograms

Source = Literal["feedback", "dev items"]


@dataclass(frozen=True)
class HarmSettings:
    """When a loss counts as harm, and what follows from it; see ``action``.

    Attributes
    ----------
    required : bool
        Whether a shift without shown harm is only logged.
    alpha : float, in (0, 1)
        Error rate of the one-sided test; over all languages that did not shift together.
    floor_nats : float, >= 0
        Rise of the loss, in nats per byte of the answer, that is tolerated.
    least_items : int, >= 2
        Effective labelled items, on either side, below which nothing is said.
    uncovered_share : float, in [0, 1]
        Largest share of either side in clusters without a labelled item.
    cool_down : int, >= 0
        Windows after the one that Production was made for in which no candidate is trained.
    """

    required: bool
    alpha: float
    floor_nats: float
    least_items: int
    uncovered_share: float
    cool_down: int


@dataclass(frozen=True)
class Losses:
    """Production's losses on labelled items.

    Attributes
    ----------
    source : str
        Where the labels come from.
    values : float64 (n,), >= 0
        Negative log-probability of the labelled answer, in nats per byte of UTF-8: items have no tokens in common
        with feedback, and free answers no choices.
    clusters : int64 (n,), in [0, K)
        Under Production's centroids.
    groups : int64 (n,), >= 0
        Equal for items that are dependent: one question in several forms, or one session.
    """

    source: Source
    values: FloatArray
    clusters: NDArray[np.int64]
    groups: NDArray[np.int64]


@dataclass(frozen=True)
class Harm:
    """The loss on what is asked now against that on what Production was made for, in nats per byte of the answer.

    Attributes
    ----------
    source : str
        Of the labels on both sides: users answer in another style than dev items, so feedback is compared with
        feedback of earlier windows.
    before, after : float
        Mean losses.
    low, high : float
        One-sided bounds of the rise ``after - before``, each at ``level``.
    level : float
        Error rate of either bound.
    floor : float
        The rise that is tolerated.
    n : int
        Labelled items behind ``after``.
    effective_n : float
        Kish's effective number of independent ones, of the smaller side.
    """

    source: Source
    before: float
    after: float
    low: float
    high: float
    level: float
    floor: float
    n: int
    effective_n: float

    @property
    def shown(self) -> bool:
        """Whether the rise is above the floor beyond doubt."""
        return self.low > self.floor


def measure_harm(
    now: Losses, past: Losses, histograms: Histograms, drifted: bool, how: tuple[HarmSettings, float]
) -> Harm | str:
    """Compare losses, or say why they cannot be compared.

    What is past stands for the reference by its shares of clusters. Where the window drifted, the labelled items stand
    for what it asks more of than the reference, by the rise of each cluster's share; otherwise for the window.

    Parameters
    ----------
    now : Losses
        Feedback of the window, or dev items.
    past : Losses
        Feedback of earlier windows, or the same dev items.
    histograms : Histograms
    drifted : bool
    how : (HarmSettings, float)
        The settings, and the error rate of this one test.
    """
    settings, level = how
    asked = histograms.window / max(1, histograms.window.sum())
    known = histograms.reference / max(1, histograms.reference.sum())
    shares = np.maximum(asked - known, 0.0) if drifted else asked
    for losses, wanted, what in ((now, shares, "what is asked now"), (past, known, "what was asked before")):
        lacks: str | None = f"losses that are not finite among the {losses.source}"
        if np.isfinite(losses.values).all():
            lacks = lack((losses.clusters, losses.groups), wanted, losses.source, settings)
        if lacks is not None:
            return f"{lacks} for {what}"
    new, old = share_weights(now.clusters, shares), share_weights(past.clusters, known)
    after, before = weighted_mean(now.values, new), weighted_mean(past.values, old)
    half = NormalDist().inv_cdf(1 - level) * _error(now, past, (new, old), (after, before))
    rise = after - before
    return Harm(
        source=now.source,
        before=before,
        after=after,
        low=rise - half,
        high=rise + half,
        level=level,
        floor=settings.floor_nats,
        n=int((new > 0).sum()),
        effective_n=min(_effective(now.groups, new), _effective(past.groups, old)),
    )


def lack(
    items: tuple[NDArray[np.int64], NDArray[np.int64]], shares: FloatArray, source: Source, settings: HarmSettings
) -> str | None:
    """Say what is missing of labelled items that are to stand for shares of clusters.

    Parameters
    ----------
    items : (int64 (n,), int64 (n,))
        Their clusters and groups, n >= 1.
    shares : float64 (K,), >= 0
        Need not sum to 1.
    source : str
    settings : HarmSettings

    Returns
    -------
    str or None
        None where nothing is missing.
    """
    clusters, groups = items
    counts = np.bincount(clusters, minlength=len(shares))
    uncovered = float(shares[counts == 0].sum() / max(shares.sum(), np.finfo(float).tiny))
    if uncovered > settings.uncovered_share:
        return (
            f"{uncovered:.0%} without a labelled item among the {source} (at most "
            f"{settings.uncovered_share:.0%} allowed)"
        )
    weights = share_weights(clusters, shares)
    found = _effective(groups, weights) if weights.sum() > 0 else 0.0
    if found < settings.least_items:
        return f"only {found:.0f} effective items among the {source} (at least {settings.least_items} needed)"
    return None


def _effective(groups: NDArray[np.int64], weights: FloatArray) -> float:
    return effective_size(_summed(groups, weights))


def _error(now: Losses, past: Losses, weights: tuple[FloatArray, FloatArray], means: tuple[float, float]) -> float:
    """Return the standard error of the difference of two weighted means, groups counted as dependent.

    Linearised ratios, as in ``metrics.paired_mean``. The same items on both sides are not independent: what they
    bring to both is added group by group before it is squared.
    """
    parts = [
        weight * (losses.values - mean) / weight.sum()
        for losses, weight, mean in zip((now, past), weights, means, strict=True)
    ]
    sums = [_summed(losses.groups, part) for losses, part in zip((now, past), parts, strict=True)]
    if now is past:
        return _spread(sums[0] - sums[1])
    return float(np.hypot(_spread(sums[0]), _spread(sums[1])))


def _summed(groups: NDArray[np.int64], values: FloatArray) -> FloatArray:
    """Sum values (n,) by group."""
    summed: FloatArray = np.bincount(groups, weights=values).astype(np.float64)
    return summed


def _spread(sums: FloatArray) -> float:
    """Root of the sum of squares, with the correction for few groups."""
    groups = int(np.count_nonzero(sums))
    return float(np.sqrt(sums @ sums * groups / max(1, groups - 1)))
