"""The few writes that a decision makes, on an SQLite registry: as MLflow makes them, without loading MLflow.

MLflow's import takes longer than a promotion may. Each method is called as that of MLflow's own client and leaves the
same rows, in one transaction; a test compares them. Versions, with their runs and files, are written by MLflow.
"""

import re
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from compass_ops.registry.database import WAIT_SECONDS, WORKSPACE, Found

ABSENT, PRESENT, INVALID = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE"
_LONGEST_TAG = 100_000  # characters, in MLflow
_NAME_FILTER = re.compile("name = '([^']+)'")
_MODEL = "workspace = :workspace AND name = :name"
_VERSION = f"{_MODEL} AND version = :version"
_FIND_MODEL = f"SELECT name FROM registered_models WHERE {_MODEL}"
_FIND_VERSION = f"SELECT version FROM model_versions WHERE {_VERSION} AND current_stage != 'Deleted_Internal'"
_ADD_MODEL = """
    INSERT INTO registered_models (workspace, name, creation_time, last_updated_time)
    VALUES (:workspace, :name, :now, :now)
"""
_TOUCH_MODEL = f"UPDATE registered_models SET last_updated_time = :now WHERE {_MODEL}"
_NEXT_VERSION = f"SELECT coalesce(max(version), 0) + 1 FROM model_versions WHERE {_MODEL}"
_ADD_VERSION = """
    INSERT INTO model_versions (workspace, name, version, creation_time, last_updated_time, description, current_stage,
                                source, storage_location, status)
    VALUES (:workspace, :name, :version, :now, :now, :description, 'None', :source, :source, 'READY')
"""
_ADD_TAG = """
    INSERT OR REPLACE INTO model_version_tags (workspace, name, version, key, value)
    VALUES (:workspace, :name, :version, :key, :value)
"""
_LIST_VERSIONS = f"""
    SELECT name, version, current_stage, source, run_id, creation_time FROM model_versions
    WHERE {_MODEL} AND current_stage != 'Deleted_Internal' ORDER BY version
"""
_LIST_TAGS = f"SELECT key, value FROM model_version_tags WHERE {_VERSION}"
_ARCHIVE_OTHERS = f"""
    UPDATE model_versions SET current_stage = 'Archived', last_updated_time = :now
    WHERE {_MODEL} AND version != :version AND current_stage = :stage
"""
_SET_STAGE = f"UPDATE model_versions SET current_stage = :stage, last_updated_time = :now WHERE {_VERSION}"
# The rows of a deleted version stay, emptied, and so do its tags; its number is not given out again.
_EMPTY_VERSION = f"""
    UPDATE model_versions
    SET current_stage = 'Deleted_Internal', last_updated_time = :now, description = NULL, user_id = NULL,
        source = 'REDACTED-SOURCE-PATH', run_id = 'REDACTED-RUN-ID', run_link = 'REDACTED-RUN-LINK',
        status_message = NULL
    WHERE {_VERSION}
"""
_DROP_ALIASES = f"DELETE FROM registered_model_aliases WHERE {_VERSION}"
_SET_ALIAS = """
    INSERT OR REPLACE INTO registered_model_aliases (workspace, name, alias, version)
    VALUES (:workspace, :name, :alias, :version)
"""
_DROP_ALIAS = f"DELETE FROM registered_model_aliases WHERE {_MODEL} AND alias = :alias"


class DatabaseRefusalError(Exception):
    """What was to be written is there already or too long, or what it belongs to is not there.

    ``error_code`` is as MLflow's.
    """

    def __init__(self, text: str, error_code: str) -> None:
        super().__init__(text)
        self.error_code = error_code


@dataclass(frozen=True)
class DatabaseClient:
    """Writes to an SQLite registry whose schema is known.

    Every method raises ``DatabaseRefusalError`` if the model or version does not exist, the model to be created does,
    or a tag is too long, and ``sqlite3.Error`` if the database cannot be written; then nothing was.
    """

    database: Path

    def search_registered_models(self, filter_string: str, max_results: int) -> list[str]:
        """Return the names that ``name = '...'`` finds."""
        values = _values(_name_in(filter_string))
        with self._transaction("BEGIN") as connection:
            found = connection.execute(_FIND_MODEL, values).fetchmany(max_results)
        return [name for (name,) in found]

    def create_registered_model(self, name: str) -> None:
        """Add a model."""
        values = _values(name)
        with self._transaction() as connection:
            if connection.execute(_FIND_MODEL, values).fetchone():
                raise DatabaseRefusalError(f"Registered model {name} already exists.", PRESENT)
            connection.execute(_ADD_MODEL, values)

    def create_model_version(
        self, name: str, source: str, *, tags: Mapping[str, str], description: str | None = None
    ) -> Found:
        """Add a version without a run, under the next number, and return it."""
        _check_lengths(tags)
        values = _values(name, source=source, description=description)
        with self._transaction() as connection:
            _require(connection, _FIND_MODEL, values)
            (version,) = connection.execute(_NEXT_VERSION, values).fetchone()
            connection.execute(_TOUCH_MODEL, values)
            connection.execute(_ADD_VERSION, {**values, "version": version})
            own = [{**values, "version": version, "key": key, "value": value} for key, value in tags.items()]
            connection.executemany(_ADD_TAG, own)
        return Found(name, version, "None", source, None, values["now"], dict(tags))

    def search_model_versions(self, filter_string: str, *, order_by: Sequence[str]) -> list[Found]:
        """Return the versions that ``name = '...'`` finds, by number."""
        if list(order_by) != ["version_number ASC"]:
            raise ValueError(f"{order_by}: versions are found in the order of their numbers")
        values = _values(_name_in(filter_string))
        with self._transaction("BEGIN") as connection:
            found = []
            for name, version, stage, source, run_id, created in connection.execute(_LIST_VERSIONS, values).fetchall():
                tags = dict(connection.execute(_LIST_TAGS, {**values, "version": version}))
                found.append(Found(name, version, stage, source, run_id, created, tags))
        return found

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a version's tag."""
        _check_lengths({key: value})
        values = _values(name, version=int(version), key=key, value=value)
        with self._transaction() as connection:
            _require(connection, _FIND_VERSION, values)
            connection.execute(_ADD_TAG, values)

    def transition_model_version_stage(
        self, name: str, version: str, stage: str, *, archive_existing_versions: bool
    ) -> None:
        """Bring a version to a stage, and those that were there to Archived if so asked."""
        values = _values(name, version=int(version), stage=stage)
        with self._transaction() as connection:
            _require(connection, _FIND_VERSION, values)
            if archive_existing_versions:
                connection.execute(_ARCHIVE_OTHERS, values)
            connection.execute(_SET_STAGE, values)
            connection.execute(_TOUCH_MODEL, values)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        """Let an alias name a version."""
        values = _values(name, version=int(version), alias=alias)
        with self._transaction() as connection:
            _require(connection, _FIND_VERSION, values)
            connection.execute(_SET_ALIAS, values)

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        """Take an alias away."""
        values = _values(name, alias=alias)
        with self._transaction() as connection:
            _require(connection, _FIND_MODEL, values)
            connection.execute(_DROP_ALIAS, values)

    def delete_model_version(self, name: str, version: str) -> None:
        """Delete a version, and the aliases that name it."""
        values = _values(name, version=int(version))
        with self._transaction() as connection:
            _require(connection, _FIND_VERSION, values)
            connection.execute(_TOUCH_MODEL, values)
            connection.execute(_DROP_ALIASES, values)
            connection.execute(_EMPTY_VERSION, values)

    @contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[sqlite3.Connection]:
        # mode=rw: a database that is gone is not made anew. Who writes locks first, so that what it reads stays true.
        uri = f"file:{quote(str(self.database))}?mode=rw"
        with closing(sqlite3.connect(uri, WAIT_SECONDS, isolation_level=None, uri=True)) as connection:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(begin)
            with connection:
                yield connection


def _values(name: str, **more: Any) -> dict[str, Any]:
    return {"workspace": WORKSPACE, "name": name, "now": int(time.time() * 1000), **more}


def _name_in(filter_string: str) -> str:
    found = _NAME_FILTER.fullmatch(filter_string)
    if found is None:
        raise ValueError(f"{filter_string}: only name = '...' is understood")
    return found[1]


def _check_lengths(tags: Mapping[str, str]) -> None:
    for key, value in tags.items():
        if len(value) > _LONGEST_TAG:
            raise DatabaseRefusalError(f"Tag {key} has {len(value)} characters, of {_LONGEST_TAG} at most.", INVALID)


def _require(connection: sqlite3.Connection, query: str, values: Mapping[str, object]) -> None:
    if not connection.execute(query, values).fetchone():
        sought = ", ".join(str(values[key]) for key in ("name", "version") if key in values)
        raise DatabaseRefusalError(f"{sought} is not in the registry.", ABSENT)
