"""Has what people ask moved? Cluster histograms of windows against references, all languages tested together.

The statistic is the Jensen-Shannon divergence of two histograms. It is biased upwards in small samples, so nothing
is compared with a fixed value: a permutation test says whether a divergence of this size would appear without
drift, and the mean over the permutations is subtracted before the effect floor (METHOD.md 4.1, 4.4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compass_ops.monitoring.permutation import DECIMALS, Counts, p_values, permuted_divergences, step_down_max_t
from compass_ops.monitoring.wording import drift_sentence, insufficient_sentence

DriftVerdict = Literal["drift", "no drift", "insufficient data"]


@dataclass(frozen=True)
class DriftSettings:
    """How a window is judged.

    Attributes
    ----------
    permutations : int, >= 1
        B; the smallest possible p-value is 1 / (B + 1), which must not be above ``alpha``.
    alpha : float, in (0, 1)
        Bound on the probability of any false alarm in one round over all languages.
    effect_floor_nats : float, >= 0
        Debiased divergence below which a significant shift is not called drift.
    minimum_window, minimum_reference : int, >= 1
        Rows below which there is no verdict but "insufficient data".
    moved_clusters : int, >= 0
        How many of the clusters that moved most are named.
    """

    permutations: int
    alpha: float
    effect_floor_nats: float
    minimum_window: int
    minimum_reference: int
    moved_clusters: int

    def __post_init__(self) -> None:
        """Refuse settings under which no language could ever be called drifted."""
        if not 0 < self.alpha < 1:
            raise ValueError(f"drift.alpha must be in (0, 1); got {self.alpha}.")
        if self.permutations < 1 or 1 / (self.permutations + 1) > self.alpha:
            needed = int(np.ceil(1 / self.alpha)) - 1
            raise ValueError(
                f"drift.permutations must be >= {needed} for drift.alpha {self.alpha}, since p is never below "
                f"1 / (permutations + 1); got {self.permutations}."
            )


@dataclass(frozen=True)
class Histograms:
    """Rows per cluster of one language, as int64 (K,): of its reference and of the window."""

    reference: Counts
    window: Counts


@dataclass(frozen=True)
class ClusterMove:
    """A cluster and its share, in [0, 1], of the reference's rows and of the window's."""

    cluster: int
    before: float
    after: float


@dataclass(frozen=True)
class LanguageDrift:
    """What was found for one language.

    Attributes
    ----------
    verdict : str
        ``drift``: p_value <= alpha and debiased >= floor; ``insufficient data``: a sample is below its minimum.
    sentence : str
        The verdict with its figures, for people.
    statistic, debiased : float or None
        Jensen-Shannon divergence in nats, and the same less its mean under permutation (can be negative).
    p_value, p_raw : float or None
        Adjusted over all languages of the round, and of this language alone. None without enough data, as above.
    family : int
        Languages tested together.
    moved : tuple of ClusterMove
        The largest changes of share, largest first.
    """

    language: str
    verdict: DriftVerdict
    sentence: str
    statistic: float | None
    debiased: float | None
    p_value: float | None
    p_raw: float | None
    n_window: int
    n_reference: int
    family: int
    moved: tuple[ClusterMove, ...]


def judge(
    samples: Mapping[str, Histograms], settings: DriftSettings, streams: Mapping[str, np.random.Generator]
) -> dict[str, LanguageDrift]:
    """Judge one window of every language; the bound on false alarms holds over all of them together.

    Parameters
    ----------
    samples : mapping of language to Histograms
        Languages may have different numbers of clusters.
    settings : DriftSettings
    streams : mapping of language to numpy.random.Generator
        One per language, so that adding a language leaves the others' permutations as they were.

    Returns
    -------
    dict of language to LanguageDrift, in the order of ``samples``.
    """
    tested = [language for language, sample in samples.items() if _is_enough(sample, settings)]
    joint = np.empty((len(tested), settings.permutations + 1))
    for row, name in enumerate(tested):
        sample, rng = samples[name], streams[name]
        joint[row] = permuted_divergences(sample.reference, sample.window, settings.permutations, rng)
    adjusted = step_down_max_t(joint)
    found = {
        name: _tested(name, samples[name], joint[row], float(adjusted[row]), settings, len(tested))
        for row, name in enumerate(tested)
    }
    return {
        name: found[name] if name in found else _untested(name, sample, settings) for name, sample in samples.items()
    }


def _is_enough(sample: Histograms, settings: DriftSettings) -> bool:
    rows = int(sample.window.sum()), int(sample.reference.sum())
    return rows[0] >= max(1, settings.minimum_window) and rows[1] >= max(1, settings.minimum_reference)


def _tested(
    language: str,
    sample: Histograms,
    statistics: NDArray[np.float64],
    p_value: float,
    settings: DriftSettings,
    family: int,
) -> LanguageDrift:
    null = statistics[1:]
    debiased = float(statistics[0] - null.mean())
    exceeded = np.array((null >= statistics[0]).sum())
    drifted = p_value <= settings.alpha and debiased >= settings.effect_floor_nats
    verdict: DriftVerdict = "drift" if drifted else "no drift"
    moved = moved_clusters(sample, settings.moved_clusters)
    largest = (moved[0].cluster, moved[0].before, moved[0].after) if moved else None
    return LanguageDrift(
        language=language,
        verdict=verdict,
        sentence=drift_sentence(
            drifted,
            (debiased, settings.effect_floor_nats),
            (p_value, settings.alpha, family),
            largest,
        ),
        statistic=float(statistics[0]),
        debiased=debiased,
        p_value=p_value,
        p_raw=float(p_values(exceeded, len(null))),
        n_window=int(sample.window.sum()),
        n_reference=int(sample.reference.sum()),
        family=family,
        moved=moved,
    )


def _untested(language: str, sample: Histograms, settings: DriftSettings) -> LanguageDrift:
    rows = int(sample.window.sum()), int(sample.reference.sum())
    sentence = insufficient_sentence(rows, (settings.minimum_window, settings.minimum_reference))
    return LanguageDrift(language, "insufficient data", sentence, None, None, None, None, rows[0], rows[1], 0, ())


def moved_clusters(sample: Histograms, count: int) -> tuple[ClusterMove, ...]:
    """Return the ``count`` clusters whose share changed most, largest first, without those that kept theirs."""
    before = sample.reference / sample.reference.sum()
    after = sample.window / sample.window.sum()
    change = np.round(np.abs(after - before), DECIMALS)
    largest = [int(cluster) for cluster in np.argsort(-change, kind="stable")[:count] if change[cluster] > 0]
    return tuple(ClusterMove(cluster, float(before[cluster]), float(after[cluster])) for cluster in largest)
