"""An SQLite registry read without MLflow, whose import takes longer than everything else that `status` does.

A database of a schema that is not known here is left to MLflow.
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from compass_ops.registry.names import HISTORY, PREFIX, language_of, model_name
from compass_ops.registry.rows import ENTRY, TAG, broken_history

# Alembic's revision of MLflow 3.17; a test compares it with the one that is installed.
KNOWN_SCHEMAS = frozenset({"dc11669786a5"})
WAIT_SECONDS = 20.0  # for another writer, as MLflow does
WORKSPACE = "default"
# Of all languages, or of one: its model, and those versions of the history that have an entry of it.
_HISTORY = "SELECT version FROM model_version_tags WHERE workspace = :workspace AND name = :history AND key = :entry"
_CHOSEN = f"workspace = :workspace AND (name GLOB :models OR name = :history AND version IN ({_HISTORY}))"
_VERSIONS = f"""
    SELECT name, version, current_stage, source, run_id, creation_time FROM model_versions
    WHERE {_CHOSEN} AND current_stage != 'Deleted_Internal' ORDER BY name, version
"""
_TAGS = f"SELECT name, version, key, value FROM model_version_tags WHERE {_CHOSEN} AND key GLOB :tags"
_MODELS = "SELECT name FROM registered_models WHERE workspace = :workspace AND name GLOB :models"
_OTHERS = "SELECT 1 FROM registered_models WHERE workspace != ? LIMIT 1"
_DELETED = """
    SELECT version FROM model_versions
    WHERE workspace = :workspace AND name = :history AND current_stage = 'Deleted_Internal' ORDER BY version LIMIT 1
"""
_ALIASES = """
    SELECT name, alias, version FROM registered_model_aliases WHERE workspace = :workspace AND name GLOB :models
"""


@dataclass(frozen=True)
class Found:
    """A model version, with the attributes that MLflow's own has."""

    name: str
    version: int
    current_stage: str
    source: str
    run_id: str | None
    creation_timestamp: int | None
    tags: dict[str, str]


def read_database(database: Path, language: str | None = None) -> tuple[list[Found], dict[str, dict[str, str]]] | None:
    """Return our models' versions and aliases, as of one moment; None where reading them is MLflow's business.

    Parameters
    ----------
    language : str or None
        The one whose versions, aliases and entries of the history are wanted; None for all.

    Raises
    ------
    RegistryError
        If an entry of the history, of whatever language, was deleted.
    """
    wanted = {
        "workspace": WORKSPACE,
        "models": f"{PREFIX}*" if language is None else model_name(language),
        "history": HISTORY,
        "entry": f"{ENTRY}{language}",
        "tags": f"{TAG}*",
    }
    try:
        with _known(database) as connection:
            if connection is None:
                return None
            if deleted := connection.execute(_DELETED, wanted).fetchone():
                raise broken_history(f"entry {deleted[0]} was deleted")
            return list(_versions(connection, wanted)), _aliases(connection, wanted)
    except sqlite3.Error:
        return None  # MLflow meets the same, and its error says more


def is_known(database: Path) -> bool:
    """Return whether a database can be read and has a known schema, in the workspace that is used."""
    try:
        with _known(database) as connection:
            return connection is not None
    except sqlite3.Error:
        return False


@contextmanager
def _known(database: Path) -> Iterator[sqlite3.Connection | None]:
    """Give a connection, in a transaction; None where the database is MLflow's business."""
    if os.environ.get("MLFLOW_WORKSPACE"):
        yield None
        return
    with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", WAIT_SECONDS, uri=True)) as connection:
        connection.execute("BEGIN")
        found = {revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")}
        is_known_schema = len(found) == 1 and found <= KNOWN_SCHEMAS
        # MLflow refuses a file with models of several workspaces.
        is_ours = is_known_schema and not connection.execute(_OTHERS, (WORKSPACE,)).fetchone()
        yield connection if is_ours else None


def _versions(connection: sqlite3.Connection, wanted: Mapping[str, str]) -> Iterator[Found]:
    tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for name, version, key, value in connection.execute(_TAGS, wanted):
        tags[name, version][key] = value
    for name, version, stage, source, run_id, created in connection.execute(_VERSIONS, wanted):
        yield Found(name, version, stage, source, run_id, created, tags[name, version])


def _aliases(connection: sqlite3.Connection, wanted: Mapping[str, str]) -> dict[str, dict[str, str]]:
    aliases = {name: dict[str, str]() for (name,) in connection.execute(_MODELS, wanted)}
    for name, alias, version in connection.execute(_ALIASES, wanted):
        aliases[name][alias] = str(version)
    return {language: own for name, own in aliases.items() if (language := language_of(name)) is not None}
