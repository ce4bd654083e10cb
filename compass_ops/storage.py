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


@contextmanager
def _written_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``path`` and rename it into place if the body succeeds."""
    handle, name = -1, ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
        aside = Path(name)
        yield aside
        _flush(aside)
        aside.chmod(0o644)
        aside.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error}). Free space or fix permissions, then rerun."
        ) from error
    finally:
        if name:
            with suppress(OSError):
                Path(name).unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically."""
    with _written_aside(path) as aside:
        aside.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` as canonical JSON (sorted keys, UTF-8, no NaN), equal values are equal files."""
    text = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """Read a JSON file; ``StorageError`` if it is missing or malformed."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise StorageError(f"{path}: does not exist. Run `dvc repro` to make it.") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StorageError(f"{path}: is not readable JSON ({error}). Delete it and run `dvc repro`.") from error


def write_table(path: Path, table: pa.Table) -> None:
    """Write an Arrow table as Parquet; equal tables give equal bytes."""
    with _written_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd")


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file; ``StorageError`` if it is missing or malformed."""
    try:
        return pq.read_table(path, partitioning=None)
    except FileNotFoundError as error:
        raise StorageError(f"{path}: does not exist. Run `dvc repro` to make it.") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise StorageError(f"{path}: is not a readable Parquet file ({error}).") from error


def write_array(path: Path, array: np.ndarray[Any, Any]) -> None:
    """Write a NumPy array as ``.npy`` (no pickled objects)."""
    with _written_aside(path) as aside, aside.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: Path, *, mapped: bool = False) -> np.ndarray[Any, Any]:
    """Read an ``.npy`` file, memory-mapped read-only if ``mapped``."""
    try:
        return np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except FileNotFoundError as error:
        raise StorageError(f"{path}: does not exist. Run `dvc repro` to make it.") from error
    except (OSError, ValueError) as error:
        raise StorageError(f"{path}: is not a readable .npy file ({error}).") from error


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
    """Move the finished folder ``source`` to ``destination``, replacing what is there."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    if destination.exists():
        shutil.rmtree(destination)
    source.replace(destination)


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """Yield an empty sibling folder that replaces ``path`` if the body succeeds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error}). Free space or fix permissions, then rerun."
        ) from error
    try:
        aside.chmod(0o755)
        yield aside
        replace_folder(aside, path)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error}). Free space or fix permissions, then rerun."
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
