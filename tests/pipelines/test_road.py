"""The user's commands on a whole small project, one after the other."""

import os
import signal
import sqlite3
from pathlib import Path

import pytest
import yaml

from compass_ops.registry.versions import verify_version
from compass_ops.storage import file_digest, file_digests, read_json
from tests.pipelines.conftest import Road
from tests.pipelines.project import ALWAYS, REPOSITORY, Project, until
from tests.pipelines.questions import TARGETS

STAGES = list(yaml.safe_load((REPOSITORY / "dvc.yaml").read_text("utf-8"))["stages"])


def registry_rows(project: Project) -> list[tuple[str, int, str]]:
    """Return (model, version, stage) as MLflow's own tables have them."""
    connection = sqlite3.connect(project.root / "mlruns" / "mlflow.db")
    rows = connection.execute("SELECT name, version, current_stage FROM model_versions ORDER BY name, version")
    found = [(str(name), int(version), str(stage)) for name, version, stage in rows]
    connection.close()
    return found


def champions(project: Project) -> dict[str, str | None]:
    return {language: row["production"] for language, row in project.status().items()}


def test_the_first_run_ends_well_and_goes_through_every_stage(road: Road) -> None:
    first = road.runs[0]
    assert first.returncode == 0, first.stdout
    assert first.stages == STAGES
    assert "Traceback" not in first.stdout
    table = {line.split()[0]: line for line in first.stdout.splitlines() if line.startswith(TARGETS)}
    assert "update promoted" in table["ca"]
    assert "adapter refused" in table["sw"]
    assert "adapter promoted" in table["tr"]
    assert "Open build/report/index.html" in first.stdout
    assert (road.project.root / "build" / "report" / "index.html").stat().st_size > 1000


@pytest.mark.parametrize("language", TARGETS)
def test_every_language_has_a_verified_version_a_decision_and_receipts(road: Road, language: str) -> None:
    build = road.project.root / "build"
    manifest = verify_version(build / "train" / language / "version")
    decision = road.project.json("admit", f"{language}.json")
    assert (manifest["language"], manifest["parent"]) == (language, None)
    assert decision["candidate"] == manifest["digest"]
    assert manifest["base"]["digest"] == road.project.json("base", "base.json")["model"]["digest"]
    for stage in ("register", "promote"):
        receipt = road.project.json(stage, "receipts.json")["languages"][language]
        assert receipt["status"]
        assert receipt["reason"]
    assert {path.name for path in (build / "evaluate" / language).iterdir()} == {"items.parquet", "metrics.json"}


def test_each_language_has_one_production_version_or_a_recorded_reason(road: Road) -> None:
    stages = registry_rows(road.project)
    in_production = [(name, version) for name, version, stage in stages if stage == "Production"]
    assert in_production == [("compass-ca", 2), ("compass-tr", 1)]
    assert champions(road.project) == {"ca": "2", "sw": None, "tr": "1"}
    judged = road.project.json("register", "registry.json")["languages"]["sw"]["judged"]
    assert [entry["verdict"] for entry in judged.values()] == ["refused"]
    refused = read_json(next((road.project.root / "mlruns").rglob("*/version/decision.json"), Path()))
    assert refused["verdict"] in ("promote", "refuse")
    assert "The base was not beaten." in _history(road.project, "sw")


def _history(project: Project, language: str) -> str:
    """Return what the registry's history says about a language."""
    connection = sqlite3.connect(project.root / "mlruns" / "mlflow.db")
    rows = connection.execute("SELECT description FROM model_versions WHERE name = 'compass-history'").fetchall()
    connection.close()
    return "\n".join(told for (told,) in rows if told and told.startswith(f"{language}:"))


def test_only_the_language_that_shifted_was_updated(road: Road) -> None:
    production = road.project.root / "build" / "register" / "production"
    manifests = {folder.name: verify_version(folder) for folder in production.iterdir()}
    assert {language: manifest["window"] for language, manifest in manifests.items()} == {"ca": "0002", "tr": None}
    trained = read_json(road.project.root / "build" / "train" / "ca" / "version" / "manifest.json")
    assert manifests["ca"]["parent"] == trained["digest"]
    decision = read_json(production / "ca" / "decision.json")
    assert decision["verdict"] == "promote"
    assert decision["drift_digest"] == file_digest(production / "ca" / "drift.json")
    assert not (production / "tr" / "drift.json").exists()
    verdict = read_json(production / "ca" / "drift.json")["metadata"]
    assert (verdict["action"], verdict["harm_source"]) == ("train a candidate", "dev items")
    assert "Harm is shown" in verdict["action_sentence"]


def test_the_report_of_a_shift_lies_in_mlflow_beside_the_version_that_it_judges(road: Road) -> None:
    found = sorted(path.parent.name for path in (road.project.root / "mlruns").rglob("reports/0002/report.html"))
    assert found
    assert set(found) == {"0002"}
    alarms = {
        language: entry["last_alarm"]
        for language, entry in road.project.json("register", "registry.json")["languages"].items()
    }
    assert alarms["ca"]["window"] == "0002"
    assert alarms["tr"] is None


def test_further_runs_converge_to_nothing_to_do(road: Road) -> None:
    second, third = road.runs[1:]
    assert (second.returncode, third.returncode) == (0, 0), second.stdout + third.stdout
    assert set(second.stages) <= ALWAYS | {"admit", "drift", "update", "gate"}
    assert set(third.stages) == ALWAYS
    assert road.project.json("drift", "summary.json")["ca"]["verdict"] == "adopted"
    receipts = road.project.json("promote", "receipts.json")
    assert receipts["repaired"] == []
    assert {receipt["status"] for receipt in receipts["languages"].values()} == {"no candidate"}


def test_metrics_plots_and_params_are_shown_by_dvc(project: Project) -> None:
    shown = project.run("dvc", "metrics", "show", "--json")
    assert shown.returncode == 0, shown.stdout
    for metric in ("ingest/summary", "cluster/health", "evaluate/metrics", "drift/summary"):
        assert f'"build/{metric}.json"' in shown.stdout
    drawn = project.run("dvc", "plots", "show")
    page = project.root / "dvc_plots" / "index.html"
    assert drawn.returncode == 0, drawn.stdout
    assert all(title in page.read_text("utf-8") for title in ("Training loss by language", "Accuracy on the gate half"))
    project.change(lambda params: params["sample"].update(budget=59))
    changed = project.run("dvc", "params", "diff")
    assert changed.returncode == 0, changed.stdout
    assert "sample.budget" in changed.stdout


@pytest.mark.long
def test_changing_one_budget_retrains_one_language_and_changing_it_back_none(project: Project) -> None:
    before, trained = project.finished("train"), file_digests(project.root / "build" / "train")
    project.change(lambda params: params["sample"].update(overrides={"tr": {"budget": 30}}))
    changed = project.repro("train")
    assert changed.returncode == 0, changed.stdout
    assert changed.stages == ["sources", "sample", "train"]
    assert len(project.finished("train") - before) == 1
    after = file_digests(project.root / "build" / "train")
    moved = {name.split("/")[0] for name in trained if trained[name] != after[name]}
    assert moved == {"tr", "curves.csv"}
    assert project.json("sample", "tr", "plan.json")["chosen"] == 30

    project.change(lambda params: params["sample"].update(overrides={}))
    back = project.repro("train")
    assert back.returncode == 0, back.stdout
    assert len(project.finished("train") - before) == 1
    assert file_digests(project.root / "build" / "train") == trained


@pytest.mark.long
def test_killed_in_the_middle_of_training_the_next_run_keeps_what_is_done(project: Project) -> None:
    before, registered = project.finished("train"), registry_rows(project)
    project.change(lambda params: params["train"]["schedule"].update(learning_rate=0.011))
    with project.started("dvc", "repro") as process:
        until(lambda: bool(project.finished("train") - before), process)
        os.killpg(process.pid, signal.SIGKILL)
    kept = {name: _made_at(project, name) for name in project.finished("train") - before}
    assert 1 <= len(kept) < len(TARGETS)

    resumed = project.repro("train")
    assert resumed.returncode == 0, resumed.stdout
    assert "ingest" not in resumed.stages
    assert len(project.finished("train") - before) == len(TARGETS)
    assert {name: _made_at(project, name) for name in kept} == kept
    for language in TARGETS:
        verify_version(project.root / "build" / "train" / language / "version")
    assert registry_rows(project) == registered


def _made_at(project: Project, name: str) -> int:
    return (project.root / ".memo" / "train" / name / "version" / "manifest.json").stat().st_mtime_ns
