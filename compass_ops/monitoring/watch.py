"""Stage drift: the newest window of each language against the reference of its Production version."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compass_ops.errors import DataFault
from compass_ops.monitoring.drift import DriftSettings, Histograms, judge, moved_clusters
from compass_ops.monitoring.report import Evidence, save_html, verdict_snapshot
from compass_ops.monitoring.traffic import WINDOWS_FILE, window_name
from compass_ops.monitoring.verdict import (
    FAILED,
    NO_PRODUCTION,
    NO_TRAFFIC,
    Judged,
    Verdict,
    adopted_verdict,
    read_verdict,
    verdict_from,
)
from compass_ops.seeding import generator
from compass_ops.selection.cluster import assign
from compass_ops.storage import (
    file_digest,
    fresh_folder,
    read_array,
    read_json,
    read_table,
    tree_digest,
    write_json,
)

VERDICT_FILE = "verdict.json"
REPORT_FILE = "report.html"
SUMMARY_FILE = "summary.json"
ALARM_FILE = "drift.json"  # in a version folder: the verdict that led to the version

_LONGEST_EXAMPLE = 160


@dataclass(frozen=True)
class Embedding:
    """The embedder that windows are seen through: its digest, and texts -> float32 (n, d) unit rows."""

    digest: str
    embed: Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class WatchSettings:
    """How the stage judges, and how much it shows: HTML files per round, example prompts per moved cluster."""

    drift: DriftSettings
    html_limit: int
    examples: int


@dataclass(frozen=True)
class Seen:
    """One language's newest window beside the reference: what is judged."""

    judged: Judged
    folder: Path
    histograms: Histograms
    clusters: NDArray[np.int32]
    prompts: list[str]
    nearness: NDArray[np.float32]
    adopted: bool


def watch(inputs: Mapping[str, Path], embedding: Embedding, settings: WatchSettings, seed: int, out: Path) -> None:
    """Leave ``<language>/verdict.json``, ``report.html`` where there is something to see, and ``summary.json``.

    Parameters
    ----------
    inputs : mapping
        ``windows`` (stage traffic's folder), ``production`` (version folders), ``registry`` (``registry.json``).
    embedding : Embedding
        Must be the one that the versions were made with; a language whose version has another one fails.
    settings : WatchSettings
    seed : int
    out : Path
        Replaced as a whole.
    """
    registry = read_json(inputs["registry"])["languages"]
    names = [str(name) for name in read_json(inputs["windows"] / WINDOWS_FILE)]
    seen: dict[str, Seen] = {}
    summary: dict[str, dict[str, Any]] = {}
    for language in _languages(inputs, names, registry):
        try:
            found = _see(language, inputs, names, registry.get(language, {}), embedding)
        except DataFault as fault:
            summary[language] = _row(FAILED, fault.reason)
            continue
        if isinstance(found, Seen):
            seen[language] = found
        else:
            summary[language] = found
    verdicts = _verdicts(seen, settings.drift, seed)
    with fresh_folder(out) as aside:
        for language, verdict in verdicts.items():
            snapshot = verdict_snapshot(verdict, _evidence(seen[language], settings), settings.drift)
            write_json(aside / language / VERDICT_FILE, snapshot)
        alarms = {language: _alarm(seen[language], verdict, aside) for language, verdict in verdicts.items()}
        shown = _write_reports(verdicts, alarms, aside, settings.html_limit)
        for language, verdict in verdicts.items():
            summary[language] = _judged_row(verdict, alarms[language], aside) | {"report": shown.get(language)}
        write_json(aside / SUMMARY_FILE, summary)


def _languages(inputs: Mapping[str, Path], names: Sequence[str], registry: Mapping[str, Any]) -> list[str]:
    asked = {file.stem for name in names for file in (inputs["windows"] / name).glob("*.parquet")}
    return sorted(asked | set(registry))


def _see(
    language: str,
    inputs: Mapping[str, Path],
    names: Sequence[str],
    entry: Mapping[str, Any],
    embedding: Embedding,
) -> Seen | dict[str, Any]:
    """Return what is to be judged, or the row of a language for which there is nothing to judge."""
    production, folder = entry.get("production"), inputs["production"] / language
    if production is None:
        return _row(NO_PRODUCTION, "There is no Production version that traffic could have moved away from.")
    files = [inputs["windows"] / name / f"{language}.parquet" for name in reversed(names)]
    file = next((file for file in files if file.exists()), None)
    if file is None:
        return _row(NO_TRAFFIC, "There is no window of this language yet.") | {"version": production["version"]}
    manifest = read_json(folder / "manifest.json")
    if manifest["embedder"]["digest"] != embedding.digest:
        raise DataFault(
            language,
            f"Production version {production['version']} was made with embedder {manifest['embedder']['digest']}, "
            f"windows are now seen through {embedding.digest}: they cannot be compared. Restore the embedder "
            "(section base of params.yaml), or promote a version made with the new one.",
        )
    centroids, counts = _reference(language, folder)
    prompts = read_table(file).column("prompt").to_pylist()
    vectors = _embedded(language, prompts, embedding, centroids.shape[1])
    clusters = assign(vectors, centroids)
    window = file.parent.name
    return Seen(
        judged=Judged(
            language=language,
            window=window,
            version=str(production["version"]),
            adapter_digest=manifest["digest"],
            reference_digest=tree_digest(folder / "reference"),
            embedder_digest=embedding.digest,
        ),
        folder=folder,
        histograms=Histograms(counts, np.bincount(clusters, minlength=len(centroids)).astype(np.int64)),
        clusters=clusters,
        prompts=prompts,
        nearness=(vectors * centroids[clusters]).sum(axis=1),
        adopted=window == manifest["window"] or window in entry.get("adopted", []),
    )


def _reference(language: str, folder: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    files = [folder / "reference" / name for name in ("centroids.npy", "histogram.json")]
    missing = [file.name for file in files if not file.exists()]
    if missing:
        raise DataFault(
            language,
            f"the Production version holds no reference ({', '.join(missing)}) to compare with. "
            "Promote a version trained by this project.",
        )
    centroids = read_array(files[0])
    counts = np.asarray(read_json(files[1])["counts"], dtype=np.int64)
    if len(counts) != len(centroids):
        raise DataFault(language, f"its reference has {len(counts)} counts for {len(centroids)} centroids.")
    return centroids, counts


def _embedded(language: str, prompts: Sequence[str], embedding: Embedding, dimension: int) -> NDArray[np.float32]:
    vectors = embedding.embed(prompts)
    if vectors.shape != (len(prompts), dimension) or not np.isfinite(vectors).all():
        raise DataFault(
            language,
            f"the embedder gave vectors of shape {vectors.shape}, or such as are not finite, for {len(prompts)} "
            f"prompts; finite ones of length {dimension} are needed.",
        )
    return vectors


def _verdicts(seen: Mapping[str, Seen], settings: DriftSettings, seed: int) -> dict[str, Verdict]:
    """Judge what is not adopted, all languages together."""
    samples = {language: one.histograms for language, one in seen.items() if not one.adopted}
    streams = {name: generator(seed, "drift", name, seen[name].judged.window) for name in samples}
    found = judge(samples, settings, streams)
    verdicts = {}
    for language, one in seen.items():
        if one.adopted:
            rows = int(one.histograms.window.sum()), int(one.histograms.reference.sum())
            verdicts[language] = adopted_verdict(one.judged, rows)
        else:
            verdicts[language] = verdict_from(one.judged, found[language])
    return verdicts


def _evidence(one: Seen, settings: WatchSettings) -> Evidence:
    """Gather what is shown; the examples of a cluster are its most typical prompts."""
    moved = (
        ()
        if min(one.histograms.window.sum(), one.histograms.reference.sum()) == 0
        else moved_clusters(one.histograms, settings.drift.moved_clusters)
    )
    typical = np.argsort(-one.nearness, kind="stable")
    examples = {}
    for move in moved:
        inside = [one.prompts[row] for row in typical if one.clusters[row] == move.cluster]
        examples[move.cluster] = [_short(prompt) for prompt in list(dict.fromkeys(inside))[: settings.examples]]
    return Evidence(one.histograms, moved, examples)


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= _LONGEST_EXAMPLE else f"{prompt[: _LONGEST_EXAMPLE - 1]}…"


def _alarm(one: Seen, verdict: Verdict, out: Path) -> Path | None:
    """Return the verdict file of the language's last alarm: this round's, or the one that Production came from."""
    if verdict.drifted:
        return out / verdict.judged.language / VERDICT_FILE
    earlier = one.folder / ALARM_FILE
    return earlier if earlier.exists() and read_verdict(earlier).drifted else None


def _write_reports(
    verdicts: Mapping[str, Verdict], alarms: Mapping[str, Path | None], out: Path, limit: int
) -> dict[str, str]:
    """Write at most ``limit`` HTML files (3.7 MB each): new alarms by effect, earlier alarms, first windows."""

    def urgency(language: str) -> tuple[bool, bool, float, str]:
        verdict = verdicts[language]
        return not verdict.drifted, alarms[language] is None, -(verdict.debiased or 0.0), language

    first = {language for language, verdict in verdicts.items() if verdict.judged.window == window_name(1)}
    worth = [language for language in verdicts if alarms[language] is not None or language in first]
    shown = {}
    for language in sorted(worth, key=urgency)[:limit]:
        source = alarms[language] or out / language / VERDICT_FILE
        save_html(read_json(source), out / language / REPORT_FILE)
        shown[language] = f"{language}/{REPORT_FILE}"
    return shown


def _row(verdict: str, sentence: str) -> dict[str, Any]:
    empty = ("window", "version", "statistic", "debiased", "p_value", "verdict_digest", "last_alarm", "report")
    return {"verdict": verdict, "sentence": sentence, **dict.fromkeys(empty)}


def _judged_row(verdict: Verdict, alarm: Path | None, out: Path) -> dict[str, Any]:
    last = None
    if alarm is not None:
        alarmed = read_verdict(alarm)
        last = {"window": alarmed.judged.window, "p_value": alarmed.p_value, "sentence": alarmed.sentence}
    return {
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "window": verdict.judged.window,
        "version": verdict.judged.version,
        "statistic": verdict.statistic,
        "debiased": verdict.debiased,
        "p_value": verdict.p_value,
        "n_window": verdict.n_window,
        "n_reference": verdict.n_reference,
        "verdict_digest": file_digest(out / verdict.judged.language / VERDICT_FILE),
        "last_alarm": last,
    }
