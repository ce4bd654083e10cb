"""Digests of files that lie outside the pipeline: what tells the cached stages that a user's data changed."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from compass_ops.errors import StorageError
from compass_ops.storage import file_digest, read_json, write_json


def digests(files: Iterable[Path], memory: Path) -> dict[str, str]:
    """Return {path: SHA-256} of files, reading only those whose size or time changed since they were last read.

    Parameters
    ----------
    files : iterable of Path
    memory : Path
        JSON file of what was read before, replaced; it may be deleted at any time.

    Raises
    ------
    StorageError
        If a file cannot be read.
    """
    known = _known(memory)
    found = {str(path): _digested(path, known.get(str(path), [])) for path in sorted(set(files))}
    if found != known:
        write_json(memory, found)
    return {name: str(digest) for name, (*_, digest) in found.items()}


def _known(memory: Path) -> dict[str, list[Any]]:
    try:
        known = read_json(memory)
    except StorageError:
        return {}
    return known if isinstance(known, dict) else {}


def _digested(path: Path, known: list[Any]) -> list[Any]:
    try:
        stat = path.stat()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error}). Restore the file or fix its permissions.") from error
    look = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
    return known if known[:-1] == look else [*look, file_digest(path)]
