"""Drift reports on a real registry: logged once with the version they judge, and alarms read back."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from compass_ops.registry.reports import attach_reports
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.storage import file_digest, read_json, write_bytes, write_json
from tests.registry.conftest import Decisions, files_of
from tests.registry.test_reconcile import promote

SHIFTED = "What is asked has shifted."


def drift(root: Path, window: str, *, alarm: bool, version: str = "1", digest: str | None = None) -> Path:
    """What stage drift leaves of one language."""
    last: dict[str, Any] = {"window": window if alarm else "0002", "p_value": 0.001, "sentence": SHIFTED}
    verdict = root / "drift" / "sw" / "verdict.json"
    write_json(verdict, {"verdict": "drift" if alarm else "no drift", "window": window})
    row = {
        "verdict": "drift" if alarm else "no drift",
        "window": window,
        "version": version,
        "verdict_digest": digest or file_digest(verdict),
        "alarmed": alarm,
        "last_alarm": last,
    }
    unseen = {"verdict": "no window", "window": None, "version": None, "verdict_digest": None, "last_alarm": None}
    write_json(root / "drift" / "summary.json", {"sw": row, "id": unseen})
    write_bytes(root / "drift" / "sw" / "report.html", b"<html></html>")  # without an alarm, that of the last one
    return root / "drift"


def logged(store: RegistryStore, version: str = "1") -> set[str]:
    client = open_client(store.location)
    run = store.read_language("sw").versions[version].run_id
    return {
        Path(file.path).relative_to("reports").as_posix()
        for folder in client.list_artifacts(run, "reports")
        for file in client.list_artifacts(run, folder.path)
    }


def attach(store: RegistryStore, folder: Path) -> list[str]:
    """Log what stage drift left, as a run of its own does."""
    return attach_reports(RegistryStore(store.location), folder)


def remembered(store: RegistryStore, root: Path) -> Any:
    write_snapshot(RegistryStore(store.location), root / "snapshot", root / "memo")
    return read_json(root / "snapshot" / "registry.json")["languages"]["sw"]["last_alarm"]


def test_a_report_is_logged_once_with_the_version_it_judges(
    store: RegistryStore, decisions: Decisions, tmp_path: Path
) -> None:
    promote(store, decisions, "sw", 1)
    assert remembered(store, tmp_path) is None
    folder = drift(tmp_path, "0002", alarm=True)
    assert attach(store, folder) == ["sw"]
    assert attach(store, folder) == []
    assert logged(store) == {"0002/verdict.json", "0002/report.html"}
    assert remembered(store, tmp_path) == {"window": "0002", "p_value": 0.001, "sentence": SHIFTED}


def test_the_last_alarm_outlives_quiet_windows_and_another_version(
    store: RegistryStore, decisions: Decisions, tmp_path: Path
) -> None:
    promote(store, decisions, "sw", 1)
    attach(store, drift(tmp_path, "0002", alarm=True))
    attach(store, drift(tmp_path, "0003", alarm=False))
    assert logged(store) == {"0002/verdict.json", "0002/report.html", "0003/verdict.json"}
    assert remembered(store, tmp_path)["window"] == "0002"
    promote(store, decisions, "sw", 2)
    assert remembered(store, tmp_path)["window"] == "0002"
    attach(store, drift(tmp_path, "0004", alarm=True, version="2"))
    assert logged(store, "2") == {"0004/verdict.json", "0004/report.html"}
    assert remembered(store, tmp_path)["window"] == "0004"


def test_a_verdict_made_anew_is_logged_anew(store: RegistryStore, decisions: Decisions, tmp_path: Path) -> None:
    promote(store, decisions, "sw", 1)
    attach(store, drift(tmp_path, "0002", alarm=True))
    again = drift(tmp_path, "0002", alarm=False, digest="f" * 64)
    assert attach(store, again) == ["sw"]
    assert remembered(store, tmp_path) is None


def test_an_experiment_and_a_deleted_version_write_nothing(
    store: RegistryStore, decisions: Decisions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    assert attach(store, drift(tmp_path, "0002", alarm=True, version="7")) == []
    monkeypatch.setenv("DVC_EXP_NAME", "brave-lynx")
    assert attach(store, drift(tmp_path, "0002", alarm=True)) == []


def alarm_file(root: Path) -> Path:
    return root / "snapshot" / "alarms" / "sw.json"


def test_the_last_alarm_s_verdict_comes_along_with_the_registry_s_files(
    store: RegistryStore, decisions: Decisions, tmp_path: Path
) -> None:
    promote(store, decisions, "sw", 1)
    attach(store, drift(tmp_path, "0002", alarm=True))
    verdict = (tmp_path / "drift" / "sw" / "verdict.json").read_bytes()
    attach(store, drift(tmp_path, "0003", alarm=False))
    promote(store, decisions, "sw", 2)
    remembered(store, tmp_path)
    assert alarm_file(tmp_path).read_bytes() == verdict
    reports = files_of(store, "sw", "1").parent / "reports"
    reports.rename(reports.with_name("moved"))
    remembered(store, tmp_path)
    assert alarm_file(tmp_path).read_bytes() == verdict, "it was kept"
    shutil.rmtree(tmp_path / "memo")
    assert remembered(store, tmp_path)["window"] == "0002"
    assert not alarm_file(tmp_path).exists()


def test_of_an_alarm_whose_file_was_altered_no_file_comes_along(
    store: RegistryStore, decisions: Decisions, tmp_path: Path
) -> None:
    promote(store, decisions, "sw", 1)
    attach(store, drift(tmp_path, "0002", alarm=True))
    (files_of(store, "sw", "1").parent / "reports" / "0002" / "verdict.json").write_text("{}")
    assert remembered(store, tmp_path)["window"] == "0002"
    assert not alarm_file(tmp_path).exists()


def test_of_two_alarms_the_one_that_was_logged_later_is_the_last(
    store: RegistryStore, decisions: Decisions, tmp_path: Path
) -> None:
    """The log was cut anew, so that windows are named from 0001 again; the quiet 0050 of now is no alarm."""
    promote(store, decisions, "sw", 1)
    attach(store, drift(tmp_path, "0050", alarm=True))
    attach(store, drift(tmp_path, "0003", alarm=True))
    assert remembered(store, tmp_path)["window"] == "0003"
    promote(store, decisions, "sw", 2)
    attach(store, drift(tmp_path, "0002", alarm=True, version="2"))
    assert remembered(store, tmp_path)["window"] == "0002"
    folder = drift(tmp_path, "0050", alarm=False, version="2")
    summary = read_json(folder / "summary.json")
    summary["sw"]["last_alarm"] = {"window": "0050", "p_value": 0.001, "sentence": SHIFTED}
    write_json(folder / "summary.json", summary)
    attach(store, folder)
    assert remembered(store, tmp_path)["window"] == "0002"


def test_reports_logged_before_there_were_places_come_in_the_order_of_their_windows(
    store: RegistryStore, decisions: Decisions, tmp_path: Path
) -> None:
    promote(store, decisions, "sw", 1)
    client = open_client(store.location)
    for window in ("0002", "0004"):
        alarm = {"window": window, "p_value": 0.001, "sentence": SHIFTED}
        text = json.dumps({"verdict": "f" * 64, "alarm": alarm})
        client.set_model_version_tag("compass-sw", "1", f"compass.report.{window}", text)
    assert remembered(store, tmp_path)["window"] == "0004"
    attach(store, drift(tmp_path, "0003", alarm=True))
    assert remembered(store, tmp_path)["window"] == "0003"
