"""Stage drift: the newest windows of each language against the reference of its Production version."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compass_ops.errors import DataFault
from compass_ops.monitoring.action import NONE
from compass_ops.monitoring.comparison import Production, Seen, Watched, see
from compass_ops.monitoring.drift import DriftSettings, LanguageDrift, judge, unconfirmed
from compass_ops.monitoring.probe import Prober
from compass_ops.monitoring.report import save_html, verdict_snapshot
from compass_ops.monitoring.traffic import WINDOWS_FILE, window_name
from compass_ops.monitoring.verdict import (
    FAILED,
    NO_PRODUCTION,
    NO_TRAFFIC,
    Verdict,
    adopted_verdict,
    read_verdict,
    verdict_from,
    with_response,
)
from compass_ops.monitoring.windows import Embedding
from compass_ops.registry.versions import DRIFT
from compass_ops.storage import file_digest, fresh_folder, read_json, write_array, write_json

VERDICT_FILE = "verdict.json"
CLUSTERS_FILE = "clusters.npy"  # of the judged window's rows, under Production's centroids
REPORT_FILE = "report.html"
SUMMARY_FILE = "summary.json"


@dataclass(frozen=True)
class WatchSettings:
    """How the stage judges, and how much it shows: HTML files per round, example prompts per moved cluster.

    ``seed`` is the project's.
    """

    drift: DriftSettings
    html_limit: int
    examples: int
    seed: int


def watch(inputs: Mapping[str, Path], embedding: Embedding, prober: Prober, settings: WatchSettings, out: Path) -> None:
    """Leave ``<language>/verdict.json``, ``report.html`` where there is something to see, and ``summary.json``.

    Parameters
    ----------
    inputs : mapping
        ``windows`` (stage traffic's folder), ``production`` (version folders), ``registry`` (``registry.json``) and
        ``alarms`` (``<language>.json``: the verdict of the registry's last alarm).
    embedding : Embedding
        Must be the one that the versions were made with; a language whose version has another one fails.
    prober : Prober
        Measures harm beside a shift.
    settings : WatchSettings
    out : Path
        Replaced as a whole.
    """
    registry = read_json(inputs["registry"])["languages"]
    names = [str(name) for name in read_json(inputs["windows"] / WINDOWS_FILE)]
    watched = Watched(settings.drift, settings.examples, settings.seed)
    seen: dict[str, list[Seen]] = {}
    summary: dict[str, dict[str, Any]] = {}
    for language in _languages(inputs, names, registry):
        try:
            found = _see(language, inputs, names, registry.get(language, {}), (embedding, watched))
        except DataFault as fault:
            summary[language] = _row(FAILED, fault.reason, registry.get(language, {}))
            continue
        if isinstance(found, list):
            seen[language] = found
        else:
            summary[language] = found
    verdicts = _verdicts(seen, settings.drift)
    newest = {language: first for language, (first, *_) in seen.items()}
    responses = prober.responses(newest, verdicts, embedding)
    verdicts = {language: with_response(verdict, responses[language]) for language, verdict in verdicts.items()}
    with fresh_folder(out) as aside:
        for language, verdict in verdicts.items():
            snapshot = verdict_snapshot(verdict, newest[language].evidence, settings.drift)
            write_json(aside / language / VERDICT_FILE, snapshot)
            write_array(aside / language / CLUSTERS_FILE, newest[language].clusters)
        remembered = {language: registry.get(language, {}).get("last_alarm") for language in verdicts}
        alarms = {
            language: _alarm(newest[language], verdict, (aside, inputs["alarms"]), remembered[language])
            for language, verdict in verdicts.items()
        }
        shown = _write_reports(verdicts, alarms, aside, settings.html_limit)
        for language, verdict in verdicts.items():
            row = _judged_row(verdict, _last_alarm(alarms[language], remembered[language]), aside)
            summary[language] = row | {"period": newest[language].evidence.period, "report": shown.get(language)}
        write_json(aside / SUMMARY_FILE, summary)


def _languages(inputs: Mapping[str, Path], names: Sequence[str], registry: Mapping[str, Any]) -> list[str]:
    asked = {file.stem for name in names for file in (inputs["windows"] / name).glob("*.parquet")}
    return sorted(asked | set(registry))


def _see(
    language: str,
    inputs: Mapping[str, Path],
    names: Sequence[str],
    entry: Mapping[str, Any],
    how: tuple[Embedding, Watched],
) -> list[Seen] | dict[str, Any]:
    """Return what is to be judged, newest first, or the row of a language for which there is nothing to judge."""
    production, folder = entry.get("production"), inputs["production"] / language
    if production is None:
        return _row(NO_PRODUCTION, "There is no Production version that traffic could have moved away from.", entry)
    files = [inputs["windows"] / name / f"{language}.parquet" for name in reversed(names)]
    files = [file for file in files if file.exists()]
    if not files:
        return _row(NO_TRAFFIC, "There is no window of this language yet.", entry) | {"version": production["version"]}
    version = Production(language, folder, entry, read_json(folder / "manifest.json"))
    return see(version, files, *how)


def _verdicts(seen: Mapping[str, Sequence[Seen]], settings: DriftSettings) -> dict[str, Verdict]:
    """Judge what is not adopted, all languages together: the newest windows, then those before them."""
    rounds: list[dict[str, LanguageDrift]] = []
    for age in range(settings.persistence):
        judged = {name: own[age] for name, own in seen.items() if len(own) > age and not own[age].adopted}
        rounds.append(judge({name: one.compared for name, one in judged.items()}, settings))
    verdicts = {}
    for language, (newest, *_) in seen.items():
        if newest.adopted:
            verdicts[language] = adopted_verdict(newest.judged, newest.compared.rows)
        else:
            verdicts[language] = verdict_from(newest.judged, _confirmed(language, rounds))
    return verdicts


def _confirmed(language: str, rounds: Sequence[Mapping[str, LanguageDrift]]) -> LanguageDrift:
    """Return the newest finding, unconfirmed where a window before it shows no drift or is not there."""
    newest, seen = rounds[0][language], 0
    for judged in rounds:
        if language not in judged or judged[language].verdict != "drift":
            break
        seen += 1
    return unconfirmed(newest, (seen, len(rounds))) if 0 < seen < len(rounds) else newest


def _alarm(
    one: Seen, verdict: Verdict, folders: tuple[Path, Path], remembered: Mapping[str, Any] | None
) -> Path | None:
    """Return the verdict file of the language's last alarm; None if there was none, or its file is gone.

    This round's, else the registry's last one. The one that Production came from, which lies beside it, stands in where
    the registry does not hold it any more, or not yet.
    """
    (out, logged), language = folders, verdict.judged.language
    if verdict.alarmed:
        return out / language / VERDICT_FILE
    own, last = one.folder / DRIFT, logged / f"{language}.json"
    if one.since == 0 and _is_alarm(own):
        return own
    if _is_alarm(last):
        return last
    same = remembered is None or (_is_alarm(own) and read_verdict(own).judged.window == remembered["window"])
    return own if same and _is_alarm(own) else None


def _is_alarm(file: Path) -> bool:
    return file.exists() and read_verdict(file).alarmed


def _write_reports(
    verdicts: Mapping[str, Verdict], alarms: Mapping[str, Path | None], out: Path, limit: int
) -> dict[str, str]:
    """Write at most ``limit`` HTML files (3.7 MB each): new alarms by effect, earlier alarms, first windows."""

    def urgency(language: str) -> tuple[bool, bool, float, str]:
        verdict = verdicts[language]
        return not verdict.alarmed, alarms[language] is None, -verdict.debiased, language

    first = {language for language, verdict in verdicts.items() if verdict.judged.window == window_name(1)}
    worth = [language for language in verdicts if alarms[language] is not None or language in first]
    shown = {}
    for language in sorted(worth, key=urgency)[:limit]:
        source = alarms[language] or out / language / VERDICT_FILE
        save_html(read_json(source), out / language / REPORT_FILE)
        shown[language] = f"{language}/{REPORT_FILE}"
    return shown


def _row(verdict: str, sentence: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a language that was not judged, with the last alarm of its entry in the registry."""
    empty = ("window", "period", "version", "findings", "p_value", "verdict_digest", "harm", "report")
    told = {"verdict": verdict, "sentence": sentence, "action": NONE, "action_sentence": ""}
    return told | dict.fromkeys(empty) | {"last_alarm": entry.get("last_alarm")}


def _last_alarm(alarm: Path | None, remembered: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return what the index says of the last alarm; of one whose file is gone, what the registry remembers."""
    if alarm is None:
        return remembered
    found = read_verdict(alarm)
    sentence = found.sentence if found.drifted else found.response.sentence
    return {"window": found.judged.window, "p_value": found.p_value, "sentence": sentence}


def _judged_row(verdict: Verdict, last: dict[str, Any] | None, out: Path) -> dict[str, Any]:
    return {
        "verdict": verdict.verdict,
        "sentence": verdict.sentence,
        "action": verdict.response.action,
        "action_sentence": verdict.response.sentence,
        "harm": verdict.response.harm and asdict(verdict.response.harm),
        "window": verdict.judged.window,
        "version": verdict.judged.version,
        "findings": {one.statistic: {"effect": one.effect, "p_value": one.p_value} for one in verdict.findings},
        "p_value": verdict.p_value,
        "n_window": verdict.n_window,
        "n_reference": verdict.n_reference,
        "verdict_digest": file_digest(out / verdict.judged.language / VERDICT_FILE),
        "alarmed": verdict.alarmed,
        "last_alarm": last,
    }
