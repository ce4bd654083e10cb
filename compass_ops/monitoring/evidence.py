"""What there is to see of a window beside the figures of the test: clusters, examples, what its texts are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.corpus.traits import NO_SCRIPT
from compass_ops.monitoring.drift import ClusterMove, Histograms

_SCRIPTS_SHOWN = 5
_TRAITS = ("script", "characters", "letters", "digits")


@dataclass(frozen=True)
class Description:
    """A figure of the texts, of the reference and of the window; valid for every script."""

    name: str
    before: str
    after: str


@dataclass(frozen=True)
class Evidence:
    """What there is to see beside the figures.

    Attributes
    ----------
    histograms : Histograms
        Rows per cluster, before and after.
    moved : sequence of ClusterMove
        Largest change first.
    examples : mapping of cluster to prompts
        A few prompts of the window; none where no text is kept.
    descriptions : sequence of Description
    period : str or None
        When the window's first and last row were asked; None where it is not known, as of simulated traffic.
    """

    histograms: Histograms
    moved: Sequence[ClusterMove]
    examples: Mapping[int, Sequence[str]]
    descriptions: Sequence[Description]
    period: str | None


def described(reference: pa.Table, window: pa.Table) -> tuple[Description, ...]:
    """Describe both samples' texts by their traits: length, letters, digits, and the scripts with the most rows."""
    before, after = ({name: table.column(name).to_numpy() for name in _TRAITS} for table in (reference, window))
    lengths = ("Characters, median", "Characters, 95th percentile"), (0.5, 0.95)
    found = [
        Description(name, *(f"{_quantile(one['characters'], share):.0f}" for one in (before, after)))
        for name, share in zip(*lengths, strict=True)
    ]
    for trait in ("letters", "digits"):
        told = (_share(one[trait]) for one in (before, after))
        found.append(Description(f"Share of {trait}, mean", *told))
    names, counts = np.unique(np.concatenate([before["script"], after["script"]]).astype(str), return_counts=True)
    for script in names[np.argsort(-counts, kind="stable")][:_SCRIPTS_SHOWN]:
        told = (_share(one["script"] == script) for one in (before, after))
        found.append(Description(f"Rows in {script} letters" if script != NO_SCRIPT else "Rows without letters", *told))
    return tuple(found)


def _quantile(values: NDArray[np.int32], share: float) -> float:
    return float(np.quantile(values, share)) if len(values) else 0.0


def _share(values: NDArray[np.float32] | NDArray[np.bool_]) -> str:
    return f"{np.mean(values):.1%}" if len(values) else "no rows"
