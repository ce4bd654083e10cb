"""dvc.yaml says what is so: stages, code, options, paths and params."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from compass_ops.params import Params
from pipelines._code import ROOT, STAGES, code_of
from tests.source_tree import attribute_paths

ROAD: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text("utf-8"))
PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
# Params that a stage reads and that decide no file of it, with the reason.
WITHOUT_EFFECT = {"train": {"registry"}}  # where its runs are tracked
# Dependencies that stand for files elsewhere, which the stage reads by the globs of params.yaml.
STAND_INS = {f"build/sources/{stage}.json" for stage in ("ingest", "sample", "traffic")}
CODE = "build/sources/code"
_READ = re.compile(
    rf"(?:self\.)?(?:params|load_params\(\))\.((?:{'|'.join(Params.model_fields)})(?:\.[a-z_]+)?)$",
)


def dependencies(stage: str) -> list[str]:
    """Return what the stage depends on besides its code."""
    return [path for path in ROAD["stages"][stage].get("deps", []) if not path.startswith(CODE)]


def always_runs(stage: str) -> bool:
    """Tell whether the stage runs each time."""
    return bool(ROAD["stages"][stage].get("always_changed"))


def outputs(stage: str) -> list[str]:
    """Return the stage's outputs."""
    return [next(iter(out)) if isinstance(out, dict) else out for out in ROAD["stages"][stage]["outs"]]


def options(stage: str) -> dict[str, str]:
    """Return {option: value} of the stage's command line."""
    words = ROAD["stages"][stage]["cmd"].split()
    assert words[:3] == ["python", "-m", f"pipelines.{stage}"]
    return dict(zip(words[3::2], words[4::2], strict=True))


def overlap(first: str, second: str) -> bool:
    """Tell whether one path is the other or lies inside it."""
    one, other = Path(first), Path(second)
    return one.is_relative_to(other) or other.is_relative_to(one)


def difference(kind: str, declared: set[str], needed: set[str]) -> str:
    """Print what to add and what to remove, as dvc.yaml's own lines."""
    lines = [f"      - {line}    # missing" for line in sorted(needed - declared)]
    lines += [f"      - {line}    # superfluous" for line in sorted(declared - needed)]
    return "\n".join([f"{kind} in dvc.yaml:", *lines])


def test_every_script_has_its_stage_and_every_stage_its_script() -> None:
    assert sorted(ROAD["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_may_be_skipped_depends_on_its_code(stage: str) -> None:
    code = [path for path in ROAD["stages"][stage].get("deps", []) if path.startswith(CODE)]
    assert code == ([] if always_runs(stage) else [f"{CODE}/{stage}.json"])


@pytest.mark.parametrize("stage", STAGES)
def test_the_options_of_a_command_are_those_of_its_script(stage: str) -> None:
    command = importlib.import_module(f"pipelines.{stage}").main
    declared = {name for option in command.params for name in option.opts}
    assert set(options(stage)) == declared


@pytest.mark.parametrize("stage", STAGES)
def test_every_path_is_a_dependency_or_an_output(stage: str) -> None:
    given, inputs = options(stage), dependencies(stage)
    read = [path for name, path in given.items() if name != "--out"]
    undeclared = [path for path in read if not any(overlap(path, dependency) for dependency in inputs)]
    assert not undeclared, f"{stage} reads {undeclared}, which dvc.yaml does not declare"
    named = [dependency for dependency in inputs if dependency not in STAND_INS]
    unread = [dependency for dependency in named if not any(overlap(path, dependency) for path in read)]
    assert not unread, f"{stage} depends on {unread}, which its command does not name"
    assert all(Path(out).is_relative_to(given["--out"]) for out in outputs(stage))


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_reads_the_transfer_matrix_depends_on_its_digest(stage: str) -> None:
    reads = Path("compass_ops/selection/subset.py") in code_of(stage) and "sample" in ROAD["stages"][stage]["params"]
    assert ("build/sources/sample.json" in dependencies(stage)) == reads


@pytest.mark.parametrize("stage", STAGES)
def test_data_come_from_earlier_stages(stage: str) -> None:
    earlier = [out for other in ROAD["stages"] if other != stage for out in outputs(other)]
    orphans = [path for path in dependencies(stage) if not any(overlap(path, out) for out in earlier)]
    assert not orphans, f"{stage} depends on {orphans}, which no stage makes"


def params_read(stage: str) -> set[str]:
    """Return the params that a stage's code mentions, ``section`` or ``section.key``, longest form alone."""
    files = [path for path in code_of(stage) if path.suffix == ".py"]
    found = {match[1] for path in files for read in attribute_paths(path) if (match := _READ.match(read))}
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


@pytest.mark.parametrize("stage", STAGES)
def test_the_params_of_a_stage_are_those_that_its_code_reads(stage: str) -> None:
    declared: list[str] = ROAD["stages"][stage].get("params", [])
    read = set() if always_runs(stage) else params_read(stage)
    free = WITHOUT_EFFECT.get(stage, set())
    missing = {name for name in read if name.split(".")[0] not in free}
    missing = {name for name in missing if not any(f"{name}.".startswith(f"{given}.") for given in declared)}
    unread = {given for given in declared if not any(f"{name}.".startswith(f"{given}.") for name in read)}
    assert not (missing | unread), difference(f"params of {stage}", unread, missing)


@pytest.mark.parametrize("stage", STAGES)
def test_the_params_of_a_stage_exist(stage: str) -> None:
    for name in ROAD["stages"][stage].get("params", []):
        value: Any = PARAMS
        for key in name.split("."):
            assert key in value, f"{stage}: params.yaml has no {name}"
            value = value[key]


def test_metrics_and_plots_lie_in_outputs() -> None:
    shown = [*ROAD["metrics"], *(name for plot in ROAD["plots"] for name in plot)]
    made = [out for stage in STAGES for out in outputs(stage)]
    assert [path for path in shown if not any(Path(path).is_relative_to(out) for out in made)] == []


def test_stages_that_look_outside_always_run() -> None:
    always = {stage for stage in STAGES if always_runs(stage)}
    touching = {stage for stage in STAGES if Path("compass_ops/registry/store.py") in code_of(stage)}
    assert always == touching | {"sources", "report"}
