"""What a cell of the comparison chooses: what it is remembered by, and what its seconds count."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from benchmarks.selection import choose
from benchmarks.selection.choose import Chooser
from benchmarks.selection.settings import load_comparison
from compass_ops.selection.subset import SelectionFiles
from compass_ops.storage import read_json
from pipelines._code import ROOT
from tests.selection.test_subset import files

__all__ = ["files"]


@pytest.fixture
def chooser(files: SelectionFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Chooser:
    """`random` alone, on files that all clusterings share."""
    comparison = load_comparison(ROOT / "benchmarks" / "selection" / "worldfacts" / "comparison.yaml")
    alone = {"random": comparison.variants["random"]}
    comparison = comparison.model_copy(update={"variants": alone, "budget": 6, "seeds": 1})
    monkeypatch.setattr(Chooser, "files_of", lambda *_: files)
    return Chooser(comparison, files.records, files.vectors, files.clusters, tmp_path / "matrix.json")


@pytest.mark.parametrize(
    "file", ["compass_ops/selection/nearest.py", "benchmarks/selection/choose.py", "benchmarks/selection/measures.py"]
)
def test_other_code_of_choosing_or_measuring_makes_every_choice_anew(
    chooser: Chooser, file: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = chooser.digests(["sw", "tr"])
    for place in choose.CODE:
        copy = tmp_path / "code" / place.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if place.is_dir() else shutil.copy)(place, copy)
    monkeypatch.setattr(choose, "CODE", tuple(tmp_path / "code" / place.relative_to(ROOT) for place in choose.CODE))
    assert chooser.digests(["sw", "tr"]) == before, "wherever the code lies"
    with (tmp_path / "code" / file).open("a", encoding="utf-8") as code:
        code.write("CHANGED = True\n")
    assert all(digest != before[cell] for cell, digest in chooser.digests(["sw", "tr"]).items())


def test_the_seconds_of_a_choice_count_its_distances_and_not_the_pool_s_reading(
    chooser: Chooser, files: SelectionFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    now = 0.0
    problem, read = SelectionFiles.problem, files.pool

    def slow(own: SelectionFiles, *given: Any) -> Any:
        nonlocal now
        now += 5
        return problem(own, *given)

    def pool(_: SelectionFiles) -> Any:
        nonlocal now
        now += 100 if now == 0 else 0
        return read

    monkeypatch.setattr(SelectionFiles, "problem", slow)
    monkeypatch.setattr(SelectionFiles, "pool", property(pool))
    monkeypatch.setattr("benchmarks.selection.choose.time.perf_counter", lambda: now)
    chooser.make("random/sw/0", tmp_path / "made")
    assert read_json(tmp_path / "made" / "measures.json")["seconds"] == 5
