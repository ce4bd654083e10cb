"""`compass table` is tested with its table, `compass tick` with the weekly job; here, what the commands add."""

import json
from pathlib import Path

import pytest

from compass_ops.storage import write_json
from tests.cli.conftest import Compass, as_json, set_param


def test_the_table_comes_as_json_too(compass: Compass, project: Path) -> None:
    metrics = {"sw": {"n": 3}}
    write_json(project / "build" / "evaluate" / "metrics.json", metrics)
    assert as_json(compass("table", "--json")) == metrics


def test_a_tick_says_which_window_it_looks_at(compass: Compass, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Path, bool]] = []
    run = "compass_ops.monitoring.tick.run_pipeline"
    monkeypatch.setattr(run, lambda root, *, aside: ran.append((root, aside)))
    told = json.loads(compass("tick", "--json").output)
    assert told == {"until": "0003"}
    assert ran == [(project, True)]
    set_param(project, "until", '"0006"')
    assert compass("tick").exit_code == 1
