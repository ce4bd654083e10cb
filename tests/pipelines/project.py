"""A whole project made small: the repository's own stages on three languages and a model of a few thousand weights."""

import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from compass_ops.storage import read_json

REPOSITORY = Path(__file__).parents[2]
ALWAYS = {"sources", "snapshot", "register", "promote", "report"}
FIRST_LINE = "Running stage '"
# What another project of whoever runs the tests must not decide here.
_FOREIGN = ("DVC_EXP_NAME", "DVC_ROOT", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_TRACKING_URI", "PYTHONDONTWRITEBYTECODE")
_SETTINGS = {
    "DO_NOT_TRACK": "1",
    "DVC_NO_ANALYTICS": "1",
    "GIT_AUTHOR_EMAIL": "test@example.org",
    "GIT_AUTHOR_NAME": "test",
    "GIT_COMMITTER_EMAIL": "test@example.org",
    "GIT_COMMITTER_NAME": "test",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}

Change = Callable[[dict[str, Any]], None]


class Ended(subprocess.CompletedProcess[str]):
    """A command that ended, with stdout and stderr in ``stdout``."""

    @property
    def stages(self) -> list[str]:
        """Stages that `dvc repro` ran, in order."""
        lines = [line for line in self.stdout.splitlines() if line.startswith(FIRST_LINE)]
        return [line.removeprefix(FIRST_LINE).partition("'")[0] for line in lines]


class Project:
    """A project's folder, and what a user does in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def create(cls, root: Path, change: Change, data: Callable[[Path], None] | None = None) -> "Project":
        """Make a project of the repository's code with changed params, in a git repository of its own.

        ``data`` writes the project's data into a folder.
        """
        root.mkdir(parents=True)
        for name in ("compass_ops", "pipelines"):
            shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore"):
            shutil.copy(REPOSITORY / name, root / name)
        project = cls(root)
        project.change(change)
        if data is not None:
            data(root / "data")
        project.run("git", "init", "--quiet").check_returncode()
        project.run("dvc", "init", "--quiet").check_returncode()
        shutil.copy(REPOSITORY / ".dvc" / "config", root / ".dvc" / "config")
        project.commit("start")
        return project

    def copy(self, root: Path) -> "Project":
        """Copy the project with all that it made, and let the registry's copy point to its own artifacts."""
        shutil.copytree(self.root, root, symlinks=True)
        database = root / "mlruns" / "mlflow.db"
        if database.exists():
            _move_artifacts(database, self.root, root)
        return Project(root)

    def change(self, change: Change) -> None:
        """Change params.yaml; comments are lost."""
        path = self.root / "params.yaml"
        params = yaml.safe_load(path.read_text("utf-8"))
        change(params)
        path.write_text(yaml.safe_dump(params, sort_keys=False, allow_unicode=True), "utf-8")

    def commit(self, message: str) -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "--all").check_returncode()
        self.run("git", "commit", "--quiet", "--message", message).check_returncode()

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> Ended:
        """Run a command as in the project's shell."""
        with self.started(*command, environment=environment) as process:
            output, _ = process.communicate()
        return Ended(command, process.returncode, output)

    def repro(self, *arguments: str) -> Ended:
        """Run `dvc repro`."""
        return self.run("dvc", "repro", *arguments)

    def compass(self, *arguments: str) -> Ended:
        """Run `compass`, also where the package is not installed."""
        return self.run("python", "-m", "compass_ops.cli", *arguments)

    def stage(self, name: str, *, environment: Mapping[str, str] | None = None, **other: Path) -> Ended:
        """Run one stage's command of dvc.yaml, with other paths for some of its options."""
        return self.run(*self.command(name, **other), environment=environment)

    def command(self, name: str, **other: Path) -> list[str]:
        """Return a stage's command."""
        road = yaml.safe_load((self.root / "dvc.yaml").read_text("utf-8"))
        words: list[str] = shlex.split(road["stages"][name]["cmd"])
        for option, path in other.items():
            words[words.index(f"--{option}") + 1] = str(path)
        return words

    @contextmanager
    def started(self, *command: str, environment: Mapping[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
        """Start a command at the head of a process group; what is left of the group is killed in the end."""
        with subprocess.Popen(
            command,
            cwd=self.root,
            env=self._environment() | dict(environment or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
        path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
        return kept | _SETTINGS | {"PATH": path}

    def json(self, *parts: str) -> Any:
        """Read a JSON file below build/."""
        return read_json(self.root.joinpath("build", *parts))

    def finished(self, stage: str) -> set[str]:
        """Return the names of what a stage has finished in the memo."""
        folder = self.root / ".memo" / stage
        return {path.name for path in folder.glob("*") if path.is_dir() and len(path.name) == 64}

    def status(self) -> dict[str, dict[str, str | None]]:
        """Return what `compass status --json` says, by language."""
        ended = self.compass("status", "--json")
        ended.check_returncode()
        return {row["language"]: row for row in yaml.safe_load(ended.stdout)}


def until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    """Wait until a condition holds while a process runs."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(
                f"{process.args!r} ended, or {seconds} s went by, before the moment that was waited for"
            )
        time.sleep(0.01)


def _move_artifacts(database: Path, old: Path, new: Path) -> None:
    """MLflow keeps absolute addresses."""
    columns = {
        "experiments": ("artifact_location",),
        "model_versions": ("source", "storage_location"),
        "runs": ("artifact_uri",),
    }
    connection = sqlite3.connect(database)
    with connection:
        for table, names in columns.items():
            for name in names:
                query = f"UPDATE {table} SET {name} = replace({name}, ?, ?)"
                connection.execute(query, (old.as_uri() + "/", new.as_uri() + "/"))
    connection.close()
