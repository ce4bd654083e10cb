"""Files in and out: written aside, flushed, then renamed, so that nothing half-written has its final name."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from compass_ops.errors import StorageError

# Ends the names of what is being written, so that what a killed process left can be told from finished files.
_ASIDE = ".aside"


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn a failure of the disk into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error}). Free space or fix permissions, then rerun."
        ) from error


@contextmanager
def _written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` and rename it into place if the body succeeds."""
    with _said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_ASIDE)
        aside = Path(name)
        try:
            os.close(handle)
            yield aside
            _flush(aside)
            aside.chmod(0o644)
            aside.replace(path)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with _written_aside(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as canonical JSON (sorted keys, UTF-8, no NaN): equal values are equal files."""
    try:
        text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise StorageError(f"{path}: holds a value that JSON has no form for ({error}).") from error
    write_bytes(path, f"{text}\n".encode())


@contextmanager
def _read_as(path: Path, kind: str) -> Iterator[None]:
    """Turn what the readers raise into one sentence about ``path``."""
    try:
        yield
    except FileNotFoundError as error:
        raise StorageError(f"{path}: does not exist. Run `dvc repro` to make it.") from error
    except (OSError, EOFError, ValueError) as error:  # malformed JSON, UTF-8, Parquet and .npy are all ValueErrors
        raise StorageError(
            f"{path}: is not {kind} ({error}). Restore it; if a stage made it, delete it and run `dvc repro`."
        ) from error


def read_json(path: Path) -> Any:
    """Read a JSON file; ``StorageError`` if it is missing or malformed."""
    with _read_as(path, "readable JSON"):
        return json.loads(path.read_text("utf-8"))


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow table as Parquet; equal tables give equal bytes."""
    with _written_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file; ``StorageError`` if it is missing or malformed."""
    with _read_as(path, "a readable Parquet file"), pq.ParquetFile(path) as file:
        return file.read()


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a NumPy array as ``.npy`` (no pickled objects)."""
    with _written_aside(path) as aside, aside.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray[Any, Any]:
    """Read an ``.npy`` file, memory-mapped read-only if ``mapped``."""
    with _read_as(path, "a readable .npy file"):
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read ({error}).") from error


def file_digests(folder: Path) -> dict[str, str]:
    """Return {path relative to ``folder``: SHA-256} of every file below it, in sorted order."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def value_digest(value: object) -> str:
    """Return the SHA-256 of a JSON value's canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def tree_digest(path: Path) -> str:
    """Return one SHA-256 for a file, or for a folder's file names and contents."""
    return value_digest(file_digests(path)) if path.is_dir() else file_digest(path)


def replace_folder(source: Path, destination: Path) -> None:
    """Move the finished folder ``source`` to ``destination``, replacing what is there.

    The old folder is moved away first and deleted last: an interruption leaves the one or the other.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    _restore(destination)
    retired = _retired(destination)
    try:
        if destination.is_dir():
            destination.replace(retired)
        source.replace(destination)
    finally:
        _restore(destination)


def _retired(path: Path) -> Path:
    """Name the place of a folder that is being replaced."""
    return path.with_name(f".{path.name}.retired{_ASIDE}")


def _restore(path: Path) -> None:
    """Bring back the folder that a replacement moved away, if the replacement never came."""
    retired = _retired(path)
    if path.exists():
        shutil.rmtree(retired, ignore_errors=True)
    elif retired.exists():
        retired.replace(path)


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """Yield an empty sibling folder that replaces ``path`` if the body succeeds."""
    with _said(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _restore(path)
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_ASIDE))
        try:
            aside.chmod(0o755)
            yield aside
            replace_folder(aside, path)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there; a process that is killed meanwhile leaves no half of it under its name."""
    if path.is_dir():
        aside = path.with_name(f".{path.name}.removed{_ASIDE}")
        shutil.rmtree(aside, ignore_errors=True)
        path.replace(aside)
        shutil.rmtree(aside)


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written below ``folder``."""
    for path in sorted(folder.rglob(f".*{_ASIDE}")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
