"""Drift reports beside the version that they judge, and each language's last alarm read back from there."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compass_ops.registry.location import running_experiment
from compass_ops.registry.mirror import LanguageView
from compass_ops.registry.rows import REPORT
from compass_ops.registry.store import RegistryStore
from compass_ops.storage import read_json

_LONGEST_SENTENCE = 1000


def attach_reports(store: RegistryStore, drift: Path) -> list[str]:
    """Log what stage drift left to the runs of the judged versions, under ``reports/<window>``.

    A version's tag ``compass.report.<window>`` names the verdict's digest, and the alarm if it was one: what is there
    already is not written again. Under ``dvc exp run`` nothing is written. A version that was deleted since is left
    out.

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
        version, told = view.versions[row["version"]], _told(row)
        if version.tags.get(f"{REPORT}{row['window']}") == told:
            continue
        files = [drift / language / name for name in ("verdict.json", "report.html")]
        store.attach_report(language, version, [file for file in files if file.exists()], (row["window"], told))
        written.append(language)
    return written


def last_alarm(view: LanguageView) -> dict[str, Any] | None:
    """Return the newest window whose report was an alarm, with its p-value and sentence; None if there was none."""
    told = (
        json.loads(text)
        for version in view.versions.values()
        for name, text in version.tags.items()
        if name.startswith(REPORT)
    )
    alarms = [one["alarm"] for one in told if one["alarm"] is not None]
    return max(alarms, key=lambda alarm: str(alarm["window"]), default=None)


def _told(row: Mapping[str, Any]) -> str:
    last = row["last_alarm"]
    alarm = last if last is not None and last["window"] == row["window"] else None
    if alarm is not None:
        alarm = alarm | {"sentence": alarm["sentence"][:_LONGEST_SENTENCE]}
    return json.dumps({"verdict": row["verdict_digest"], "alarm": alarm}, sort_keys=True, ensure_ascii=False)
