"""What was read of an SQLite registry, kept beside its file until that changes.

Three stages of every run do no more than look whether there is anything to write. MLflow, which alone can read the
database, takes seconds to import; a file that nobody wrote to since holds what it held.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from compass_ops.errors import StorageError
from compass_ops.registry.history import entry_from
from compass_ops.registry.mirror import RegistryRows, Version
from compass_ops.storage import write_json

_FORMAT = 2
_COUNTER = slice(24, 28)  # SQLite's file change counter, in the file's header


def remembered(database: Path, read: Callable[[], RegistryRows]) -> RegistryRows:
    """Return what ``read`` found when the database was last read, or let it read if anything was written since.

    Parameters
    ----------
    database : Path
        An existing SQLite file; ``<name>.read.json`` beside it is the memory, which may be deleted at any time.
    read : callable
        Reads the database through MLflow.
    """
    memory = database.with_name(f"{database.name}.read.json")
    before = _state(database)
    if before is not None and (known := _recalled(memory, before)) is not None:
        return known
    rows = read()
    if before is not None and before == _state(database):
        # A folder that cannot be written only costs the next reader its time.
        with suppress(StorageError):
            write_json(memory, {"format": _FORMAT, "state": before, **_as_json(rows)})
    return rows


def _state(database: Path) -> list[int] | None:
    """Return what no transaction leaves as it is; None while one is under way, or where changes lie beside."""
    if any(database.with_name(database.name + ending).exists() for ending in ("-journal", "-wal")):
        return None
    with database.open("rb") as file:
        header = file.read(_COUNTER.stop)
    stat = database.stat()
    return [stat.st_ino, stat.st_size, stat.st_mtime_ns, int.from_bytes(header[_COUNTER], "big")]


def _recalled(memory: Path, state: list[int]) -> RegistryRows | None:
    try:
        kept = json.loads(memory.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(kept, dict) or (kept.get("format"), kept.get("state")) != (_FORMAT, state):
        return None
    return RegistryRows(
        [(number, entry_from(entry)) for number, entry in kept["entries"]],
        {language: [Version(**version) for version in versions] for language, versions in kept["versions"].items()},
        kept["aliases"],
    )


def _as_json(rows: RegistryRows) -> dict[str, object]:
    return {
        "entries": [[number, entry.as_json()] for number, entry in rows.entries],
        "versions": {language: [asdict(version) for version in own] for language, own in rows.versions.items()},
        "aliases": rows.aliases,
    }
