import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from compass_ops.monitoring.gather import failures, fleet_rows
from compass_ops.storage import read_json, write_json

STAGES = ("embed", "sample", "train", "evaluate", "admit", "register", "drift", "update", "gate", "promote")
SEEN: dict[str, Any] = {
    "verdict": "drift",
    "sentence": "What is asked has shifted.",
    "action": "train a candidate",
    "action_sentence": "Harm is shown.",
    "window": "0002",
    "period": None,
    "p_value": 0.001,
    "last_alarm": {"window": "0002", "p_value": 0.001, "sentence": "What is asked has shifted."},
    "report": "sw/report.html",
}
TEST = {
    "name": "better on the new", "estimate": 0.1, "low": 0.05, "high": 0.15, "margin": 0.0, "n": 100,
    "effective_n": 90.0, "passed": True, "resolvable": 0.08,
}  # fmt: skip


def _record(digest: str, verdict: str) -> dict[str, Any]:
    return {"verdict": verdict, "reasons": [f"because of {digest}"], "tests": [TEST], "record_digest": digest}


@pytest.fixture
def build(tmp_path: Path) -> Path:
    scores = {"accuracy": 0.5, "low": 0.4, "high": 0.6, "n": 100.0}
    models = {"base": {"asked": scores}, "adapter": {"asked": scores | {"accuracy": 0.55}}}
    cluster = {
        "cluster": 0, "target_share": 0.5, "held_share": 0.1, "gap": 0.4, "quota": 10, "supply": 50, "chosen": 10,
        "languages": {"en": 10}, "examples": ["first", "second"],
    }  # fmt: skip
    write_json(tmp_path / "languages.json", {"sw": {"status": "ok", "reason": None, "rows": {}}})
    write_json(
        tmp_path / "evaluate" / "metrics.json",
        {"sw": models},
    )
    write_json(tmp_path / "sample" / "sw" / "plan.json", {"strategy": "compass", "clusters": [cluster]})
    write_json(tmp_path / "drift" / "summary.json", {"sw": SEEN})
    write_json(tmp_path / "admit" / "sw.json", _record("first", "already judged"))
    write_json(tmp_path / "gate" / "sw.json", _record("second", "promote"))
    entry = {"production": {"version": "1", "digest": "a" * 64}}
    write_json(tmp_path / "register" / "registry.json", {"schema": 1, "languages": {"sw": entry}})
    write_json(tmp_path / "register" / "production" / "sw" / "decision.json", _record("zeroth", "promote"))
    _receipts(tmp_path, "register", "sw", "already judged")
    _receipts(tmp_path, "promote", "sw", "promoted", "2")
    return tmp_path


def _receipts(build: Path, stage: str, language: str, status: str, version: str | None = None) -> None:
    receipt = {"status": status, "reason": f"{stage} says {status}", "version": version}
    write_json(build / stage / "receipts.json", {"schema": 1, "languages": {language: receipt}, "repaired": []})


def _rows(build: Path) -> dict[str, Any]:
    inputs = {stage: build / stage for stage in STAGES} | {"languages": build / "languages.json"}
    return {row.language: row for row in fleet_rows(inputs, build / "report")}


def test_a_promoted_update(build: Path) -> None:
    row = _rows(build)["sw"]
    assert (row.decision, row.version, row.stage) == ("update promoted", "2", "Production")
    assert row.reason == "promote says promoted"
    assert row.report == "../drift/sw/report.html"
    assert (row.zero_shot.accuracy, row.adapter.accuracy) == (0.5, 0.55)
    assert [decision.reasons[0] for decision in row.decisions] == [
        "because of zeroth",
        "because of first",
        "because of second",
    ]
    assert [decision.title for decision in row.decisions] == [
        "What put the version before in Production",
        "The newly trained adapter",
        "The updated adapter",
    ]
    assert row.decisions[2].tests[0].low == 0.05
    assert row.plan[0].example == "first"
    assert row.failure is None
    assert failures(list(_rows(build).values())) == []


def test_a_version_that_waits_for_a_person_is_named_until_it_does_not(build: Path) -> None:
    """With registry.promotion: manual, in the run that puts it into Staging and in all that follow."""
    how = "Version 2 is in Staging: `compass approve sw` promotes it, `compass reject sw` does not."
    _receipts(build, "promote", "sw", "staged", "2")
    row = _rows(build)["sw"]
    assert (row.decision, row.reason, row.version) == ("update waits for approval", f"promote says staged {how}", "1")
    _receipts(build, "promote", "sw", "unchanged", "2")
    staged = {"production": {"version": "1", "digest": "a" * 64}, "staging": {"version": "2", "digest": "b" * 64}}
    write_json(build / "register" / "registry.json", {"schema": 1, "languages": {"sw": staged}})
    row = _rows(build)["sw"]
    assert (row.decision, row.reason, row.version) == ("waits for approval", how, "1")


def test_nothing_to_do_keeps_the_version(build: Path) -> None:
    _receipts(build, "promote", "sw", "no candidate")
    row = _rows(build)["sw"]
    assert (row.decision, row.version) == ("kept", "1")
    assert row.decisions[0].title == "What put the present version in Production"


def test_the_base_serves_where_the_adapter_was_refused(build: Path) -> None:
    write_json(build / "register" / "registry.json", {"schema": 1, "languages": {"sw": {"production": None}}})
    _receipts(build, "promote", "sw", "no candidate")
    _receipts(build, "register", "sw", "refused")
    row = _rows(build)["sw"]
    assert (row.decision, row.version, row.stage) == ("adapter refused", None, None)
    _receipts(build, "register", "sw", "unchanged")
    assert _rows(build)["sw"].decision == "base serves"


@pytest.mark.parametrize("stage", ["ingest", "embed", "sample", "train", "evaluate", "update", "drift"])
def test_a_failed_language_is_named_with_its_reason(build: Path, stage: str) -> None:
    if stage == "ingest":
        write_json(build / "languages.json", {"sw": {"status": "failed", "reason": "NaN somewhere", "rows": {}}})
    elif stage == "drift":
        write_json(build / "drift" / "summary.json", {"sw": SEEN | {"verdict": "failed", "sentence": "NaN somewhere"}})
    else:
        receipt = {"language": "sw", "status": "failed", "stage": stage, "reason": "NaN somewhere"}
        folder = build / stage / ("gate" if stage == "embed" else "")
        write_json(folder / "sw" / "receipt.json", receipt)
    rows = _rows(build)
    assert failures(list(rows.values())) == [f"sw: {stage}: NaN somewhere"]
    assert rows["sw"].decision == "failed"


def test_the_first_failure_on_the_road_is_the_one_told(build: Path) -> None:
    for stage in ("embed/own", "sample", "train", "evaluate"):
        name = stage.split("/")[0]
        receipt = {"language": "sw", "status": "failed", "stage": name, "reason": f"{name} went wrong"}
        write_json(build / stage / "sw" / "receipt.json", receipt)
    assert _rows(build)["sw"].failure == "embed: embed went wrong"


def test_no_update_is_no_failure(build: Path) -> None:
    write_json(build / "update" / "sw" / "receipt.json", {"status": "no update", "reason": "no drift"})
    assert _rows(build)["sw"].failure is None


def test_the_page_needs_no_evidently() -> None:
    script = (
        "import sys; import compass_ops.monitoring.fleet, compass_ops.monitoring.gather\n"
        "print(sorted({'evidently', 'sklearn', 'torch', 'mlflow'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize(("strategy", "quota"), [("compass_plus", 10), ("random", None)])
def test_a_quota_is_shown_where_the_strategy_sets_one(build: Path, strategy: str, quota: int | None) -> None:
    file = build / "sample" / "sw" / "plan.json"
    write_json(file, read_json(file) | {"strategy": strategy})
    assert [cluster.quota for cluster in _rows(build)["sw"].plan] == [quota]
