"""Raw rows into tables of checked records, one per role and language, and rejects with their reasons."""

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from compass_ops.corpus.fields import MappedRow
from compass_ops.corpus.records import SCHEMA, Record, RecordFault, checked_record, to_records, to_table

REJECT_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("role", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("record", pa.string(), nullable=False),
    ]
)
TARGET_ROLES = ("target", "own", "test")
# Where a record was read stays beside it until it is written, so that a removed one can be found in its file.
_ORIGIN = (pa.field("origin", pa.string(), nullable=False), pa.field("row", pa.int64(), nullable=False))
_BUFFERED = 50_000

Group = tuple[str, str]


@dataclass(slots=True)
class Collected:
    """What was read.

    ``tables``: (role, language) -> table of ``records.SCHEMA`` with ``origin`` and ``row``, sorted by id;
    ``rejects``: rows of ``REJECT_SCHEMA``; ``read`` and ``left_out``: rows read, and of these left out by the
    ``where`` of a source.
    """

    tables: dict[Group, pa.Table] = field(default_factory=dict)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    read: int = 0
    left_out: int = 0


def collect(sources: Mapping[str, Iterable[MappedRow]], targets: Collection[str]) -> Collected:
    """Check the rows of all sources and sort them by role and language.

    Rows of roles that only a target language needs (target, own, test) are rejected for other languages. Rows
    without an id of their own that are the same are numbered; a repeated id that the source gave is a fault.

    Parameters
    ----------
    sources : mapping of name to mapped rows
        Read in this order.
    targets : collection of str
        Canonical tags of the target languages.
    """
    collected = Collected()
    chunks: dict[Group, list[pa.Table]] = {}
    buffers: dict[Group, list[tuple[Record, str, int]]] = {}
    buffered = 0
    for name, rows in sources.items():
        for mapped in tqdm(rows, desc=f"read {name}", unit="row", disable=None):
            collected.read += 1
            record = _checked(mapped, targets, collected)
            if record is None:
                continue
            group = (record["role"], record["language"])
            buffers.setdefault(group, []).append((record, mapped.raw.origin, mapped.raw.number))
            buffered += 1
            if buffered >= _BUFFERED:
                _flush(buffers, chunks)
                buffered = 0
    _flush(buffers, chunks)
    for group in sorted(chunks):
        collected.tables[group] = _distinct(pa.concat_tables(chunks.pop(group)), collected)
    return collected


def reject(kind: str, reason: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of ``REJECT_SCHEMA`` for a record that has ``origin`` and ``row`` beside its columns."""
    record = {name: row[name] for name in SCHEMA.names}
    return {
        "source": row["origin"],
        "row": row["row"],
        "language": row["language"],
        "role": row["role"],
        "kind": kind,
        "reason": reason,
        "record": _as_json(record),
    }


def rows_of(table: pa.Table, places: Iterable[int]) -> list[Record]:
    """Return some rows of a collected table as records with ``origin`` and ``row``."""
    taken = table.take(pa.array(places, pa.int64()))
    beside = zip(to_records(taken), taken["origin"].to_pylist(), taken["row"].to_pylist(), strict=True)
    return [record | {"origin": origin, "row": row} for record, origin, row in beside]


def _checked(mapped: MappedRow, targets: Collection[str], collected: Collected) -> Record | None:
    raw = mapped.raw
    columns = mapped.columns
    if columns is None:
        if mapped.fault is None:
            collected.left_out += 1
        else:
            collected.rejects.append(_refused(mapped, "invalid", mapped.fault))
        return None
    if columns.get("source") is None:
        columns["source"] = raw.origin
    try:
        record = checked_record(columns)
    except RecordFault as fault:
        collected.rejects.append(_refused(mapped, "invalid", str(fault)))
        return None
    if record["role"] in TARGET_ROLES and record["language"] not in targets:
        reason = (
            f"{record['language']} is no target language, and role {record['role']} is for those; "
            "map its rows to role auxiliary or add it to the languages"
        )
        collected.rejects.append(_refused(mapped, "no target language", reason) | {"language": record["language"]})
        return None
    return record


def _refused(mapped: MappedRow, kind: str, reason: str) -> dict[str, Any]:
    columns = mapped.columns or {}
    value = mapped.raw.value
    if isinstance(value, dict):
        value = {name: cell for name, cell in value.items() if not str(name).startswith("@")}
    named = {name: columns.get(name) for name in ("language", "role")}
    return {
        "source": mapped.raw.origin,
        "row": mapped.raw.number,
        **{name: _encodable(text) if isinstance(text, str) else None for name, text in named.items()},
        "kind": kind,
        "reason": _encodable(reason),
        "record": _as_json(value),
    }


def _as_json(value: object) -> str:
    return _encodable(json.dumps(value, ensure_ascii=False, default=str))


def _encodable(text: str) -> str:
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode("utf-8")


def _flush(buffers: dict[Group, list[tuple[Record, str, int]]], chunks: dict[Group, list[pa.Table]]) -> None:
    for group, rows in buffers.items():
        table = to_table([record for record, _, _ in rows])
        for place, column in enumerate(_ORIGIN, start=1):
            table = table.append_column(column, pa.array([row[place] for row in rows], column.type))
        chunks.setdefault(group, []).append(table)
    buffers.clear()


def _distinct(table: pa.Table, collected: Collected) -> pa.Table:
    """Sort by id (rows of one id stay in the order read) and make the ids distinct."""
    table = table.sort_by("id").combine_chunks()
    ids = table["id"].to_pylist()
    counts = Counter(ids)
    if len(counts) == len(ids):
        return table
    occurrence: Counter[str] = Counter()
    repeated, kept = [], []
    for place, identity in enumerate(ids):
        occurrence[identity] += 1
        if occurrence[identity] > 1 and not identity.startswith("sha-"):
            repeated.append(place)
            continue
        kept.append(place)
        if occurrence[identity] > 1:
            ids[place] = f"{identity}-{occurrence[identity]}"
    for row in rows_of(table, repeated):
        collected.rejects.append(reject("invalid", f"id {row['id']!r} stands before in the same language", row))
    table = table.set_column(0, SCHEMA.field("id"), pa.array(ids, pa.string()))
    return table.take(pa.array(kept, pa.int64()))
