from pathlib import Path

from compass_ops.registry.store import RegistryStore
from compass_ops.storage import write_json
from tests.cli.conftest import Compass, as_json
from tests.registry.conftest import Decisions, ask
from tests.registry.test_reconcile import promote


def test_the_fleet_is_shown_with_metrics_drift_hold_and_last_decision(
    compass: Compass, store: RegistryStore, decisions: Decisions, project: Path
) -> None:
    promote(store, decisions, "sw", 1, window="0007")
    promote(store, decisions, "tr", 1)
    ask(store, "held", "tr", "demo on Friday")
    write_json(project / "build" / "drift" / "summary.json", {"sw": {"verdict": "drift", "window": "0008"}})
    sw, tr = as_json(compass("status", "--json"))
    assert (sw["production"], sw["metrics"], sw["drift"]) == ("1", {"better on new": 0.04}, "drift 0008")
    assert (sw["adopted window"], sw["hold"], sw["staging"]) == ("0007", None, None)
    assert 0 <= sw["age days"] < 1
    assert (tr["drift"], tr["hold"]) == (None, "ann: demo on Friday")
    assert tr["last decision"].startswith("held 20")
    header, line, _ = compass("status").output.splitlines()
    assert header.split()[:5] == ["language", "production", "age", "gain", "drift"]
    assert line.split()[:6] == ["sw", "1", "0", "d", "+0.040", "drift"]
