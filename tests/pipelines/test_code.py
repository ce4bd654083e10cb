"""The code of a stage is what it runs: against what Python itself loads, and as the stage `sources` writes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from compass_ops.storage import file_digest
from pipelines import _code
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


def test_a_relative_import_is_refused_where_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "late.py").write_text("def main():\n    from . import other\n", "utf-8")
    monkeypatch.setattr(_code, "ROOT", tmp_path)
    with pytest.raises(_code.CodeError, match=r"pipelines/late.py:2: a relative import cannot be followed"):
        closure(script("late"))


def test_two_data_files_of_one_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("corpus", "serving"):
        (tmp_path / "twins" / room).mkdir(parents=True)
        (tmp_path / "twins" / room / "strings.tsv").touch()
    (tmp_path / "twins" / "module.py").write_text("NAME = 'strings.tsv'\n", "utf-8")
    monkeypatch.setattr(_code, "ROOT", tmp_path)
    with pytest.raises(_code.CodeError, match=r"have one name"):
        closure(Path("twins", "module.py"))


def test_the_lock_of_a_run_is_not_in_git() -> None:
    listed = subprocess.run(["git", "ls-files", "dvc.lock"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert listed.stdout == ""


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
