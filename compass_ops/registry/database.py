"""An SQLite registry read without MLflow, whose import takes longer than everything else that `status` does.

Read alone: what is written, is written by MLflow. A database of a schema that is not known here is left to MLflow too.
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from compass_ops.registry.mirror import RegistryRows
from compass_ops.registry.names import PREFIX, language_of
from compass_ops.registry.rows import TAG, rows_from

# Alembic's revision of MLflow 3.17; a test compares it with the one that is installed.
KNOWN_SCHEMAS = frozenset({"dc11669786a5"})
_WAIT_SECONDS = 20.0  # for a writer, as MLflow does
_WORKSPACE, _DELETED = "default", "Deleted_Internal"  # what MLflow calls them
_VERSIONS = (
    "SELECT name, version, current_stage, source, run_id, creation_time FROM model_versions "
    "WHERE workspace = ? AND name GLOB ? AND current_stage != ? ORDER BY name, version"
)
_TAGS = "SELECT name, version, key, value FROM model_version_tags WHERE workspace = ? AND name GLOB ? AND key GLOB ?"
_MODELS = "SELECT name FROM registered_models WHERE workspace = ? AND name GLOB ?"
_ALIASES = "SELECT name, alias, version FROM registered_model_aliases WHERE workspace = ? AND name GLOB ?"
_OURS = (_WORKSPACE, f"{PREFIX}*")


@dataclass(frozen=True)
class _Found:
    """A model version, with the attributes that MLflow's own has."""

    name: str
    version: int
    current_stage: str
    source: str
    run_id: str | None
    creation_timestamp: int | None
    tags: dict[str, str]


def read_database(database: Path) -> RegistryRows | None:
    """Return what a registry holds, as of one moment; None where that is MLflow's business.

    Raises
    ------
    RegistryError
        If the history was altered.
    """
    if os.environ.get("MLFLOW_WORKSPACE"):
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", _WAIT_SECONDS, uri=True)) as connection:
            connection.execute("BEGIN")
            known = {revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")}
            if len(known) != 1 or not known <= KNOWN_SCHEMAS:
                return None
            found, aliases = list(_versions(connection)), _aliases(connection)
    except sqlite3.Error:
        return None  # MLflow meets the same, and its error says more
    return rows_from(found, aliases)


def _versions(connection: sqlite3.Connection) -> Iterator[_Found]:
    tags: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for name, version, key, value in connection.execute(_TAGS, (*_OURS, f"{TAG}*")):
        tags[name, version][key] = value
    for name, version, *others in connection.execute(_VERSIONS, (*_OURS, _DELETED)):
        yield _Found(name, version, *others, tags[name, version])


def _aliases(connection: sqlite3.Connection) -> dict[str, dict[str, str]]:
    aliases = {name: dict[str, str]() for (name,) in connection.execute(_MODELS, _OURS)}
    for name, alias, version in connection.execute(_ALIASES, _OURS):
        aliases[name][alias] = str(version)
    return {language: own for name, own in aliases.items() if (language := language_of(name)) is not None}
