"""Raw rows from local files and from Hugging Face data sets, with their origins. The only door to ``datasets``."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from compass_ops.corpus.fields import FieldMapping, RawRow
from compass_ops.errors import SourceError

_WILDCARD = re.compile(r"[*?\[]")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BATCH_ROWS = 8192
_LONGEST_CELL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class FilesSource:
    """Local files by glob (``**`` included), relative to the project or absolute; read in sorted order."""

    name: str
    files: tuple[str, ...]
    mapping: FieldMapping


@dataclass(frozen=True, slots=True)
class HubSource:
    """A Hugging Face data set by id and commit, or a local folder (then ``revision`` is None)."""

    name: str
    id: str
    revision: str | None
    configs: tuple[str, ...]
    splits: tuple[str, ...]
    mapping: FieldMapping


def read_files(source: FilesSource, root: Path) -> Iterator[RawRow]:
    """Read the rows of local files (.jsonl, .ndjson, .json, .csv, .tsv, each also .gz, and .parquet).

    Parameters
    ----------
    source : FilesSource
        What to read; a relative glob starts at ``root``.
    root : Path
        The project's folder. Origins are paths relative to it.

    Yields
    ------
    RawRow
        Also for what is no row, such as a malformed line, with the fault.

    Raises
    ------
    SourceError
        If a glob matches no file, or a file cannot be read or is of no known kind.
    """
    for path in _required(source, root):
        origin = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()
        reader = _reader(path)
        try:
            yield from reader(path, origin)
        except (OSError, EOFError, zlib.error, pa.ArrowException, csv.Error, UnicodeDecodeError) as error:
            raise SourceError(
                f"source {source.name!r}: {path} cannot be read ({error}). Restore the file or fix its permissions."
            ) from error


def matching(patterns: Iterable[str], root: Path) -> list[Path]:
    """Return the files that globs match, in sorted order; a relative glob starts at ``root``."""
    return sorted({path for pattern in patterns for path in _glob(root / pattern)})


def _required(source: FilesSource, root: Path) -> list[Path]:
    for pattern in source.files:
        if not _glob(root / pattern):
            raise SourceError(
                f"source {source.name!r}: no file matches {pattern!r} in {root.resolve()}. "
                "Correct ingest.sources or put the files there."
            )
    return matching(source.files, root)


def _glob(pattern: Path) -> list[Path]:
    """Return the files that match; the parts before the first wildcard are taken as they are."""
    parts = pattern.parts
    first = next((place for place, part in enumerate(parts) if _WILDCARD.search(part)), None)
    if first is None:
        return [pattern] if pattern.is_file() else []
    return [path for path in Path(*parts[:first]).glob("/".join(parts[first:])) if path.is_file()]


def _reader(path: Path) -> Callable[[Path, str], Iterator[RawRow]]:
    name = path.name.lower().removesuffix(".gz")
    readers: dict[str, Callable[[Path, str], Iterator[RawRow]]] = {
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
        ".json": _json_list,
        ".csv": _delimited,
        ".tsv": _delimited,
        ".parquet": _parquet,
    }
    for suffix, reader in readers.items():
        if name.endswith(suffix):
            return reader
    known = ", ".join(readers)
    raise SourceError(f"{path}: the ending must be one of {known} (text also with .gz). Rename the file.")


def _binary(path: Path) -> IO[bytes]:
    if path.suffix.lower() == ".gz":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    return path.open("rb")


def _json_lines(path: Path, origin: str) -> Iterator[RawRow]:
    with _binary(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            except UnicodeDecodeError as error:
                shown = line.decode("utf-8", "backslashreplace")
                yield RawRow(origin, number, shown, f"the line is not UTF-8 at byte {error.start + 1}")
                continue
            if not text:
                continue
            try:
                value = json.loads(text)
            except (ValueError, RecursionError) as error:
                yield RawRow(origin, number, text, f"the line is no JSON ({error})")
                continue
            yield RawRow(origin, number, _located(value, {"@file": origin}))


def _json_list(path: Path, origin: str) -> Iterator[RawRow]:
    with _binary(path) as file:
        content = file.read()
    try:
        rows = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise SourceError(
            f"{path}: is no JSON ({error}). Correct the file, or name it .jsonl if it has a row per line."
        ) from error
    if not isinstance(rows, list):
        raise SourceError(
            f"{path}: must hold a list of rows; it holds a {type(rows).__name__}. Write the rows as a list."
        )
    for number, value in enumerate(rows, start=1):
        yield RawRow(origin, number, _located(value, {"@file": origin}))


def _delimited(path: Path, origin: str) -> Iterator[RawRow]:
    delimiter = "\t" if path.name.lower().removesuffix(".gz").endswith(".tsv") else ","
    csv.field_size_limit(_LONGEST_CELL)
    # Undecodable bytes become lone surrogates, which the record check rejects row by row.
    with _binary(path) as file, io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        cells = csv.reader(text, delimiter=delimiter, strict=True)
        header = next(cells, [])
        if len(set(header)) < len(header):
            raise SourceError(f"{path}: two columns have the same name in {header}. Rename one in the first line.")
        number = 0
        for row in cells:
            if not row:
                continue
            number += 1
            if len(row) == len(header):
                located = _located(dict(zip(header, row, strict=True)), {"@file": origin})
                yield RawRow(origin, number, located, textual=True)
            else:
                yield RawRow(origin, number, row, f"the row has {len(row)} cells, the header {len(header)}")


def _parquet(path: Path, origin: str) -> Iterator[RawRow]:
    with pq.ParquetFile(path) as file:
        yield from _arrow_rows(file.iter_batches(_BATCH_ROWS), origin, {"@file": origin})


def _arrow_rows(batches: Iterator[Any], origin: str, place: dict[str, str]) -> Iterator[RawRow]:
    number = 0
    for batch in batches:
        for value in batch.to_pylist():
            number += 1
            yield RawRow(origin, number, _located(value, place))


def _located(value: Any, place: dict[str, str]) -> Any:
    if isinstance(value, dict):
        value.update(place)
    return value


def read_hub(source: HubSource, root: Path) -> Iterator[RawRow]:
    """Read the rows of a Hugging Face data set, config by config and split by split.

    Parameters
    ----------
    source : HubSource
        ``id`` is a repository of the hub, then ``revision`` must be a commit, or a folder relative to ``root``.
        No configs means the default one.
    root : Path
        The project's folder.

    Raises
    ------
    SourceError
        If no commit is given for a repository, or the data set cannot be loaded.
    """
    local = (root / source.id).is_dir()
    if local and source.revision is not None:
        raise SourceError(
            f"source {source.name!r}: {source.id} is a folder here, and a revision is given: a folder has none. Set "
            "revision to null to read the folder, or move it away to read the hub's data set."
        )
    if not local and not _COMMIT.fullmatch(source.revision or ""):
        raise SourceError(
            f"source {source.name!r}: {source.id} needs a pinned revision, the 40 hex digits of a commit; got "
            f"{source.revision!r}. Copy it from the repository's history on the hub. (There is no local folder "
            f"{source.id!r}.)"
        )
    for config in source.configs or (None,):
        for split in source.splits:
            place = {"@split": split} | ({"@config": config} if config else {})
            origin = "/".join((source.id, *([config] if config else []), split))
            yield from _arrow_rows(_hub_batches(source, root if local else None, config, split), origin, place)


def _hub_batches(source: HubSource, root: Path | None, config: str | None, split: str) -> Iterator[Any]:
    import datasets  # a second of import that local files do not need

    path = source.id if root is None else str(root / source.id)
    try:
        loaded = datasets.load_dataset(path, name=config, split=split, revision=None if root else source.revision)
    except (OSError, ValueError, KeyError, datasets.exceptions.DatasetsError) as error:
        raise SourceError(
            f"source {source.name!r}: data set {source.id} (config {config or 'default'}, split {split}) "
            f"cannot be loaded ({type(error).__name__}: {error}). Check id, revision, configs, splits and network."
        ) from error
    return iter(loaded.with_format("arrow").iter(_BATCH_ROWS))
