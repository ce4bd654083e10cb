"""The choice among candidates between the old adapter and the new: cheap, on the dev half, before the gate."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compass_ops.evaluation.gate import PairedItems
from compass_ops.evaluation.metrics import histogram_weights, weighted_mean

_ROUNDING = 1e-9  # sums of weights are not exact; a loss of the margin itself is tolerated


@dataclass(frozen=True)
class CandidateChoice:
    """The candidate that enters the gate: its interpolation factor, and why, in one sentence."""

    alpha: float
    reason: str


def choose_candidate(
    dev: Mapping[float, PairedItems], old_counts: NDArray[np.int64], new_counts: NDArray[np.int64], margin: float
) -> CandidateChoice:
    """Choose among interpolations of the old and the new adapter (WiSE-FT, arXiv 2109.01903), on the dev half.

    The best accuracy on the new distribution among those that lose at most ``margin`` on the old one; of equals
    the one with the higher gold margin on the new, then the one nearer to the old adapter. If all lose more,
    the one that loses least.

    Parameters
    ----------
    dev : mapping of alpha in (0, 1] to PairedItems
        Each candidate against Production.
    old_counts, new_counts : int64 (K,)
        As for ``judge``. Where no dev item lies in a histogram's clusters, all items count alike;
        without any labelled item the highest alpha is taken.
    margin : float
        Tolerated loss of accuracy.
    """
    if not any(len(items.clusters) for items in dev.values()):
        last = max(dev)
        return CandidateChoice(last, f"alpha {last:g}: 0 labelled dev items, so nothing was compared.")
    measured: dict[float, tuple[float, float, float]] = {}
    for alpha, items in sorted(dev.items()):
        old = histogram_weights(items.clusters, old_counts)
        new = histogram_weights(items.clusters, new_counts)
        measured[alpha] = (
            weighted_mean(items.accuracy_differences(), old),
            weighted_mean(items.accuracy_differences(), new),
            weighted_mean(items.margin_differences(), new),
        )
    kept = {alpha: (new, gold, -alpha) for alpha, (old, new, gold) in measured.items() if old >= -margin - _ROUNDING}
    if kept:
        best = max(kept, key=lambda alpha: kept[alpha])
        among = f"the best on the new of {len(kept)} of {len(measured)} candidates within {margin:.3f} on the old"
    else:
        best = max(measured, key=lambda alpha: (measured[alpha][0], -alpha))
        among = f"all {len(measured)} candidates lose more than {margin:.3f} on the old; this one loses least"
    old_change, new_change, _ = measured[best]
    return CandidateChoice(
        best, f"alpha {best:g}: dev accuracy {old_change:+.3f} on the old, {new_change:+.3f} on the new ({among})."
    )
