"""An SQLite registry is read again exactly when something was written to it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.history import Entry
from compass_ops.registry.mirror import RegistryRows, Version
from compass_ops.registry.remembered import remembered
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.stages import REFUSED
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.storage import read_json
from pipelines._code import ROOT
from tests.registry.conftest import Decisions, ask
from tests.registry.test_reconcile import promote, statuses

ROWS = RegistryRows(
    [(7, Entry("sw", REFUSED, "ann", "2026-01-01T00:00:00+00:00", "no better", version="1", used_gate=True))],
    {"sw": [Version("1", "Archived", "file:///somewhere", "run", {"digest": "d"})]},
    {"sw": {"candidate": "1"}},
)


class Reader:
    """Counts how often it is asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> RegistryRows:
        self.calls += 1
        return ROWS


@pytest.fixture
def database(project: Path) -> Path:
    return project / "mlruns" / "mlflow.db"


@pytest.fixture
def memory(database: Path) -> Path:
    return database.with_name("mlflow.db.read.json")


def test_what_comes_from_memory_is_what_was_read(database: Path) -> None:
    read = Reader()
    assert remembered(database, read) == remembered(database, read) == ROWS
    assert read.calls == 1


FOREIGN: list[Callable[[Any], object]] = [
    lambda client: client.set_model_version_tag("compass-sw", "1", "compass.seen", "yes"),
    lambda client: client.set_registered_model_alias("compass-sw", "mine", "1"),
    lambda client: client.delete_registered_model_alias("compass-sw", "champion"),
    lambda client: client.delete_model_version("compass-sw", "1"),
]


@pytest.mark.parametrize("write", FOREIGN)
def test_whatever_others_write_is_seen(
    store: RegistryStore, decisions: Decisions, write: Callable[[Any], object]
) -> None:
    promote(store, decisions, "sw", 1)
    before = store.read()["sw"]
    write(open_client(store.location))
    after = RegistryStore(store.location).read()["sw"]
    assert after == store.read_language("sw")
    assert after.state == before.state
    assert after != before


def test_a_decision_is_seen_at_once(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    assert store.read()["sw"].state.hold is None
    ask(store, "held", "sw", "wait")
    assert store.read()["sw"].state.hold is not None


@pytest.mark.parametrize("ending", ["-journal", "-wal"])
def test_beside_a_journal_nothing_is_remembered(database: Path, memory: Path, ending: str) -> None:
    read = Reader()
    database.with_name(database.name + ending).write_bytes(b"")
    remembered(database, read)
    remembered(database, read)
    assert read.calls == 2
    assert not memory.exists()


def test_what_changes_while_it_is_read_is_not_remembered(database: Path, memory: Path) -> None:
    def slow() -> RegistryRows:
        with database.open("ab") as file:
            file.write(b"more")
        return ROWS

    assert remembered(database, slow) == ROWS
    assert not memory.exists()


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": 0}', b"\xff"])
def test_a_damaged_memory_is_made_anew(database: Path, memory: Path, content: bytes) -> None:
    read = Reader()
    memory.write_bytes(content)
    assert remembered(database, read) == remembered(database, read) == ROWS
    assert read.calls == 1


def test_where_nothing_can_be_remembered_the_registry_is_read(database: Path, memory: Path) -> None:
    read = Reader()
    memory.mkdir()
    assert remembered(database, read) == remembered(database, read) == ROWS
    assert read.calls == 2


def test_a_broken_history_is_refused_from_memory_too(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    open_client(store.location).delete_model_version("compass-history", "1")
    for _ in range(2):
        with pytest.raises(RegistryError, match="history is broken before entry 2"):
            RegistryStore(store.location).read()


NOTHING_TO_DO = """
import sys
from pathlib import Path
from compass_ops.registry.location import registry_location
from compass_ops.registry.reconcile import Evidence, reconcile
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore

def store():
    return RegistryStore(registry_location("sqlite:///mlruns/mlflow.db", "compass"))

build = Path("build")
print(*store().read())
reconcile(store(), Evidence(build / "decisions", build / "candidates", build / "drift"), build / "out", manual=False)
write_snapshot(store(), build / "register", Path(".memo"))
print("mlflow" in sys.modules)
"""


@pytest.mark.usefixtures("on_file")
def test_stages_with_nothing_to_do_do_not_import_mlflow(
    store: RegistryStore, decisions: Decisions, project: Path
) -> None:
    promote(store, decisions, "sw", 1)
    write_snapshot(store, project / "build" / "register", project / ".memo")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", NOTHING_TO_DO]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sw", "False"]
    assert statuses(read_json(project / "build" / "out" / "receipts.json")) == {"sw": "unchanged"}
    assert (project / "build" / "register" / "production" / "sw" / "manifest.json").is_file()
