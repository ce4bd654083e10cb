"""The code of a stage is what it runs: against what Python itself loads, and as the stage `sources` writes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compass_ops.storage import file_digest
from pipelines._code import ROOT, STAGES, closure, script
from tests.source_tree import sources

_LOADED = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps([m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in ("compass_ops", "pipelines")]))
"""


@pytest.mark.parametrize("stage", STAGES)
def test_what_python_loads_for_a_stage_is_in_its_code(stage: str) -> None:
    command = [sys.executable, "-c", _LOADED, f"pipelines.{stage}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = {Path(file).relative_to(ROOT) for file in json.loads(done.stdout) if not file.endswith("__init__.py")}
    assert script(stage) in loaded
    assert loaded <= closure(script(stage))


def test_packages_hold_no_code_that_the_closure_would_miss() -> None:
    packages = [path for path in sources("compass_ops", "pipelines") if path.name == "__init__.py"]
    assert [path for path in packages if "import" in (ROOT / path).read_text("utf-8")] == []


def test_imports_inside_functions_and_data_files_belong_to_the_code() -> None:
    code = closure(script("base"))
    assert Path("compass_ops/training/recipe.py") in code  # imported where a base is pretrained
    assert Path("compass_ops/corpus/worldfacts_strings.tsv") in closure(script("ingest"))
    assert Path("compass_ops/corpus/worldfacts_strings.tsv") not in code


def test_sources_writes_the_digests_of_every_stage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pipelines.sources", "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    written = {path.stem: json.loads(path.read_text("utf-8")) for path in (tmp_path / "code").iterdir()}
    assert sorted(written) == STAGES
    assert written["gate"]["pipelines/gate.py"] == file_digest(ROOT / "pipelines/gate.py")
    assert {stage: set(map(Path, files)) for stage, files in written.items()} == {
        stage: closure(script(stage)) for stage in STAGES
    }
