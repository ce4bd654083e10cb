import getpass
import subprocess
from pathlib import Path

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.location import (
    author,
    git_commit,
    located,
    project_root,
    registry_location,
    running_experiment,
)

URI = "sqlite:///mlruns/mlflow.db"


def test_a_relative_database_lies_in_the_project(project: Path) -> None:
    location = registry_location(URI, "compass")
    assert location.database == project / "mlruns" / "mlflow.db"
    assert location.artifacts == (project / "mlruns" / "artifacts" / "compass").as_uri()


def test_a_call_from_a_folder_below_finds_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "dvc.yaml").write_text("stages: {}\n")
    (project / "build" / "train").mkdir(parents=True)
    monkeypatch.chdir(project / "build" / "train")
    assert project_root() == project


@pytest.mark.parametrize("stated", [True, False])
def test_a_temporary_experiment_meets_the_projects_registry(
    project: Path, monkeypatch: pytest.MonkeyPatch, stated: bool
) -> None:
    workspace = project / ".dvc" / "tmp" / "exps" / "standalone" / "tmpabc"
    workspace.mkdir(parents=True)
    (workspace / "dvc.yaml").write_text("stages: {}\n")
    monkeypatch.chdir(workspace)
    if stated:
        monkeypatch.setenv("DVC_ROOT", str(workspace))
    assert registry_location(URI, "compass").database == project / "mlruns" / "mlflow.db"


def test_the_environment_overrides_params(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ann:secret@mlflow.example.org")
    location = registry_location(URI, "compass")
    assert (location.database, location.artifacts) == (None, None)
    assert location.shown == "https://***@mlflow.example.org"
    database = located("postgresql+psycopg2://ann:sec/secret@db/mlflow", "compass")
    assert database.shown == "postgresql+psycopg2://***@db/mlflow"


@pytest.mark.parametrize(
    "uri",
    [
        "mlruns",
        "file:///tmp/mlruns",
        "ftp://x",
        "postgres://ann:secret@db/mlflow",
        "ann:secret@db:5000",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///mlruns/mlflow.db?timeout=5",
        "sqlite:///a%41/mlflow.db",
    ],
)
def test_a_uri_that_cannot_hold_a_registry_is_refused(project: Path, uri: str) -> None:
    with pytest.raises(RegistryError, match="cannot hold a registry") as caught:
        registry_location(uri, "compass")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../x", "a b", "x" * 101])
def test_an_experiments_name_is_checked(project: Path, name: str) -> None:
    with pytest.raises(RegistryError, match="cannot name an experiment"):
        registry_location(URI, name)


def test_the_author_is_the_servers_user_or_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    assert author() == "ann"
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    assert author() == getpass.getuser()


def test_the_running_experiment_is_dvcs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    assert running_experiment() is None
    monkeypatch.setenv("DVC_EXP_NAME", "ashen-leaf")
    assert running_experiment() == "ashen-leaf"


def test_the_commit_says_whether_files_differ_from_it(tmp_path: Path) -> None:
    assert git_commit(tmp_path) is None
    (tmp_path / "a").write_text("1")
    identity = ["-c", "user.name=ann", "-c", "user.email=ann@example.org"]
    for command in (["init", "-q"], ["add", "a"], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    commit = git_commit(tmp_path)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{commit}-dirty"
