"""docs/registry.md is a session: every command is run, in its order, and says what the page says."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from compass_ops.cli.main import main
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.stages import MOVES
from compass_ops.registry.store import RegistryStore
from pipelines._code import ROOT
from tests.registry.conftest import Decisions, decisions, migrated, project, store
from tests.registry.test_reconcile import promote, run

__all__ = ["decisions", "migrated", "project", "store"]

PAGE = (ROOT / "docs" / "registry.md").read_text("utf-8")
# What differs from run to run: times, and digests, which hold times.
_PASSING = (re.compile(r"\d{4}-\d\d-\d\d(T[\d:.]+)?"), re.compile(r"\b[0-9a-f]{12}\b"))


def session() -> list[tuple[str, str]]:
    """Return the page's commands, each with what the page says that it prints."""
    blocks = re.findall(r"^```console\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^\$ ", "".join(blocks), flags=re.MULTILINE)[1:]
    return [(command, printed) for command, _, printed in (part.partition("\n") for part in parts)]


class Shell:
    """Runs commands in a project: `compass` in this process, others in one of their own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.exit_code = 0

    def __call__(self, command: str) -> str:
        if command == "echo $?":
            return f"{self.exit_code}\n"
        words = shlex.split(command)
        if words[0] == "compass":
            result = CliRunner().invoke(main, words[1:])
            self.exit_code = result.exit_code
            return result.output.replace(str(self.root), ".")
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        done = subprocess.run(words, cwd=self.root, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def settled(printed: str) -> list[str]:
    """Return lines without what differs from run to run, and without the padding of columns."""
    for passing in _PASSING:
        printed = passing.sub("*", printed)
    return [re.sub(r" {2,}", "  ", line).rstrip() for line in printed.splitlines()]


@pytest.fixture
def fleet(project: Path, store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two languages with two champions each, a third version of one that waits, and copies as a run leaves them."""
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ann")
    shutil.copy(ROOT / "params.yaml", project / "params.yaml")
    for seed in (1, 2):
        for language in ("sw", "tr"):
            promote(store, decisions, language, seed)
        write_snapshot(RegistryStore(store.location), project / "build" / "register", project / ".memo" / "versions")
    state = store.read_language("sw").state
    decisions.decide("sw", decisions.candidate("sw", 3), against=("2", state.digests["2"]))
    run(store, decisions, manual=True)
    return project


def test_the_session_goes_as_the_page_says(fleet: Path) -> None:
    shell = Shell(fleet)
    commands = session()
    assert len(commands) > 15
    for command, printed in commands:
        assert settled(shell(command)) == settled(printed), command


def test_its_table_of_moves_is_the_codes() -> None:
    table = PAGE.split("## Legal moves")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")][2:]
    told = {kind: {(source, target) for source in sources.split(", ")} for kind, sources, target, _ in rows}
    assert told == {kind: set(moves) for kind, moves in MOVES.items()}
