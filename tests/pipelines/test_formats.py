"""A finished language is remembered under its inputs and its stage's format number, not under the code that made it.

So who changes what a stage writes must raise the stage's number, or others get what the old code made. This test
compares what the stages leave with ``golden.json``; ``python -m tests.pipelines.test_formats`` renews that file.
"""

import ast
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file

from compass_ops.storage import read_array, read_json
from tests.pipelines.conftest import Road
from tests.pipelines.project import REPOSITORY, Project
from tests.pipelines.questions import small, write_data

pytestmark = pytest.mark.long

GOLDEN = Path(__file__).with_name("golden.json")
# Where each format number stands, and one language (or part) that its stage makes something for.
STAGES = {
    "base": ("pipelines/base.py", "model"),
    "embed": ("pipelines/embed.py", "target/ca"),
    "sample": ("pipelines/sample.py", "ca"),
    "train": ("pipelines/train.py", "ca"),
    "evaluate": ("compass_ops/evaluation/evaluate.py", "ca"),
    "update": ("pipelines/update.py", "ca"),
}
# Processors round differently, and training makes much of little.
RELATIVE, ABSOLUTE = 0.25, 0.05


def format_of(stage: str) -> int:
    """Return the format number in a stage's code."""
    for node in ast.parse((REPOSITORY / STAGES[stage][0]).read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FORMAT":
            return int(ast.literal_eval(node.value))
    raise AssertionError(f"{STAGES[stage][0]} has no FORMAT")


def fingerprint(folder: Path) -> dict[str, Any]:
    """Return what a language's files are like: names, columns, keys, shapes (exact) and sizes of numbers (about)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _look(path) for path in files}


def _look(path: Path) -> dict[str, Any]:
    if path.suffix == ".parquet":
        return {"columns": [f"{field.name}: {field.type}" for field in pq.read_schema(path)]}
    if path.suffix == ".npy":
        array = read_array(path)
        return {"array": [str(array.dtype), *array.shape], "size": _size(array)}
    if path.suffix == ".safetensors":
        weights = load_file(path)
        size = float(np.mean([_size(array) for array in weights.values()]))
        shapes = [f"{name}: {'x'.join(map(str, array.shape))}" for name, array in sorted(weights.items())]
        return {"weights": shapes, "size": size}
    value = read_json(path)
    if path.name == "curve.json":
        return {"keys": sorted(_keys(value)), "size": value[-1]["loss"]}
    return {"keys": sorted(_keys(value))}


def _size(array: Any) -> float:
    return float(np.sqrt(np.mean(np.square(array.astype(np.float64)))))


def _keys(value: Any, name: str = "") -> Iterator[str]:
    """Yield the paths of a JSON value's keys; below the second, keys may be data."""
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict) and name.count("/") < 2:
        for key, inner in value.items():
            yield from _keys(inner, f"{name}/{key}")
    else:
        yield name


def found_in(project: Project, stage: str) -> dict[str, Any]:
    """Return a stage's entry of the golden file as a project has it."""
    folder = project.root / "build" / stage / STAGES[stage][1]
    if stage == "update":  # once its window is adopted, the stage's output says that there is nothing to do
        [done] = project.finished(stage)
        folder = project.root / ".memo" / stage / done
    return {"format": format_of(stage), "files": fingerprint(folder)}


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_writes_is_what_its_format_number_stands_for(road: Road, stage: str) -> None:
    golden, found = read_json(GOLDEN)[stage], found_in(road.project, stage)
    advice = f"raise FORMAT in {STAGES[stage][0]}, then run `python -m tests.pipelines.test_formats`"
    assert golden["format"] == found["format"], "golden.json is of another format; renew it"
    assert golden["files"].keys() == found["files"].keys(), advice
    for name, look in golden["files"].items():
        other = found["files"][name]
        size, expected = other.pop("size", None), look.pop("size", None)
        assert other == look, f"{name}: {advice}"
        if expected is not None:
            assert size == pytest.approx(expected, rel=RELATIVE, abs=ABSOLUTE), f"{name}: {advice}"


def test_every_stage_that_fans_out_has_its_golden_entry() -> None:
    code = [*(REPOSITORY / "pipelines").glob("*.py"), *(REPOSITORY / "compass_ops").rglob("*.py")]
    calling = {path.relative_to(REPOSITORY).as_posix() for path in code if " fan_out((" in path.read_text("utf-8")}
    assert calling == {file for file, _ in STAGES.values()}


def renew() -> None:
    """Write the golden file from a fresh run of the small project."""
    with tempfile.TemporaryDirectory(prefix="compass.") as folder:
        project = Project.create(Path(folder) / "project", small, write_data)
        project.repro().check_returncode()
        golden = {stage: found_in(project, stage) for stage in STAGES}
    GOLDEN.write_text(json.dumps(golden, indent=1, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    renew()
