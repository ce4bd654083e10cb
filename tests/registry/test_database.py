"""What is read without MLflow is what MLflow reads."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from compass_ops.registry import store as store_module
from compass_ops.registry.database import KNOWN_SCHEMAS, read_database
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.registry.transact import transact
from pipelines._code import ROOT
from tests.registry.conftest import Decisions, ask
from tests.registry.test_reconcile import promote
from tests.registry.test_transact import asks

pytestmark = pytest.mark.usefixtures("on_file")


def database_of(store: RegistryStore) -> Path:
    database = store.location.database
    assert database is not None
    return database


def views(store: RegistryStore) -> object:
    """Return what is read of all languages together, and of each."""
    fresh = RegistryStore(store.location)
    return fresh._rows(), {language: fresh.read_language(language) for language in ("sw", "tr", "zh-Hant", "zu")}


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
    rows = store._rows()
    assert [version.number for version in rows.versions["sw"]] == ["1", "2"]
    assert rows.aliases == {"sw": {"champion": "1"}, "tr": {}, "zh-Hant": {"champion": "2"}}
    assert len(rows.entries) == 7
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


@pytest.mark.parametrize("looking", [["status"], ["history", "sw"], ["show", "sw"], ["verify", "--all"]])
def test_looking_needs_no_mlflow(store: RegistryStore, decisions: Decisions, looking: list[str]) -> None:
    promote(store, decisions, "sw", 1)
    database_of(store).with_name("mlflow.db.read.json").unlink(missing_ok=True)
    code = (
        "import sys; from click.testing import CliRunner; from compass_ops.cli.main import main;"
        f"result = CliRunner().invoke(main, ['--uri', {store.location.uri!r}, *{looking!r}]);"
        "assert result.exit_code == 0, result.output;"
        "print(bool(result.output), 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "True False"
