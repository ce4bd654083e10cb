"""Has what people ask moved? Windows against references, all statistics of all languages tested together.

A divergence is biased upwards in small samples, so by default nothing is compared with a fixed value: a permutation
test says whether a statistic of this size would appear without drift, and an effect floor whether it is worth an
update (METHOD.md 4.1, 4.4). The fixed threshold of arXiv 2604.20720 stays selectable, for comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from compass_ops.errors import ParamsError
from compass_ops.monitoring.measures import DIVERGENCE, MMD, NOVELTY, STATISTICS, Measured
from compass_ops.monitoring.permutation import DECIMALS, FloatArray, benjamini_hochberg, holm, step_down_max_t
from compass_ops.monitoring.wording import finding_sentence, insufficient_sentence, thinned_sentence, threshold_sentence

DriftVerdict = Literal["drift", "unconfirmed", "no drift", "insufficient data"]
Correction = Literal["max-t", "holm", "benjamini-hochberg", "fixed"]
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class DriftSettings:
    """How a window is judged.

    Attributes
    ----------
    correction : str
        How p-values are adjusted over statistics and languages: ``max-t`` (step-down, by the permutations
        themselves), ``holm``, ``benjamini-hochberg``; or ``fixed``: no test, the divergence against
        ``fixed_threshold_nats``.
    permutations : int, >= 1
        B; the smallest possible p-value is 1 / (B + 1), which must not be above ``alpha``.
    alpha : float, in (0, 1)
        Bound on the probability of any false alarm in one round over all languages (false discovery rate under
        ``benjamini-hochberg``).
    effect_floor_nats : float, >= 0
        Debiased divergence of clusters or scripts below which a significant shift is not acted on.
    mmd_floor : float, >= 0
        The same for the squared maximum mean discrepancy.
    novelty_floor : float, >= 1
        The same for the ratio of the shares of new rows.
    fixed_threshold_nats : float, > 0
        delta of arXiv 2604.20720, for ``correction`` fixed alone.
    persistence : int, >= 1
        Windows in a row that must show a shift before it is called drift.
    minimum_window, minimum_reference : int, >= 1
        Rows below which there is no verdict but "insufficient data".
    minimum_sessions : int, >= 1
        The same for the sessions of either sample; a row without session is one by itself.
    random_features : int, even, >= 2
        Of the kernel.
    novelty_quantile : float, in (0, 1)
        Quantile of the fitting rows' distances to their centroids beyond which a row is new.
    moved_clusters : int, >= 0
        How many of the clusters that moved most are named.
    """

    correction: Correction
    permutations: int
    alpha: float
    effect_floor_nats: float
    mmd_floor: float
    novelty_floor: float
    fixed_threshold_nats: float
    persistence: int
    minimum_window: int
    minimum_reference: int
    minimum_sessions: int
    random_features: int
    novelty_quantile: float
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
class Compared:
    """One language's window beside its reference.

    Attributes
    ----------
    histograms : Histograms
    sessions : (int, int)
        Of the window and of the reference.
    measured : Measured or None
        None where ``is_enough`` says that nothing is to be tested.
    tested : (int, int) or None
        Rows of the window and of the reference that are tested, one per session of one side where it alone has
        sessions; None: all of them.
    """

    histograms: Histograms
    sessions: tuple[int, int]
    measured: Measured | None
    tested: tuple[int, int] | None = None

    @property
    def rows(self) -> tuple[int, int]:
        """Rows of the window and of the reference that are compared."""
        return self.all_rows if self.tested is None else self.tested

    @property
    def all_rows(self) -> tuple[int, int]:
        """Rows of the window and of the reference."""
        return int(self.histograms.window.sum()), int(self.histograms.reference.sum())


@dataclass(frozen=True)
class ClusterMove:
    """A cluster and its share, in [0, 1], of the reference's rows and of the window's."""

    cluster: int
    before: float
    after: float


@dataclass(frozen=True)
class Finding:
    """One statistic: see ``Measured`` for value and effect.

    Attributes
    ----------
    p_value, p_raw : float or None
        Adjusted over all statistics and languages of the round, and of this one alone; None under ``fixed``.
    """

    statistic: str
    value: float
    effect: float
    floor: float
    p_value: float | None
    p_raw: float | None

    def alarms(self, alpha: float) -> bool:
        """Tell whether the shift is significant and worth acting on."""
        return self.p_value is not None and self.p_value <= alpha and self.effect >= self.floor


@dataclass(frozen=True)
class LanguageDrift:
    """What was found for one language.

    Attributes
    ----------
    verdict : str
        ``drift``: a statistic has p_value <= alpha and an effect of at least its floor. ``unconfirmed``: the same,
        but not in as many windows in a row as are asked for (see ``confirmed``). ``insufficient data``: a sample is
        below its minimum.
    sentence : str
        The verdict with its figures, for people.
    findings : tuple of Finding, in the order of ``STATISTICS``
        Empty without enough data.
    p_value : float or None
        Smallest adjusted p-value; None where nothing was tested.
    family : int
        Languages tested together.
    moved : tuple of ClusterMove
        The largest changes of share, largest first.
    """

    language: str
    verdict: DriftVerdict
    sentence: str
    findings: tuple[Finding, ...]
    p_value: float | None
    n_window: int
    n_reference: int
    family: int
    moved: tuple[ClusterMove, ...]


def is_enough(rows: tuple[int, int], sessions: tuple[int, int], settings: DriftSettings) -> bool:
    """Tell whether samples (window, reference) are large enough to be tested."""
    least = max(1, settings.minimum_window), max(1, settings.minimum_reference)
    return rows[0] >= least[0] and rows[1] >= least[1] and min(sessions) >= settings.minimum_sessions


def judge(compared: Mapping[str, Compared], settings: DriftSettings) -> dict[str, LanguageDrift]:
    """Judge one window of every language; the bound on false alarms holds over all of them together.

    Raises
    ------
    ParamsError
        If the permutations are too few for the correction: no p-value could reach its threshold.
    """
    tested = {name: one.measured for name, one in compared.items() if one.measured is not None}
    adjusted = _adjusted(list(tested.values()), settings)
    places = {name: place for place, name in enumerate(tested)}
    return {
        name: _untested(name, one, settings)
        if one.measured is None
        else _tested(name, one, _findings(one.measured, adjusted[places[name]], settings), settings, len(tested))
        for name, one in compared.items()
    }


def unconfirmed(found: LanguageDrift, windows: tuple[int, int]) -> LanguageDrift:
    """Return the same finding as ``unconfirmed``: of (seen, needed) windows in a row too few show a shift."""
    seen, needed = windows
    told = f"{found.sentence} Seen in {seen} of {needed} windows in a row, so nothing is done yet."
    return replace(found, verdict="unconfirmed", sentence=told)


def _adjusted(measured: list[Measured], settings: DriftSettings) -> FloatArray:
    """Return float64 (languages, 4, 2): p-values adjusted, and of each statistic alone. NaN under ``fixed``."""
    if settings.correction == "fixed" or not measured:
        return np.full((len(measured), len(STATISTICS), 2), np.nan)
    raw = np.array([[step_down_max_t(row[None])[0] for row in one.scores] for one in measured])
    if settings.correction == "max-t":
        joint = step_down_max_t(np.concatenate([one.scores for one in measured]))
        return np.stack([joint.reshape(raw.shape), raw], axis=2)
    needed = int(np.ceil(len(measured) / settings.alpha)) - 1
    if settings.permutations < needed:
        raise ParamsError(
            f"params.yaml: drift.permutations must be >= {needed} for drift.correction {settings.correction} over "
            f"{len(measured)} languages at alpha {settings.alpha}: with {settings.permutations} a language that "
            "shifts alone cannot reach its threshold. Raise it, or choose max-t."
        )
    within = np.array([step_down_max_t(one.scores) for one in measured])
    over = (holm if settings.correction == "holm" else benjamini_hochberg)(within.min(axis=1))
    return np.stack([np.maximum(within, over[:, None]), raw], axis=2)


def _findings(measured: Measured, p: FloatArray, settings: DriftSettings) -> tuple[Finding, ...]:
    floors = {MMD: settings.mmd_floor, NOVELTY: settings.novelty_floor}
    return tuple(
        Finding(
            name,
            float(measured.values[row, 0]),
            float(measured.effects[row]),
            floors.get(name, settings.effect_floor_nats),
            None if np.isnan(p[row, 0]) else float(p[row, 0]),
            None if np.isnan(p[row, 1]) else float(p[row, 1]),
        )
        for row, name in enumerate(STATISTICS)
    )


def _tested(
    language: str, one: Compared, findings: tuple[Finding, ...], settings: DriftSettings, family: int
) -> LanguageDrift:
    moved = moved_clusters(one.histograms, settings.moved_clusters)
    if settings.correction == "fixed":
        value = next(finding.value for finding in findings if finding.statistic == DIVERGENCE)
        drifted, p_value = value > settings.fixed_threshold_nats, None
        sentence = threshold_sentence(value, settings.fixed_threshold_nats)
    else:
        drifted = any(finding.alarms(settings.alpha) for finding in findings)
        p_value = min(finding.p_value for finding in findings if finding.p_value is not None)
        sentence = finding_sentence(findings, settings.alpha, family, moved)
    sentence += thinned_sentence(one.rows, one.all_rows)
    verdict: DriftVerdict = "drift" if drifted else "no drift"
    return LanguageDrift(language, verdict, sentence, findings, p_value, *one.rows, family, moved)


def _untested(language: str, one: Compared, settings: DriftSettings) -> LanguageDrift:
    minimum = settings.minimum_window, settings.minimum_reference
    sentence = insufficient_sentence(one.rows, minimum, one.sessions, settings.minimum_sessions)
    return LanguageDrift(language, "insufficient data", sentence, (), None, *one.rows, 0, ())


def moved_clusters(sample: Histograms, count: int) -> tuple[ClusterMove, ...]:
    """Return the ``count`` clusters whose share changed most, largest first, without those that kept theirs."""
    if min(sample.reference.sum(), sample.window.sum()) == 0:
        return ()
    before = sample.reference / sample.reference.sum()
    after = sample.window / sample.window.sum()
    change = np.round(np.abs(after - before), DECIMALS)
    largest = [int(cluster) for cluster in np.argsort(-change, kind="stable")[:count] if change[cluster] > 0]
    return tuple(ClusterMove(cluster, float(before[cluster]), float(after[cluster])) for cluster in largest)
