"""The only door to Evidently: a verdict as Evidently's snapshot, and that snapshot as HTML.

Evidently computes nothing here. Its own drift methods alarm without drift (LIBRARY_FACTS.md 3.3), so our
calibrated figures enter as custom metrics with tests; JSON and HTML are Evidently's.
"""

import json
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from compass_ops.monitoring.drift import ClusterMove, DriftSettings, Finding, Histograms
from compass_ops.monitoring.evidence import Evidence
from compass_ops.monitoring.measures import DIVERGENCE, MIX, MMD, NOVELTY
from compass_ops.monitoring.verdict import DRIFT_FIGURE, HARM_FIGURE, HARM_PARTS, PARTS, Verdict
from compass_ops.monitoring.wording import counted
from compass_ops.storage import write_bytes

# Telemetry decides at import.
os.environ["DO_NOT_TRACK"] = "1"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Evidently 0.7.23 uses numpy.core
    from evidently import Report
    from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric
    from evidently.core.report import Context, Snapshot
    from evidently.legacy.model.widget import BaseWidgetInfo
    from evidently.legacy.renderers.html_widgets import CounterData, counter, plotly_data, table_data
    from evidently.tests import eq, gt, gte, lt, lte

# A snapshot is a function of its inputs: DVC hashes it and a promotion records its digest.
_TIMESTAMP = datetime(2000, 1, 1, tzinfo=UTC)
_RANDOM_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PAGE_ID = re.compile(r'metric_[0-9a-f]{32}|(?<="id": ")[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=")')
# Evidently inlines the data into a <script> without escaping "<". A private-use character holds its place there.
_HELD_PLACE = "\ue000"
_STATISTICS = {
    DIVERGENCE: "Divergence of clusters, nats",
    MMD: "Squared MMD",
    NOVELTY: "Share of new rows",
    MIX: "Divergence of scripts, nats",
}
_EFFECTS = {NOVELTY: "ratio to the reference's"}
_PARTS = {"value": "", "p_value": ": p over all tests", "p_raw": ": p alone"}
_HARM = {
    "before": "Loss on what was asked before, nats per byte",
    "after": "Loss on what is asked now, nats per byte",
    "low": "Rise of the loss: lower bound",
    "high": "Rise of the loss: upper bound",
    "level": "Error rate of either bound",
    "floor": "Rise of the loss that is tolerated",
    "n": "Labelled items of what is asked now",
    "effective_n": "Effective labelled items",
}
_LABELS = {
    DRIFT_FIGURE: "Drift (1 yes, 0 no)",
    HARM_FIGURE: "Harm (1 shown, 0 not)",
    **{f"{HARM_FIGURE}_{part}": label for part, label in _HARM.items()},
    "p_value": "Smallest p over all tests",
    "n_window": "Rows of the window that are compared",
    "n_reference": "Rows of the reference that are compared",
    "family": "Languages tested together",
} | {
    f"{name}_{part}": label + (f": {_EFFECTS.get(name, 'debiased')}" if part == "effect" else _PARTS[part])
    for name, label in _STATISTICS.items()
    for part in PARTS
}


class Figure(SingleValueMetric):
    """One of our figures as an Evidently metric."""

    name: str
    number: float


class FigureCalculation(SingleValueCalculation[Figure]):
    """Hands the figure over as it is."""

    def calculate(self, context: Context, current_data: object, reference_data: object) -> SingleValue:
        """Return the figure; what is shown is one page, laid out by ``_widgets``."""
        result = self.result(self.metric.number)
        result.widget = []
        return result

    def display_name(self) -> str:
        """Return the figure's name for people."""
        return _LABELS[self.metric.name]


def verdict_snapshot(verdict: Verdict, evidence: Evidence, settings: DriftSettings) -> dict[str, Any]:
    """Return the Evidently snapshot of a verdict, as a JSON object.

    It is Evidently's full form (``Snapshot.loads`` reads it back) in which the two things that differ from run to
    run are fixed: the timestamp is a constant, and the random ids of widgets are numbered in order of appearance.

    Parameters
    ----------
    verdict : Verdict
    evidence : Evidence
    settings : DriftSettings
        Thresholds of the tests.
    """
    metrics = [Figure(name=name, number=number, tests=tests) for name, number, tests in _figures(verdict, settings)]
    metadata = {
        "judged": asdict(verdict.judged),
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "action": verdict.response.action,
        "action_sentence": verdict.response.sentence,
        "harm_source": "" if verdict.response.harm is None else verdict.response.harm.source,
        "floors": {one.statistic: str(one.floor) for one in verdict.findings},
        "settings": {name: str(value) for name, value in asdict(settings).items()},
    }
    snapshot = Report(metrics, metadata=metadata).run(
        pd.DataFrame({"cluster": range(len(evidence.histograms.window))}),
        timestamp=_TIMESTAMP,
        name=f"{verdict.judged.language} {verdict.judged.window}",
    )
    value = json.loads(snapshot.dumps())
    value["widgets"] = [json.loads(widget.json()) for widget in _widgets(verdict, evidence)]
    return _numbered(value)


def save_html(snapshot: Mapping[str, Any], path: Path) -> None:
    """Write a snapshot as one HTML file that needs no network, byte for byte the same for the same snapshot.

    Evidently's own ``save_html`` writes nothing when it is given a ``Path``, escapes nothing and puts random
    ids in the page, so the text it renders is taken and written here.
    """
    held = json.loads(json.dumps(snapshot, sort_keys=True).replace("<", _HELD_PLACE))
    text = Snapshot.load_dict(held).get_html_str(as_iframe=False)
    text = text.replace(json.dumps(_HELD_PLACE)[1:-1], "\\u003c").replace(_HELD_PLACE, "&lt;")
    text = _PAGE_ID.sub("compass_report", text)
    title = f"<title>Drift report: {snapshot['name']}</title>"
    write_bytes(path, text.strip().replace("<head>", f"<head>\n{title}", 1).encode())


def _figures(verdict: Verdict, settings: DriftSettings) -> Iterator[tuple[str, float, list[Any]]]:
    """Yield name, value and tests of each figure that the verdict has."""
    if verdict.findings:
        yield DRIFT_FIGURE, float(verdict.drifted), [eq(0)]
    # Only the verdict itself fails: one of its conditions alone is a warning.
    for one in verdict.findings:
        tests = {
            "effect": [lt(one.floor, is_critical=False)],
            "p_value": [gt(settings.alpha, is_critical=False)],
        }
        for part in PARTS:
            number = getattr(one, part)
            if number is not None:
                yield f"{one.statistic}_{part}", float(number), tests.get(part, [])
    if verdict.p_value is not None:
        yield "p_value", verdict.p_value, [gt(settings.alpha, is_critical=False)]
    harm = verdict.response.harm
    if harm is not None:
        yield HARM_FIGURE, float(harm.shown), [eq(0)]
        for part in HARM_PARTS:
            tests_of_part = [lte(harm.floor, is_critical=False)] if part == "low" else []
            yield f"{HARM_FIGURE}_{part}", float(getattr(harm, part)), tests_of_part
    yield "n_window", float(verdict.n_window), [gte(settings.minimum_window, is_critical=False)]
    yield "n_reference", float(verdict.n_reference), [gte(settings.minimum_reference, is_critical=False)]
    yield "family", float(verdict.family), []


def _widgets(verdict: Verdict, evidence: Evidence) -> Iterator[BaseWidgetInfo]:
    judged = verdict.judged
    window = f"window {judged.window}" + (f" ({evidence.period})" if evidence.period else "")
    about = f"{judged.language}, {window}, against Production version {judged.version}"
    yield counter(title=about, counters=[CounterData(verdict.sentence, verdict.verdict.capitalize())])
    yield counter(
        counters=[
            CounterData(_LABELS[name], _written(getattr(verdict, name)))
            for name in ("p_value", "n_window", "n_reference")
        ]
    )
    if verdict.findings:
        yield table_data(
            title=f"Statistics, tested over {counted(verdict.family)} together",
            column_names=["Statistic", "Value", "Effect", "Floor", "p over all tests", "p alone"],
            data=[_finding(one) for one in verdict.findings],
        )
    response = verdict.response
    yield counter(title="What is done", counters=[CounterData(response.sentence, response.action.capitalize())])
    if response.harm is not None:
        figures = [[label, _written(float(getattr(response.harm, part)))] for part, label in _HARM.items()]
        title = f"Harm, on {response.harm.source}"
        yield table_data(title=title, column_names=["Production's answers", ""], data=figures)
    yield _histogram(evidence.histograms)
    if evidence.moved:
        yield table_data(
            title="Clusters that moved most",
            column_names=["Cluster", "Share before", "Share after", "Prompts in the window, for example"],
            data=[_row(move, evidence.examples.get(move.cluster, ())) for move in evidence.moved],
        )
    yield table_data(
        title="What the texts are made of",
        column_names=["", "Before", "After"],
        data=[[one.name, one.before, one.after] for one in evidence.descriptions],
    )


def _finding(one: Finding) -> list[str]:
    effect = f"{_written(one.effect)} ({_EFFECTS.get(one.statistic, 'debiased')})"
    figures = [_written(one.value), effect, f"{one.floor:g}", _written(one.p_value), _written(one.p_raw)]
    return [_STATISTICS[one.statistic], *figures]


def _row(move: ClusterMove, examples: Sequence[str]) -> list[str]:
    return [str(move.cluster), f"{move.before:.1%}", f"{move.after:.1%}", "  •  ".join(examples) or "none"]


def _histogram(histograms: Histograms) -> BaseWidgetInfo:
    clusters = [str(cluster) for cluster in range(len(histograms.window))]
    shared = {"type": "bar", "x": clusters}
    before = histograms.reference / max(1, histograms.reference.sum())
    after = histograms.window / max(1, histograms.window.sum())
    # Outlined against solid: the two are told apart without colour.
    outlined = {"color": "rgba(128,128,128,0.12)", "line": {"color": "#7b818b", "width": 1.5}}
    data = [
        {**shared, "name": "before (reference)", "y": before.round(6).tolist(), "marker": outlined},
        {**shared, "name": "after (window)", "y": after.round(6).tolist(), "marker": {"color": "#1d5fa8"}},
    ]
    layout = {
        "barmode": "group",
        "xaxis": {"title": {"text": "cluster"}, "type": "category"},
        "yaxis": {"title": {"text": "share of rows"}, "tickformat": ".0%", "rangemode": "tozero"},
        "legend": {"orientation": "h", "y": 1.12},
        "margin": {"t": 30},
    }
    return plotly_data(title="Rows per cluster, before and after", data=data, layout=layout)


def _written(value: float | None) -> str:
    return "not tested" if value is None else f"{value:.4g}"


def _numbered(value: Any) -> Any:
    """Replace random ids by numbers in order of appearance."""
    names: dict[str, str] = {}

    def walk(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: _named(names, child) if key == "id" else walk(child) for key, child in part.items()}
        if isinstance(part, list):
            return [walk(child) for child in part]
        return part

    return walk(value)


def _named(names: dict[str, str], identity: str) -> str:
    if not _RANDOM_ID.fullmatch(identity):
        return identity
    return names.setdefault(identity, f"widget-{len(names) + 1}")
