"""The benchmarks' pipelines are ones that DVC takes: each stage's parameters are there."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PIPELINES = sorted(path.relative_to(ROOT) for path in ROOT.glob("benchmarks/*/dvc.yaml"))
STAGES: list[tuple[Path, str, dict[str, Any]]] = [
    (path, name, stage["do"])
    for path in PIPELINES
    for name, stage in yaml.safe_load((ROOT / path).read_text("utf-8"))["stages"].items()
]
# How errors are told, files and params read, cells remembered: nothing of what a stage leaves.
PLUMBING = (
    "benchmarks.options", "benchmarks.reporting", "compass_ops.errors", "compass_ops.fanout",
    "compass_ops.model_files", "compass_ops.params", "compass_ops.sections", "compass_ops.source_sections",
    "compass_ops.storage", "compass_ops.tend_sections", "pipelines._stage",
)  # fmt: skip
# Modules that a stage imports through others and does not run, with the reason.
WITHOUT_EFFECT = {
    "cluster": {"compass_ops.selection.ngrams"},  # problem.py's texts; it takes `spread` from there
    # training/adapt.py's anchors and training/base.py's embedder; it takes what a base is from there
    "run": {f"compass_ops.selection.{name}" for name in ("centring", "embed", "vectors")},
}


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_every_parameter_of_a_stage_stands_in_its_params_file(pipeline: Path) -> None:
    """``dvc repro`` would refuse the stage otherwise, after the stages before it."""
    for stage in yaml.safe_load((ROOT / pipeline).read_text("utf-8"))["stages"].values():
        for item in stage["foreach"]:
            folder = (ROOT / pipeline).parent / stage["do"]["wdir"].replace("${item}", item)
            for param in stage["do"]["params"]:
                [(name, keys)] = param.items() if isinstance(param, dict) else [("params.yaml", [param])]
                value = yaml.safe_load((folder / name).read_text("utf-8"))
                for key in keys or ():
                    place = value
                    for part in key.split("."):
                        assert part in place, f"{pipeline}: {item} has no {key} in {name}"
                        place = place[part]


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda path: path.parent.name)
def test_dvc_reads_the_pipeline(pipeline: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", str(pipeline)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "@" in done.stdout


@cache
def imports() -> grimp.ImportGraph:
    """Return who imports whom, without the plumbing and what that imports alone."""
    graph = grimp.build_graph("compass_ops", "pipelines", "benchmarks", cache_dir=None)
    for module in PLUMBING:
        graph.remove_module(module)
    return graph


@pytest.mark.parametrize(
    ("pipeline", "name", "stage"), STAGES, ids=[f"{path.parent.name}-{name}" for path, name, _ in STAGES]
)
def test_a_stage_depends_on_the_code_that_it_imports(pipeline: Path, name: str, stage: dict[str, Any]) -> None:
    """DVC does not follow imports: without the dependency it would keep what other code made."""
    [script] = re.findall(r"python -m (\S+)", stage["cmd"])
    modules = {script, *imports().find_upstream_modules(script)} - WITHOUT_EFFECT.get(name, set())
    needed = {Path(*module.split(".")).with_suffix(".py") for module in modules}
    folder = pipeline.parent / "worldfacts"
    declared = {Path(os.path.normpath(folder / path)) for path in stage["deps"] if path.startswith("..")}
    assert {path for path in needed if not any(path.is_relative_to(own) for own in declared)} == set(), "missing"
    assert {own for own in declared if not any(path.is_relative_to(own) for path in needed)} == set(), "superfluous"
