"""The code of a stage is what it runs: against what Python itself loads, and as the stage `sources` writes it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from compass_ops.storage import file_digest
from pipelines._code import ROOT, STAGES, code_of

_LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ("compass_ops", "pipelines")]))
"""


def written_by_sources(folder: Path) -> dict[str, dict[str, str]]:
    """Run the stage in a folder with a params.yaml; return its files by name below build/sources."""
    command = [sys.executable, "-m", "pipelines.sources", "--out", "build/sources"]
    subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=True)
    out = folder / "build" / "sources"
    files = sorted(path.relative_to(out) for path in out.rglob("*.json"))
    return {path.with_suffix("").as_posix(): json.loads((out / path).read_text("utf-8")) for path in files}


@pytest.mark.parametrize("stage", STAGES)
def test_what_python_loads_for_a_stage_is_in_its_code(stage: str) -> None:
    command = [sys.executable, "-c", _LOADED, f"pipelines.{stage}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(file).relative_to(ROOT) for file in json.loads(done.stdout)}
    packages = {path for path in loaded if path.name == "__init__.py"}
    assert Path("pipelines", f"{stage}.py") in loaded
    assert loaded - packages <= code_of(stage)
    assert all("import" not in (ROOT / path).read_text("utf-8") for path in packages)  # they bring nothing with them


def test_imports_inside_functions_and_data_files_belong_to_the_code() -> None:
    code = code_of("base")
    assert Path("compass_ops/training/recipe.py") in code  # imported where a base is pretrained
    assert Path("compass_ops/corpus/worldfacts_strings.tsv") in code_of("ingest")
    assert Path("compass_ops/corpus/worldfacts_strings.tsv") not in code
    assert Path("compass_ops/monitoring/fleet.html") in code_of("report")


def test_sources_writes_the_digests_of_every_stage_and_of_the_files_that_params_name(tmp_path: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    params["sample"]["transfer_matrix"] = "matrix.json"
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    (tmp_path / "matrix.json").write_text("{}", "utf-8")
    written = written_by_sources(tmp_path)
    assert sorted(written) == sorted(["ingest", "sample", "traffic", *(f"code/{stage}" for stage in STAGES)])
    assert written["sample"] == {"matrix.json": file_digest(tmp_path / "matrix.json")}
    assert written["code/gate"]["pipelines/gate.py"] == file_digest(ROOT / "pipelines" / "gate.py")
    assert all(set(map(Path, written[f"code/{stage}"])) == code_of(stage) for stage in STAGES)

    (tmp_path / "matrix.json").write_text("{ }", "utf-8")
    assert written_by_sources(tmp_path) != written


def test_the_lock_of_a_run_is_not_in_git() -> None:
    listed = subprocess.run(["git", "ls-files", "dvc.lock"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout == ""
