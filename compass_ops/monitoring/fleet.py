"""The fleet at a glance: one row per language, as one light HTML page and as a table for the terminal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TypeGuard

from jinja2 import Environment, StrictUndefined, Template

from compass_ops.monitoring.action import PAGE
from compass_ops.storage import write_bytes

_NOTHING = "–"
_CLUSTERS_SHOWN = 12
_COLUMNS = ("language", "zero-shot", "adapter", "drift", "decision", "version", "stage")


@dataclass(frozen=True)
class Score:
    """An accuracy in [0, 1] on what is asked with its 95 % confidence limits, on ``n`` items."""

    accuracy: float
    low: float
    high: float
    n: float


@dataclass(frozen=True)
class DriftCell:
    """What the newest window showed and what is done about it.

    ``p_value`` is None where nothing was tested, ``period`` where the log's times are not known.
    """

    verdict: str
    sentence: str
    action: str
    action_sentence: str
    window: str | None
    period: str | None
    p_value: float | None


@dataclass(frozen=True)
class Alarm:
    """The last alarm of a language."""

    window: str
    p_value: float | None
    sentence: str


@dataclass(frozen=True)
class CheckLine:
    """One test of a decision record; estimates and margins in accuracy."""

    name: str
    estimate: float
    low: float
    margin: float
    n: float
    effective_n: float
    resolvable: float
    passed: bool


@dataclass(frozen=True)
class Decision:
    """A decision record as it is shown; ``title`` says what was decided about."""

    title: str
    verdict: str
    reasons: tuple[str, ...]
    tests: tuple[CheckLine, ...]


@dataclass(frozen=True)
class ClusterPlan:
    """What the selection did in one cluster: shares and gap in [0, 1], the others in the budget's unit.

    ``quota`` is None where the strategy sets none.
    """

    cluster: int
    target_share: float
    held_share: float
    gap: float
    quota: int | None
    supply: int
    chosen: int
    example: str


@dataclass(frozen=True)
class FleetRow:
    """One language.

    Attributes
    ----------
    zero_shot, adapter : Score or None
        The bare base, and the newly trained adapter, on the gate half.
    decision, reason : str
        A few words, and the sentence behind them.
    version, stage : str or None
        Of the version that serves, or None where the base serves alone.
    report : str or None
        Link to the HTML report, relative to the page.
    failure : str or None
        Why the language failed in this run.
    """

    language: str
    zero_shot: Score | None
    adapter: Score | None
    drift: DriftCell | None
    decision: str
    reason: str
    version: str | None
    stage: str | None
    last_alarm: Alarm | None
    report: str | None
    failure: str | None
    decisions: tuple[Decision, ...]
    plan: tuple[ClusterPlan, ...]


def fleet_page(rows: Sequence[FleetRow], project: str) -> str:
    """Return the page: self-contained HTML, everything from data escaped."""
    return _template().render(rows=rows, project=project, summary=_summary(rows), shown=_CLUSTERS_SHOWN)


def write_fleet_page(rows: Sequence[FleetRow], project: str, path: Path) -> None:
    """Write the page to ``path``."""
    write_bytes(path, fleet_page(rows, project).encode())


def summary_table(rows: Sequence[FleetRow]) -> str:
    """Return the table for the terminal: one line per language, then the failures with their reasons."""
    cells = [_cells(row) for row in rows]
    widths = [max(len(line[column]) for line in [_COLUMNS, *cells]) for column in range(len(_COLUMNS))]
    lines = [_line(line, widths) for line in [_COLUMNS, tuple("-" * width for width in widths), *cells]]
    notes = [f"{row.language} failed: {row.failure}" for row in rows if row.failure is not None]
    notes += [f"{row.language}, a person is needed: {row.drift.action_sentence}" for row in rows if _calls(row.drift)]
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _calls(drift: DriftCell | None) -> TypeGuard[DriftCell]:
    return drift is not None and drift.action == PAGE


def _cells(row: FleetRow) -> tuple[str, ...]:
    drift = _NOTHING if row.drift is None else row.drift.verdict
    if row.drift is not None and row.drift.p_value is not None:
        drift += f" (p {row.drift.p_value:.3g})"
    return (
        row.language,
        _scored(row.zero_shot),
        _scored(row.adapter),
        drift,
        row.decision,
        row.version or _NOTHING,
        row.stage or _NOTHING,
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _scored(score: Score | None) -> str:
    return _NOTHING if score is None else f"{score.accuracy:.3f} [{score.low:.3f}, {score.high:.3f}]"


def _summary(rows: Sequence[FleetRow]) -> list[tuple[int, str]]:
    """Count what a reader looks for first."""
    drifted = sum(row.drift is not None and row.drift.verdict == "drift" for row in rows)
    return [
        (len(rows), "languages" if len(rows) != 1 else "language"),
        (sum(row.version is not None for row in rows), "with an adapter in Production"),
        (drifted, "drifted in the newest window"),
        (sum(_calls(row.drift) for row in rows), "with harm that a person should look at"),
        (sum(row.failure is not None for row in rows), "failed"),
    ]


def _steepest(plan: Sequence[ClusterPlan]) -> list[ClusterPlan]:
    """Return the clusters of the largest gaps, the first ones of equals."""
    return sorted(plan, key=lambda cluster: (-cluster.gap, cluster.cluster))[:_CLUSTERS_SHOWN]


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _signed(value: float) -> str:
    return f"{value:+.3f}" if math.isfinite(value) else _NOTHING


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"percent": _percent, "signed": _signed, "steepest": _steepest}
    return environment.from_string((files("compass_ops.monitoring") / "fleet.html").read_text("utf-8"))
