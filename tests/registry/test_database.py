"""What is read without MLflow is what MLflow reads."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry import store as store_module
from compass_ops.registry.database import KNOWN_SCHEMAS, is_known, read_database
from compass_ops.registry.rows import rows_from
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.registry.transact import transact
from compass_ops.storage import read_json
from pipelines._code import ROOT
from tests.registry.conftest import Decisions, ask
from tests.registry.test_reconcile import promote, statuses
from tests.registry.test_transact import asks

pytestmark = pytest.mark.usefixtures("on_file")


def database_of(store: RegistryStore) -> Path:
    database = store.location.database
    assert database is not None
    return database


def views(store: RegistryStore) -> object:
    """Return what is read of all languages together, and of each."""
    fresh = RegistryStore(store.location)
    return fresh.read(), {language: fresh.read_language(language) for language in ("sw", "tr", "zh-Hant", "zu")}


def by_mlflow(store: RegistryStore, monkeypatch: pytest.MonkeyPatch) -> object:
    with monkeypatch.context() as patch:
        patch.setattr(store_module, "read_database", lambda *_: None)
        return views(store)


def test_both_ways_of_reading_find_the_same(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert views(store) == by_mlflow(store, monkeypatch)
    for language in ("sw", "zh-Hant"):
        promote(store, decisions, language, 1)
        promote(store, decisions, language, 2, window="0002")
    ask(store, "rolled back", "sw", "sauti mbaya – 声音不好")
    ask(store, "released", "sw", "sauti nzuri")
    transact(store, asks("held", "sw", "zh-Hant"))
    client = open_client(store.location)
    client.create_registered_model("compass-tr")  # without a version
    client.create_registered_model("Compass-sw")  # somebody else's
    client.create_model_version("Compass-sw", "compass:/nowhere")
    client.set_model_version_tag("compass-sw", "2", "not ours", "x")
    client.create_model_version("compass-sw", "compass:/nowhere")
    client.delete_model_version("compass-sw", "3")
    with store.claimed():
        assert views(store) == by_mlflow(store, monkeypatch)
    rows = rows_from(*store._found())
    assert [version.number for version in rows.versions["sw"]] == ["1", "2"]
    assert rows.aliases == {"sw": {"champion": "1"}, "tr": {}, "zh-Hant": {"champion": "2"}}
    assert len(rows.entries) == 8
    assert [entry.kind for entry in store.read_language("zh-Hant").state.entries] == ["promoted", "promoted", "held"]


def test_the_schema_that_is_known_is_that_of_the_mlflow_that_is_installed(store: RegistryStore) -> None:
    with sqlite3.connect(database_of(store)) as connection:
        assert {revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")} <= set(
            KNOWN_SCHEMAS
        )
    connection.close()


@pytest.mark.parametrize("change", ["UPDATE alembic_version SET version_num = 'newer'", "DROP TABLE model_versions"])
def test_what_is_not_known_is_left_to_mlflow(store: RegistryStore, change: str) -> None:
    with sqlite3.connect(database_of(store)) as connection:
        connection.execute("PRAGMA foreign_keys = off")
        connection.execute(change)
    connection.close()
    assert read_database(database_of(store)) is None


def test_what_is_no_database_and_another_workspace_are_left_to_mlflow(
    store: RegistryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no.db").write_text("no database")
    assert read_database(tmp_path / "no.db") is None
    assert read_database(tmp_path / "none.db") is None
    assert not (tmp_path / "none.db").exists()
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    assert read_database(database_of(store)) is None


def loads_mlflow(store: RegistryStore, command: list[str]) -> bool:
    """Whether a command, which must end well, loads MLflow."""
    code = (
        "import sys; from click.testing import CliRunner; from compass_ops.cli.main import main;"
        f"result = CliRunner().invoke(main, ['--uri', {store.location.uri!r}, *{command!r}]);"
        "assert result.exit_code == 0 and result.output, result.output;"
        "print('mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stdout.strip() in ("True", "False"), done.stderr
    return done.stdout.strip() == "True"


@pytest.mark.parametrize("looking", [["status"], ["history", "sw"], ["show", "sw"], ["verify", "--all"]])
def test_looking_needs_no_mlflow(store: RegistryStore, decisions: Decisions, looking: list[str]) -> None:
    promote(store, decisions, "sw", 1)
    assert not loads_mlflow(store, looking)


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


def test_a_deleted_entry_stops_every_reader_and_every_decision(store: RegistryStore, decisions: Decisions) -> None:
    """Also that of another language, and the newest one, which no other names yet."""
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "tr", 1)
    open_client(store.location).delete_model_version("compass-history", "2")
    for look in (lambda: store.read(), lambda: store.read_language("sw"), lambda: ask(store, "held", "sw", "x")):
        with pytest.raises(RegistryError, match="history is broken: entry 2 was deleted"):
            look()


def test_a_file_with_another_workspace_is_left_to_mlflow_which_refuses_it(store: RegistryStore) -> None:
    with sqlite3.connect(database_of(store)) as connection:
        connection.execute("INSERT INTO registered_models (name, workspace) VALUES ('x', 'team-a')")
    connection.close()
    assert not is_known(database_of(store))


def test_an_empty_file_is_no_registry_yet_and_looking_does_not_make_one(store: RegistryStore) -> None:
    database_of(store).write_bytes(b"")
    assert store.read() == {}
    assert store.read_language("sw").versions == {}
    assert database_of(store).read_bytes() == b""


def test_a_decision_is_seen_at_once(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    assert store.read()["sw"].state.hold is None
    ask(store, "held", "sw", "wait")
    assert store.read()["sw"].state.hold is not None


def test_a_broken_history_is_refused(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    open_client(store.location).delete_model_version("compass-history", "1")
    with pytest.raises(RegistryError, match="the history is broken: entry 1 was deleted"):
        RegistryStore(store.location).read()


NOTHING_TO_DO = """
import sys
from pathlib import Path
from compass_ops.registry.location import registry_location
from compass_ops.registry.reconcile import Evidence, reconcile
from compass_ops.registry.rows import rows_from
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
