"""The registry and the names that commands are given: a read-only one, one of a newer MLflow, names that none takes."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from compass_ops.registry.store import RegistryStore
from compass_ops.storage import file_digest
from pipelines._code import ROOT
from tests.cli.conftest import Compass
from tests.registry.conftest import Decisions
from tests.registry.test_reconcile import promote

NAMES = ("../x", "sw/../../x", "sw'; --", "sw%", "..%2fx", "sw?x=1", "ѕw", "ｓｗ", "sw\u202e", "a" * 300)
CALLS = (
    ("show",),
    ("history",),
    ("diff", "1", "2"),
    ("verify",),
    ("promote", "--why", "x"),
    ("stage", "--why", "x"),
    ("approve", "--why", "x"),
    ("reject", "--why", "x"),
    ("rollback", "--why", "x"),
    ("archive", "--why", "x"),
    ("hold", "--why", "x"),
    ("release",),
    ("restore", "--why", "x"),
    ("export", "--out", "exported"),
    ("plan",),
)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call[0])
def test_no_command_takes_a_name_that_could_touch_a_path_or_a_query(
    compass: Compass, store: RegistryStore, decisions: Decisions, project: Path, call: tuple[str, ...]
) -> None:
    promote(store, decisions, "sw", 1)
    before = sorted(project.rglob("*"))
    for name in NAMES:
        result = compass(call[0], name, *call[1:])
        assert result.exit_code in (1, 2, 4), (name, result.output)
        assert "Traceback" not in result.output
        assert len(result.output) < 700, name
    assert sorted(path for path in project.rglob("*") if not path.name.startswith("mlflow.db")) == [
        path for path in before if not path.name.startswith("mlflow.db")
    ]
    assert len(store.read_language("sw").state.entries) == 1


def test_the_registry_that_is_named_is_the_one_whatever_the_environment_says(
    compass: Compass, store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlruns/elsewhere.db")
    assert "sw" not in compass("status").output
    assert "sw" in compass("--uri", store.location.uri, "status").output


@pytest.mark.parametrize("version", ["0", "-1", "1.0", "١", "1 or 1=1", "../1", "9" * 300])
def test_no_command_takes_a_version_that_is_no_number(
    compass: Compass, store: RegistryStore, decisions: Decisions, version: str
) -> None:
    promote(store, decisions, "sw", 1)
    for call in (("promote", "--why", "x"), ("archive", "--why", "x"), ("show",)):
        result = compass(call[0], f"sw/{version}", *call[1:])
        assert (result.exit_code, "is not a version number" in result.output) == (1, True), result.output
    assert "is not a version number" in compass("rollback", "sw", f"--to={version}", "--why", "x").output


def _without_roots_rights() -> list[str]:
    """Return what makes file permissions count, also for root."""
    if os.getuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write everywhere, and setpriv, which would take that right away, is not installed")
    return ["setpriv", "--inh-caps=-all", "--bounding-set=-dac_override"]


def _called(project: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*_without_roots_rights(), sys.executable, "-m", "compass_ops.cli", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("on_file", "compass")
def test_a_registry_that_cannot_be_written_is_read_and_says_so_when_it_is_to_change(
    store: RegistryStore, decisions: Decisions, project: Path
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    database = project / "mlruns" / "mlflow.db"
    before = file_digest(database)
    database.chmod(0o444)
    database.parent.chmod(0o555)
    try:
        status = _called(project, "status")
        rolled = _called(project, "rollback", "sw", "--why", "x")
    finally:
        database.parent.chmod(0o755)
    assert (status.returncode, status.stdout.splitlines()[1].split()[:2]) == (0, ["sw", "2"]), status.stderr
    assert (rolled.returncode, rolled.stdout) == (1, "")
    assert "Its files cannot be written here: fix their permissions" in rolled.stderr
    assert "Traceback" not in rolled.stderr
    assert file_digest(database) == before


@pytest.mark.usefixtures("on_file", "compass")
def test_a_database_of_another_mlflow_is_named_with_the_way_on(
    store: RegistryStore, decisions: Decisions, project: Path
) -> None:
    promote(store, decisions, "sw", 1)
    database = sqlite3.connect(project / "mlruns" / "mlflow.db")
    with database:
        database.execute("UPDATE alembic_version SET version_num = 'of the future'")
    database.close()
    told = _called(project, "rollback", "sw", "--why", "x")
    assert (told.returncode, told.stdout) == (1, "")
    assert "The database belongs to another version of MLflow" in told.stderr
    assert "Traceback" not in told.stderr
