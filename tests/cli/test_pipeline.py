"""`compass table` is tested with its table, `compass tick` with the weekly job; here, what the commands add."""

import json
from pathlib import Path

import pytest

from compass_ops.monitoring.request_log import LogSettings
from compass_ops.monitoring.traffic import logged_traffic
from compass_ops.params import load_params
from compass_ops.storage import write_json
from tests.cli.conftest import Compass, as_json, set_param

FIELDS = {"time": "t", "language": "l", "prompt": "p"}
TAGS = ["id", "sw"]


def test_the_table_comes_as_json_too(compass: Compass, project: Path) -> None:
    metrics = {"sw": {"n": 3}}
    write_json(project / "build" / "evaluate" / "metrics.json", metrics)
    assert as_json(compass("table", "--json")) == metrics


def test_a_tick_says_which_window_it_looks_at(compass: Compass, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Path, str | None, bool]] = []
    run = "compass_ops.monitoring.tick.run_pipeline"
    monkeypatch.setattr(run, lambda root, *, uri, aside: ran.append((root, uri, aside)))
    told = json.loads(compass("tick", "--json").output)
    assert told == {"until": "0003", "passed_over": []}
    assert ran == [(project, None, True)]
    set_param(project, "until", '"0006"')
    assert compass("tick").exit_code == 1


def test_a_week_of_a_log_is_judged_on_its_newest_windows(
    compass: Compass, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Swahili asks ten times as much as Indonesian: a tick a week, and each is judged on what was asked last."""
    monkeypatch.setattr("compass_ops.monitoring.tick.run_pipeline", lambda root, *, uri, aside: None)
    origin = {"kind": "log", "files": ["log.jsonl"], "window_hours": None, "fields": FIELDS}
    _set_traffic(project, until="0000", window_rows=40, origin=origin)
    log: list[str] = []
    for week in (1, 2, 3):
        asked = ["sw"] * 400 + ["id"] * 40
        log += [json.dumps({"t": f"2026-01-{7 * week:02d}", "l": tag, "p": f"week {week}"}) for tag in asked]
        (project / "log.jsonl").write_text("\n".join(log), "utf-8")
        told = compass("tick").output
        assert f"traffic.until is {10 * week:04d} now" in told
        passed = f"windows {10 * week - 9:04d} to {10 * week - 1:04d} were passed over"
        assert passed in told
        params = load_params(project / "params.yaml")
        traffic = logged_traffic(LogSettings(("log.jsonl",), FIELDS, 40, None), params.traffic.until, TAGS, project)
        newest = {tag: max(name for name in traffic.windows if tag in traffic.windows[name]) for tag in TAGS}
        asked_last = {tag: set(traffic.windows[newest[tag]][tag].column("prompt").to_pylist()) for tag in TAGS}
        assert asked_last == {"sw": {f"week {week}"}, "id": {f"week {week}"}}
    assert compass("tick").exit_code == 1


def _set_traffic(project: Path, **values: object) -> None:
    path = project / "params.yaml"
    text = path.read_text("utf-8")
    section = "\n".join(["traffic:", *(f"  {name}: {json.dumps(value)}" for name, value in values.items())])
    start, end = text.index("traffic:\n"), text.index("drift:\n")
    path.write_text(f"{text[:start]}{section}\n  keep_text: true\n\n{text[end:]}", "utf-8")
