"""The comparison's cells on a tiny base: what a cell depends on, and that processes share them without a trace."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.selection import train
from benchmarks.selection.run import Runs
from benchmarks.selection.settings import cells, load_comparison
from benchmarks.selection.train import Workshop
from benchmarks.selection.transfer import Transfers
from compass_ops.corpus.records import to_table
from compass_ops.fanout import fan_out
from compass_ops.model_files import folder_entry
from compass_ops.params import load_params
from compass_ops.storage import read_json, read_table, tree_digest, write_json, write_table
from pipelines._code import ROOT
from tests.tiny_models import save_tiny_model

SET = ROOT / "benchmarks" / "selection" / "worldfacts"
LANGUAGES = ["sw", "tr"]


def records(language: str, role: str, count: int) -> pa.Table:
    filled = {"language": language, "role": role, "topic": "days", "parallel_id": None, "source": "s", "weight": 1.0}
    rows = [{"prompt": f"Day {n}?", "choices": ["one", "two"], "answer": n % 2} for n in range(count)]
    told = [row | {"id": f"{role} {n}", "completion": ["one", "two"][n % 2]} for n, row in enumerate(rows)]
    return to_table([row | filled for row in told])


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Two languages, `all` and `random`, one seed, with what the stages before would have left."""
    monkeypatch.chdir(tmp_path)
    comparison = load_comparison(SET / "comparison.yaml")
    few = {name: comparison.variants[name] for name in ("random", "all")}
    comparison = comparison.model_copy(update={"seeds": 1, "budget": 8, "variants": few})
    params = load_params(SET / "params.yaml")
    project = params.project.model_copy(update={"languages": LANGUAGES})
    lora = params.train.lora | {"r": 2}
    train = params.train.model_copy(update={"lora": lora})
    params = params.model_copy(update={"project": project, "train": train})
    save_tiny_model("llama", tmp_path / "model")
    workshop = Workshop(params, {"model": folder_entry(Path("model"), tmp_path).as_json()})
    for language in LANGUAGES:
        for role, count in (("own", 4), ("dev", 6), ("gate", 6)):
            write_table(tmp_path / "records" / role / f"{language}.parquet", records(language, role, count))
    for cell in cells(comparison, LANGUAGES):
        subset = records(cell.split("/")[1], "auxiliary", 40 if cell.startswith("all/") else 10)
        reasons = pa.array(["why"] * subset.num_rows)
        write_table(tmp_path / "choices" / cell / "subset.parquet", subset.append_column("reason", reasons))
    return Runs(comparison, workshop, Path("choices"), Path("records"))


def test_the_longest_cells_come_first(runs: Runs) -> None:
    assert list(runs.digests()) == ["all/sw/0", "all/tr/0", "random/sw/0", "random/tr/0"]


def test_a_cell_depends_on_the_texts_and_not_on_why_they_were_chosen(runs: Runs) -> None:
    before, file = runs.digests(), Path("choices/random/sw/0/subset.parquet")
    subset = read_table(file)
    write_table(file, subset.set_column(subset.num_columns - 1, "reason", pa.array(["other"] * subset.num_rows)))
    assert runs.digests() == before
    write_table(file, subset.slice(1))
    assert {cell for cell, digest in runs.digests().items() if digest != before[cell]} == {"random/sw/0"}


@pytest.mark.parametrize(
    "file", ["compass_ops/training/loss.py", "compass_ops/evaluation/score.py", "benchmarks/selection/train.py"]
)
def test_other_code_of_training_or_scoring_makes_everything_anew(
    runs: Runs, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in LANGUAGES:
        write_table(tmp_path / "records" / "target" / f"{language}.parquet", records(language, "target", 4))
        write_table(tmp_path / "records" / "auxiliary" / f"{language}.parquet", records(language, "auxiliary", 4))
    transfers = Transfers(runs.comparison, runs.workshop, Path("records"))
    before, before_transfers = runs.digests(), transfers.digests()
    for place in train.CODE:
        copy = tmp_path / "code" / place.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if place.is_dir() else shutil.copy)(place, copy)
    monkeypatch.setattr(train, "CODE", tuple(tmp_path / "code" / place.relative_to(ROOT) for place in train.CODE))
    assert (runs.digests(), transfers.digests()) == (before, before_transfers), "wherever the code lies"
    with (tmp_path / "code" / file).open("a", encoding="utf-8") as code:
        code.write("CHANGED = True\n")
    assert all(digest != before[cell] for cell, digest in runs.digests().items())
    assert all(digest != before_transfers[name] for name, digest in transfers.digests().items())


@pytest.mark.long
def test_processes_leave_the_same_results(runs: Runs, tmp_path: Path) -> None:
    for processes in (2, 1):
        place = tmp_path / str(processes)
        fan_out(("run", 1), runs.digests(), runs.make, place / "out", place / "memo", processes)
        for file in place.rglob("cost.json"):
            write_json(file, {name: value for name, value in read_json(file).items() if name != "seconds"})
    assert len(list(Path("1/out").rglob("items.parquet"))) == 4
    assert tree_digest(tmp_path / "1") == tree_digest(tmp_path / "2")
