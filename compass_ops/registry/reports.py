"""Drift reports beside the version that they judge, and each language's last alarm read back from there."""

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from compass_ops.registry.artifacts import fetch_folder, files_at
from compass_ops.registry.location import running_experiment
from compass_ops.registry.mirror import LanguageView, Version
from compass_ops.registry.names import checked_digest
from compass_ops.registry.rows import REPORT, REPORTS
from compass_ops.registry.store import RegistryStore
from compass_ops.storage import file_digest, read_json, write_bytes

VERDICT = "verdict.json"
_LONGEST_SENTENCE = 1000


@dataclass(frozen=True)
class LoggedAlarm:
    """An alarm: the version that it judged, the digest of its verdict file, and its window, p-value and sentence."""

    version: Version
    verdict: str
    told: Mapping[str, Any]


def attach_reports(store: RegistryStore, drift: Path) -> list[str]:
    """Log what stage drift left to the runs of the judged versions, under ``reports/<window>``.

    A version's tag ``compass.report.<window>`` names the verdict's digest, the alarm if it was one, and its place among
    the language's reports, since names of windows are given anew where the log is cut otherwise. What is there already
    is not written again. Under ``dvc exp run`` nothing is written. A version that was deleted since is left out.

    Parameters
    ----------
    drift : Path
        ``summary.json``, and ``<language>/verdict.json`` and ``report.html``.

    Returns
    -------
    list of str
        The languages whose reports were written.

    Raises
    ------
    RegistryError
        If the registry cannot be read or written. What is done stays done.
    """
    if running_experiment() is not None:
        return []
    views, written = store.read(), []
    for language, row in read_json(drift / "summary.json").items():
        view = views.get(language)
        if row["verdict_digest"] is None or view is None or row["version"] not in view.versions:
            continue
        told, logged = _told(row), _logged(view)
        if any((one.version.number, one.window, one.told) == (row["version"], row["window"], told) for one in logged):
            continue
        place = 1 + max((one.place for one in logged), default=0)
        note = json.dumps(told | {"place": place}, sort_keys=True, ensure_ascii=False)
        # Where nothing alarmed, the page that stage drift left may be of an earlier alarm.
        names = (VERDICT, "report.html") if row["alarmed"] or row["last_alarm"] is None else (VERDICT,)
        files = [drift / language / name for name in names if (drift / language / name).exists()]
        store.attach_report(language, view.versions[row["version"]], files, (row["window"], note))
        written.append(language)
    return written


def last_alarm(view: LanguageView) -> LoggedAlarm | None:
    """Return the alarm that was logged last; None if there was none."""
    alarms = [one for one in _logged(view) if one.told["alarm"] is not None]
    last = max(alarms, key=lambda one: (one.place, one.window), default=None)
    return None if last is None else LoggedAlarm(last.version, last.told["verdict"], last.told["alarm"])


def alarm_verdict(store: RegistryStore, alarm: LoggedAlarm, memo: Path) -> bytes | None:
    """Return the verdict file of an alarm; None if it is gone, or another lies in its place.

    Parameters
    ----------
    memo : Path
        ``<memo>/<digest>.json`` keeps what was fetched.
    """
    kept = memo / f"{checked_digest(alarm.verdict)}.json"
    if kept.is_file() and file_digest(kept) == alarm.verdict:
        return kept.read_bytes()
    content = _fetched(store, f"{alarm.version.source.rpartition('/')[0]}/{REPORTS}/{alarm.told['window']}")
    if content is None or hashlib.sha256(content).hexdigest() != alarm.verdict:
        return None
    write_bytes(kept, content)
    return content


def _fetched(store: RegistryStore, uri: str) -> bytes | None:
    """Read the verdict in a window's folder of reports; from files of this machine without MLflow."""
    if uri.startswith("file:"):
        file = Path(url2pathname(urlsplit(uri).path)) / VERDICT
        return file.read_bytes() if file.is_file() else None
    if VERDICT not in files_at(store.location, uri):
        return None
    with tempfile.TemporaryDirectory(prefix="compass.") as aside:
        return (fetch_folder(store.location, uri, Path(aside)) / VERDICT).read_bytes()


@dataclass(frozen=True)
class _Logged:
    """A report's tag: its place in the order of logging (0 of tags of before), window, version, and what it says."""

    place: int
    window: str
    version: Version
    told: Mapping[str, Any]


def _logged(view: LanguageView) -> list[_Logged]:
    found = []
    for version in view.versions.values():
        for name, text in version.tags.items():
            if name.startswith(REPORT):
                told = json.loads(text)
                found.append(_Logged(told.pop("place", 0), name.removeprefix(REPORT), version, told))
    return found


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    alarm = row["last_alarm"] if row["alarmed"] else None
    if alarm is not None:
        alarm = alarm | {"sentence": alarm["sentence"][:_LONGEST_SENTENCE]}
    return {"verdict": row["verdict_digest"], "alarm": alarm}
