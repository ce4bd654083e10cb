"""What a user does after the first run: another window, another opinion, other data, an experiment."""

import json
from pathlib import Path

import pytest
import yaml

from compass_ops.storage import file_digests
from tests.pipelines.project import ALWAYS, Project
from tests.pipelines.questions import SHIFT, WINDOWS, write_lines
from tests.pipelines.test_road import champions, registry_rows

pytestmark = pytest.mark.long


def until(project: Project) -> str:
    """Return the last window that the params name."""
    return str(yaml.safe_load((project.root / "params.yaml").read_text("utf-8"))["traffic"]["until"])


def test_tick_looks_at_one_more_window_until_there_is_none(project: Project) -> None:
    assert (SHIFT, WINDOWS) == (2, 3)
    before = registry_rows(project)
    ticked = project.compass("tick")
    assert ticked.returncode == 0, ticked.stdout
    assert until(project) == "0003"
    assert {"traffic", "drift"} <= set(ticked.stages)
    assert not {"ingest", "train", "evaluate"} & set(ticked.stages)
    summary = project.json("drift", "summary.json")
    assert {language: row["window"] for language, row in summary.items() if row["window"]} == {
        "ca": "0003",
        "tr": "0003",
    }
    assert {summary[language]["verdict"] for language in ("ca", "tr")} == {"no drift"}  # ca asks as in window 2
    assert registry_rows(project) == before

    again = project.compass("tick")
    assert again.returncode == 1
    assert "traffic.until is 0003 and the last window is 0003. Wait until there is more traffic." in again.stdout
    assert until(project) == "0003"


def test_a_champion_rolled_back_by_hand_stays_until_it_is_released(project: Project) -> None:
    assert champions(project)["ca"] == "2"
    rolled = project.compass("rollback", "ca", "--why", "wrong answers about banks")
    assert rolled.returncode == 0, rolled.stdout
    assert "ca: version 1 is in Production, in place of version 2 and held." in rolled.stdout
    for _ in range(3):  # the first looks at the gate half under the hold, the second reads that this was counted
        ended = project.repro()
        assert ended.returncode == 0, ended.stdout
        assert champions(project)["ca"] == "1"
    assert set(ended.stages) == ALWAYS  # nothing more to do
    assert project.status()["ca"]["hold"] is not None
    stages = [(version, stage) for name, version, stage in registry_rows(project) if name == "compass-ca"]
    assert stages == [(1, "Production"), (2, "Archived")]

    released = project.compass("release", "ca", "--why", "the banks were right")
    assert released.returncode == 0, released.stdout
    ended = project.repro()
    assert ended.returncode == 0, ended.stdout
    assert champions(project)["ca"] == "1"  # an adapter that was replaced by hand is not judged again
    assert project.status()["ca"]["hold"] is None


def test_new_data_of_one_language_retrain_it_alone(project: Project) -> None:
    before, trained = project.finished("train"), file_digests(project.root / "build" / "train")
    records = project.root / "data" / "records.jsonl"
    text = records.read_text("utf-8")
    row = {"language": "tr", "role": "own", "prompt": "kaç hotel yeni?", "completion": "sleep"}
    records.write_text(text + json.dumps(row, ensure_ascii=False) + "\n", "utf-8")
    changed = project.repro("train")
    assert changed.returncode == 0, changed.stdout
    assert changed.stages[:2] == ["sources", "ingest"]
    assert len(project.finished("train") - before) == 1
    after = file_digests(project.root / "build" / "train")
    assert {name.split("/")[0] for name in trained if trained[name] != after[name]} == {"tr", "curves.csv"}

    records.write_text(text, "utf-8")
    back = project.repro("train")
    assert back.returncode == 0, back.stdout
    assert len(project.finished("train") - before) == 1
    assert file_digests(project.root / "build" / "train") == trained


def test_a_language_with_a_fault_fails_at_the_end_and_the_others_go_on(project: Project) -> None:
    before, told = registry_rows(project), champions(project)
    trained = file_digests(project.root / "build" / "train")
    records = project.root / "data" / "records.jsonl"
    text = records.read_text("utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    write_lines(records, [row for row in rows if (row["language"], row["role"]) != ("sw", "own")])

    failed = project.repro()
    assert failed.returncode != 0
    assert "Traceback" not in failed.stdout
    assert (
        "1 of 3 languages failed, the others went on:\n  sw: ingest: no own rows. Add them to a source" in failed.stdout
    )
    assert failed.stages[-1] == "report"
    assert registry_rows(project) == before
    assert champions(project) == told
    after = file_digests(project.root / "build" / "train")
    assert all(after[name] == trained[name] for name in trained if name.split("/")[0] in ("ca", "tr"))

    records.write_text(text, "utf-8")
    mended = project.repro()
    assert mended.returncode == 0, mended.stdout
    assert file_digests(project.root / "build" / "train") == trained


def test_an_experiment_leaves_the_registry_as_it_is(project: Project) -> None:
    before, told = registry_rows(project), champions(project)
    for arguments in ([], ["--temp"]):
        ran = project.run("dvc", "exp", "run", "-S", "train.schedule.learning_rate=0.011", *arguments)
        assert ran.returncode == 0, ran.stdout
        assert "Traceback" not in ran.stdout
        assert registry_rows(project) == before
        assert champions(project) == told
    receipts = project.json("register", "receipts.json")["languages"]
    assert {receipt["status"] for receipt in receipts.values()} == {"skipped: experiment"}
    databases = [path.relative_to(project.root) for path in project.root.rglob("mlflow.db")]
    assert databases == [Path("mlruns/mlflow.db")]
    shown = project.run("dvc", "exp", "show", "--csv")
    assert shown.returncode == 0, shown.stdout
    assert shown.stdout.count("0.011") >= 2

    kept = project.run("git", "checkout", "--", "params.yaml")
    kept.check_returncode()
    back = project.repro()
    assert back.returncode == 0, back.stdout
    assert registry_rows(project) == before


def test_centring_is_switched_without_an_alarm_and_without_embedding_anew(project: Project) -> None:
    """A version's windows are seen in the space that it was made in, whatever params.yaml says by now."""
    verdicts = {language: row["verdict"] for language, row in project.json("drift", "summary.json").items()}
    embedded = project.finished("embed")
    project.change(lambda params: params["embed"].update(centred=False))
    switched = project.repro("drift")
    assert switched.returncode == 0, switched.stdout
    assert {"embed", "cluster", "sample", "drift"} <= set(switched.stages)
    assert project.finished("embed") == embedded
    assert {language: row["verdict"] for language, row in project.json("drift", "summary.json").items()} == verdicts
