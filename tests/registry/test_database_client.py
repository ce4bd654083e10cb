"""What decisions write without MLflow is what MLflow writes."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from compass_ops.errors import BusyError, RegistryError
from compass_ops.registry import database
from compass_ops.registry.database_client import ABSENT, INVALID, PRESENT, DatabaseClient, DatabaseRefusalError
from compass_ops.registry.faults import mlflow_errors
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from tests.registry.conftest import Decisions
from tests.registry.test_database import loads_mlflow
from tests.registry.test_reconcile import promote, shown

pytestmark = pytest.mark.usefixtures("on_file")

TAGS = {"compass.seal": "s", "compass.entry.sw": '{"why": "sauti – 声音"}'}
WRITES: list[Callable[[Any], object]] = [
    lambda client: client.create_registered_model("compass-sw"),
    lambda client: client.create_model_version("compass-sw", "compass:/a", tags=TAGS, description="first"),
    lambda client: client.create_model_version("compass-sw", source="compass:/b", tags={}),
    lambda client: client.create_model_version("compass-sw", source="compass:/c", tags={"compass.x": ""}),
    lambda client: client.set_model_version_tag("compass-sw", "2", "compass.effect", "valid"),
    lambda client: client.set_model_version_tag("compass-sw", "1", "compass.seal", "another"),
    lambda client: client.transition_model_version_stage(
        "compass-sw", "1", "Production", archive_existing_versions=True
    ),
    lambda client: client.transition_model_version_stage("compass-sw", "3", "Staging", archive_existing_versions=True),
    lambda client: client.transition_model_version_stage(
        "compass-sw", "2", "Production", archive_existing_versions=True
    ),
    lambda client: client.transition_model_version_stage(
        "compass-sw", "1", "Archived", archive_existing_versions=False
    ),
    lambda client: client.set_registered_model_alias("compass-sw", "champion", "1"),
    lambda client: client.set_registered_model_alias("compass-sw", "champion", "2"),
    lambda client: client.set_registered_model_alias("compass-sw", "staging", "3"),
    lambda client: client.set_registered_model_alias("compass-sw", "other", "2"),
    lambda client: client.delete_registered_model_alias("compass-sw", "other"),
    lambda client: client.delete_registered_model_alias("compass-sw", "absent"),
    lambda client: client.delete_model_version("compass-sw", "3"),
    lambda client: client.create_model_version("compass-sw", source="compass:/d", tags={}),
]
REFUSED: dict[str, Callable[[Any], object]] = {
    "a model that exists": lambda client: client.create_registered_model("compass-sw"),
    "a version of no model": lambda client: client.create_model_version("compass-none", "compass:/a", tags={}),
    "a tag of no version": lambda client: client.set_model_version_tag("compass-sw", "9", "compass.x", "y"),
    "a tag of a deleted version": lambda client: client.set_model_version_tag("compass-sw", "3", "compass.x", "y"),
    "a stage of no version": lambda client: client.transition_model_version_stage(
        "compass-sw", "9", "Production", archive_existing_versions=True
    ),
    "an alias of no version": lambda client: client.set_registered_model_alias("compass-sw", "champion", "9"),
    "an alias of no model, taken away": lambda client: client.delete_registered_model_alias("compass-none", "x"),
    "a tag that is too long": lambda client: client.set_model_version_tag(
        "compass-sw", "1", "compass.x", "y" * 100_001
    ),
    "a version with a tag that is too long": lambda client: client.create_model_version(
        "compass-sw", "compass:/a", tags={"compass.x": "y" * 100_001}
    ),
    "a version deleted twice": lambda client: client.delete_model_version("compass-sw", "3"),
}


def tables(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all tables' rows."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in names}


@pytest.fixture
def pair(store: RegistryStore, tmp_path: Path) -> tuple[Any, DatabaseClient, Path, Path]:
    """MLflow's client and ours, each on a database of its own, and the two files."""
    ours, theirs = tmp_path / "ours.db", tmp_path / "theirs.db"
    for path in (ours, theirs):
        shutil.copy(str(store.location.database), path)
    client = open_client(RegistryLocation(f"sqlite:///{theirs}", "compass", tmp_path))
    return client, DatabaseClient(ours), theirs, ours


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_every_write_leaves_the_rows_that_mlflow_leaves(
    pair: tuple[Any, DatabaseClient, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mlflows, ours, their_file, our_file = pair
    for moment, write in enumerate(WRITES, start=1):
        monkeypatch.setattr(time, "time", lambda now=moment: now)
        write(ours)
        write(mlflows)
        assert tables(our_file) == tables(their_file)
    for name in ("compass-sw", "compass-none"):
        query = f"name = '{name}'"
        found = [ours.search_model_versions(query, order_by=["version_number ASC"])]
        found.append(list(mlflows.search_model_versions(query, order_by=["version_number ASC"])))
        seen = [
            [(one.name, int(one.version), one.current_stage, one.source, one.run_id or None, one.tags) for one in each]
            for each in found
        ]
        assert seen[0] == seen[1]
        theirs = [model.name for model in mlflows.search_registered_models(query, 1)]
        assert ours.search_registered_models(query, 1) == theirs
    for refused in REFUSED.values():
        with pytest.raises(DatabaseRefusalError) as by_us:
            refused(ours)
        with pytest.raises(MlflowException) as by_mlflow:
            refused(mlflows)
        assert by_us.value.error_code == by_mlflow.value.error_code
        assert by_us.value.error_code in (ABSENT, PRESENT, INVALID)
    assert tables(our_file) == tables(their_file)


def test_a_write_that_is_refused_leaves_nothing(pair: tuple[Any, DatabaseClient, Path, Path]) -> None:
    _, ours, _, our_file = pair
    ours.create_registered_model("compass-sw")
    before = tables(our_file)
    with pytest.raises(sqlite3.IntegrityError):  # the tag comes last, in the transaction of the version
        ours.create_model_version("compass-sw", "compass:/a", tags={"compass.x": "y", None: "z"})  # type: ignore[dict-item]
    assert tables(our_file) == before


def test_numbers_are_given_out_once(pair: tuple[Any, DatabaseClient, Path, Path]) -> None:
    _, ours, _, _ = pair
    ours.create_registered_model("compass-sw")
    given: list[int] = []

    def take() -> None:
        for _ in range(20):
            given.append(ours.create_model_version("compass-sw", "compass:/a", tags=TAGS).version)

    takers = [threading.Thread(target=take) for _ in range(4)]
    for taker in takers:
        taker.start()
    for taker in takers:
        taker.join()
    assert sorted(given) == list(range(1, 81))


@pytest.mark.parametrize("query", ["name LIKE 'compass-%'", "name = 'a' and tags.x = 'y'"])
def test_a_query_that_is_not_understood_is_refused(query: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"only name = '...' is understood"):
        DatabaseClient(tmp_path / "none.db").search_model_versions(query, order_by=["version_number ASC"])


def test_what_goes_wrong_is_told_as_the_registrys_fault(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    promote(store, decisions, "sw", 1)
    client = DatabaseClient(Path(str(store.location.database)))
    monkeypatch.setattr("compass_ops.registry.database_client.WAIT_SECONDS", 0.05)
    with closing(sqlite3.connect(client.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="database is locked"), mlflow_errors(store.location, "writing"):
            client.set_registered_model_alias("compass-sw", "champion", "1")
        other.execute("ROLLBACK")
    with pytest.raises(RegistryError, match="unable to open"), mlflow_errors(store.location, "writing"):
        DatabaseClient(tmp_path / "none.db").create_registered_model("compass-sw")
    assert not (tmp_path / "none.db").exists()
    told = r"compass-sw, 7 is not in the registry.*compass status"
    with pytest.raises(RegistryError, match=told), mlflow_errors(store.location, "writing"):
        client.set_registered_model_alias("compass-sw", "champion", "7")


@pytest.mark.parametrize(
    "command",
    [
        ["promote", "sw/1", "--why", "x"],
        ["rollback", "sw", "--why", "x"],
        ["hold", "sw", "--why", "x"],
        ["archive", "sw/3", "--why", "x"],
    ],
)
def test_a_decision_needs_no_mlflow(store: RegistryStore, decisions: Decisions, command: list[str]) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    promote(store, decisions, "sw", 3)
    assert not loads_mlflow(store, command)


def test_a_database_of_another_schema_is_written_by_mlflow(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "KNOWN_SCHEMAS", frozenset({"another"}))

    def never(*_: object, **__: object) -> None:
        raise AssertionError("written without MLflow")

    for name in ("create_model_version", "set_registered_model_alias", "transition_model_version_stage"):
        monkeypatch.setattr(DatabaseClient, name, never)
    promote(store, decisions, "sw", 1)
    assert shown(store) == ({"1": "Production"}, {"champion": "1"})
