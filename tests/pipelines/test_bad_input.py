"""What users and machines can do wrong: one clear message, exit code 1, nothing half-written."""

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from compass_ops.storage import file_digests, read_table
from tests.pipelines.project import Ended, Project, until
from tests.pipelines.questions import ASKING, TARGETS, small, write_data, write_lines
from tests.tiny_models import save_tiny_model

pytestmark = pytest.mark.long


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """A project that never ran."""
    return Project.create(tmp_path / "fresh", small, write_data)


def failed(ended: Ended) -> str:
    """Return what a command said that had to end with exit code 1 and without a traceback."""
    assert ended.returncode == 1, ended.stdout
    assert "Traceback" not in ended.stdout
    return ended.stdout


def records(project: Project) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.root / "data" / "records.jsonl").read_text("utf-8").splitlines()]


def left_aside(folder: Path) -> list[str]:
    """Return what was written aside and neither renamed nor removed."""
    return [name for name in file_digests(folder) if any(part.startswith(".") for part in Path(name).parts)]


def test_five_faults_of_the_params_are_told_at_once(fresh: Project) -> None:
    def spoil(params: dict[str, Any]) -> None:
        params["sample"]["budget"] = 0
        params["sample"]["stratgy"] = params["sample"].pop("strategy")
        params["train"]["schedule"]["learning_rate"] = "fast"
        params["base"]["model"] = {"kind": "hub", "id": "Qwen/Qwen2.5-7B", "revision": "main"}
        params["drift"] |= {"permutations": 9, "alpha": 0.05}

    fresh.change(spoil)
    said = failed(fresh.stage("ingest"))
    assert "sample.budget must be greater than or equal to 1; got 0" in said
    assert "sample.stratgy is not a known key. Did you mean 'strategy'?" in said
    assert "sample.strategy is missing. Choose a strategy;" in said
    assert "train.schedule.learning_rate must be a valid number; got 'fast'" in said
    assert "base.model.revision" in said
    assert "40 hex digits" in said
    assert "drift must have permutations >= 19 for alpha 0.05; got 9" in said
    assert not (fresh.root / "build").exists()
    assert fresh.run("dvc", "repro").returncode != 0


def test_a_params_file_that_is_no_yaml(fresh: Project) -> None:
    (fresh.root / "params.yaml").write_text("project: [", "utf-8")
    assert "params.yaml: is not readable YAML" in failed(fresh.stage("ingest"))


BROKEN: list[tuple[object, str]] = [
    ('{"language": "sw", ', "is no JSON"),
    (["sw", "own"], "a row must be an object with named fields; got list"),
    ({"language": "sw", "role": "own", "prompt": "gani radio?", "completion": ""}, "completion is empty"),
    ({"language": "sw", "role": "own", "prompt": "", "completion": "music"}, "prompt is empty"),
    ({"language": "sw", "role": "own", "prompt": 7, "completion": "music"}, "prompt must be text; got int 7"),
    ({"language": "sw", "role": "onw", "prompt": "gani?", "completion": "music"}, "Did you mean 'own'?"),
    ({"language": "sw", "role": "test", "prompt": "gani?", "choices": ["a", "b"], "answer": 2}, "between 0 and 1"),
    ({"language": "swahilli", "role": "own", "prompt": "gani?", "completion": "music"}, "Did you mean sw"),
    (
        {"language": "qqq", "role": "own", "prompt": "gani?", "completion": "music"},
        "is not the tag of a known language",
    ),
    ({"language": "nl", "role": "own", "prompt": "welke?", "completion": "music"}, "nl is no target language"),
]


def test_broken_records_are_kept_with_their_reason_and_the_others_go_on(fresh: Project) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) for row, _ in BROKEN]
    with (fresh.root / "data" / "records.jsonl").open("a", encoding="utf-8") as file:
        first = len(records(fresh)) + 1
        file.write("\n".join(lines) + "\n")
    ended = fresh.stage("ingest")
    assert ended.returncode == 0, ended.stdout
    rejects = read_table(fresh.root / "build" / "ingest" / "rejects.parquet").to_pylist()
    assert len(rejects) == len(BROKEN)
    for place, (row, reason) in zip(rejects, enumerate(BROKEN, start=first), strict=True):
        assert place["source"] == "data/records.jsonl"
        assert place["row"] == row
        assert reason[1] in place["reason"]
        written = reason[0].strip() if isinstance(reason[0], str) else reason[0]
        assert json.loads(place["record"]) == written
    assert fresh.json("ingest", "summary.json")["rows"]["rejected"] == len(BROKEN)
    assert {one["status"] for one in fresh.json("ingest", "languages.json").values()} == {"ok"}


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("qqq", "'qqq' is not the tag of a known language"),
        (
            "swahilli",
            "must be a language tag in BCP-47's own spelling, such as sw, sw-Latn or zh-Hant-TW; got 'swahilli'",
        ),
        ("SW", "must be a language tag in BCP-47's own spelling, such as sw, sw-Latn or zh-Hant-TW; got 'SW'"),
        ("ca", "must name each language once; ca stands there more often"),
        ("../sw", "must be a language tag in BCP-47's own spelling, such as sw, sw-Latn or zh-Hant-TW; got '../sw'"),
    ],
)
def test_a_misspelt_target_language(fresh: Project, tag: str, message: str) -> None:
    fresh.change(lambda params: params["project"].update(languages=["ca", tag]))
    assert message in failed(fresh.stage("ingest"))
    assert not (fresh.root / "build" / "ingest").exists()


def test_a_language_without_target_own_or_test_rows_leaves_the_others_alone(fresh: Project) -> None:
    lacking = {"ca": "target", "sw": "own", "tr": "test"}
    fresh.change(lambda params: params["project"].update(languages=[*TARGETS, "nl"]))
    rows = [row for row in records(fresh) if lacking.get(row["language"]) != row["role"]]
    whole = [row | {"language": "nl"} for row in records(fresh) if row["language"] == "sw"]
    write_lines(fresh.root / "data" / "records.jsonl", rows + whole)
    ended = fresh.stage("ingest")
    assert ended.returncode == 0, ended.stdout
    languages = fresh.json("ingest", "languages.json")
    for language, role in lacking.items():
        assert languages[language]["status"] == "failed"
        assert languages[language]["reason"].startswith(f"no {role} rows. Add them to a source.")
    assert languages["nl"]["status"] == "ok"

    fresh.change(lambda params: params["project"].update(languages=list(TARGETS)))
    said = failed(fresh.stage("ingest"))
    assert "no target language can go on" in said
    assert all(f"{language}: no {role} rows" in said for language, role in lacking.items())
    # What the message tells the user to look at is written although the stage failed.
    assert (fresh.root / "build" / "ingest" / "rejects.parquet").is_file()
    assert {one["status"] for one in fresh.json("ingest", "languages.json").values()} == {"failed"}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("data/absent-*.jsonl", "source 'questions': no file matches 'data/absent-*.jsonl'"),
        ("data", "source 'questions': no file matches 'data'"),
        ("data/broken.jsonl.gz", "cannot be read"),
        ("data/odd.xml", "the ending must be one of .jsonl"),
    ],
)
def test_an_unreadable_source(fresh: Project, pattern: str, message: str) -> None:
    (fresh.root / "data" / "broken.jsonl.gz").write_bytes(b"no gzip")
    (fresh.root / "data" / "odd.xml").write_bytes(b"<rows/>")
    fresh.change(lambda params: params["ingest"]["sources"][0].update(files=[pattern]))
    assert message in failed(fresh.stage("ingest"))
    assert not (fresh.root / "build" / "ingest").exists()


def _pickled(folder: Path) -> None:
    save_tiny_model("llama", folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def test_a_base_folder_without_weights_or_at_no_place(project: Project) -> None:
    before = file_digests(project.root / "build" / "base")
    _pickled(project.root / "mine")
    project.change(lambda params: params["base"].update(model={"kind": "folder", "path": "mine"}))
    said = failed(project.stage("base"))
    assert "mine: holds no weights in safetensors format" in said
    assert "pickled weights (.bin, .pt) are refused" in said
    project.change(lambda params: params["base"]["model"].update(path="nowhere"))
    assert "nowhere: is not a folder" in failed(project.stage("base"))
    assert file_digests(project.root / "build" / "base") == before


def test_a_budget_above_the_pool_fails_its_language_alone(project: Project) -> None:
    pool = project.json("ingest", "summary.json")["kept"]["auxiliary"]["rows"]
    project.change(lambda params: params["sample"].update(overrides={"sw": {"budget": pool + 1}}))
    ended = project.stage("sample")
    assert ended.returncode == 0, ended.stdout
    receipt = project.json("sample", "sw", "receipt.json")
    assert receipt["status"] == "failed"
    said = f"the budget is {pool + 1}, but the pool of other languages holds {pool}."
    assert receipt["reason"] == f"{said} Lower the budget or add auxiliary data."
    for language in ("ca", "tr"):
        assert project.json("sample", language, "plan.json")["chosen"] == 60


def _base_that_cannot_read(letter: str, folder: Path) -> None:
    """Save a base whose vector of one letter is damaged."""
    save_tiny_model("llama", folder)
    [broken] = set(AutoTokenizer.from_pretrained(folder).encode(letter)[-1:])
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][broken] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def test_a_loss_that_is_not_a_number_fails_its_language_alone(project: Project) -> None:
    assert "ç" in ASKING["tr"]
    _base_that_cannot_read("ç", project.root / "mine")
    project.change(lambda params: params["base"].update(model={"kind": "folder", "path": "mine"}))
    assert project.stage("base").returncode == 0
    ended = project.stage("train")
    assert ended.returncode == 0, ended.stdout
    receipt = project.json("train", "tr", "receipt.json")
    assert receipt["status"] == "failed"
    assert receipt["reason"].startswith("the loss is nan at step 1")
    assert "Lower this schedule's learning_rate" in receipt["reason"]
    for language in ("ca", "sw"):
        assert (project.root / "build" / "train" / language / "version" / "manifest.json").is_file()
    assert not list((project.root / ".memo" / "train").glob("*.partial"))


def test_a_learning_rate_beyond_reason_fails_every_language(project: Project) -> None:
    project.change(lambda params: params["train"]["schedule"].update(learning_rate=1e30))
    assert project.stage("train").returncode == 0
    for language in TARGETS:
        assert "the loss is" in project.json("train", language, "receipt.json")["reason"]


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """Have a disk of that size at a folder, or skip the test where one may not mount."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = shutil.which("mount") or "mount"
    try:
        subprocess.run([mount, "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small disk can be mounted here, which needs root on Linux ({error})")
    try:
        yield
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", folder], check=True)


def test_a_full_disk_under_the_memo_ends_the_stage_and_keeps_what_is_done(project: Project) -> None:
    trained = file_digests(project.root / "build" / "train")
    project.change(lambda params: params["train"]["schedule"].update(learning_rate=0.011))
    memo = project.root / ".memo"
    with small_disk(memo, "400k"):
        said = failed(project.stage("train"))
        kept = project.finished("train")
        assert "Free space" in said
        assert 1 <= len(kept) < len(TARGETS)
        subprocess.run(["mount", "-o", "remount,size=20m", memo], check=True)
        assert file_digests(project.root / "build" / "train") == trained
        before = {name: file_digests(memo / "train" / name) for name in kept}
        ended = project.stage("train")
        assert ended.returncode == 0, ended.stdout
        assert {name: file_digests(memo / "train" / name) for name in kept} == before
        assert len(project.finished("train")) == len(TARGETS)
    assert left_aside(project.root / "build") == []


@pytest.mark.parametrize("stage", ["ingest", "embed", "sample", "train", "evaluate"])
def test_a_full_disk_under_the_outputs_leaves_nothing_half_written(project: Project, stage: str) -> None:
    with small_disk(project.root / "full", "16k"):
        said = failed(project.stage(stage, out=Path("full") / stage))
        assert "Free space" in said
        assert file_digests(project.root / "full") == {}
        subprocess.run(["mount", "-o", "remount,size=20m", project.root / "full"], check=True)
        ended = project.stage(stage, out=Path("full") / stage)
        assert ended.returncode == 0, ended.stdout
        assert file_digests(project.root / "full" / stage) == file_digests(project.root / "build" / stage)


def test_interrupted_in_training_the_next_run_goes_on(project: Project) -> None:
    before, trained = project.finished("train"), file_digests(project.root / "build" / "train")
    project.change(lambda params: params["train"]["schedule"].update(learning_rate=0.011))
    with project.started("dvc", "repro", "train") as process:
        until(lambda: bool(project.finished("train") - before), process)
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate()
    assert process.returncode != 0
    assert "Traceback" not in said
    assert "train: interrupted" in said
    kept = project.finished("train") - before
    assert 1 <= len(kept) < len(TARGETS)
    assert left_aside(project.root / "build") == []
    resumed = project.repro("train")
    assert resumed.returncode == 0, resumed.stdout
    assert kept < project.finished("train") - before
    changed = file_digests(project.root / "build" / "train")
    assert Counter(changed.keys()) == Counter(trained.keys())
