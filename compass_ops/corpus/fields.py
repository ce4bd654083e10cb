r"""From the fields of a raw row to the columns of a record: the mapping that a source has in ``params.yaml``.

A rule says where a column's value comes from:

- ``question``: the raw field of that name;
- ``[option_a, option_b]``: a list of those fields' values;
- ``{template: "{instruction}\n\n{input}"}``: text with raw fields filled in (a missing one leaves nothing);
- ``{field: id, pattern: '([^:]+)$'}``: what the pattern finds, its groups joined by ``:``;
- ``{field: answer, values: {A: 0, B: 1}}``: the value that the raw one stands for.

Besides its own fields a raw row has ``@file``, or ``@config`` and ``@split`` for a hub's data set.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from compass_ops.corpus.records import RecordFault
from compass_ops.errors import ParamsError, SourceError

Rule = str | list[str] | Mapping[str, Any]
_Reader = Callable[[Mapping[str, Any]], Any]
_SLOT = re.compile(r"\{([^{}]+)\}")


class RawRow(NamedTuple):
    """A row as it stands in a source.

    ``number`` counts from 1: the line of a JSON-lines file, otherwise the row without its header. ``fault`` says
    why the row could not be read, with ``value`` what stands there. ``textual`` rows (CSV, TSV) know no types.
    """

    origin: str
    number: int
    value: Any
    fault: str | None = None
    textual: bool = False


class MappedRow(NamedTuple):
    """A raw row with its columns.

    ``columns`` is None for a row with a ``fault``, and for one without that ``where`` leaves out.
    """

    raw: RawRow
    columns: dict[str, Any] | None
    fault: str | None


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """How raw rows become columns.

    ``fields``: column -> rule; ``constants``: column -> value; ``where``: raw field -> the values (as text) that a
    row must have one of.
    """

    fields: Mapping[str, Rule]
    constants: Mapping[str, Any]
    where: Mapping[str, list[str]]


def mapped_rows(name: str, rows: Iterable[RawRow], mapping: FieldMapping) -> Iterator[MappedRow]:
    """Map the rows of the source ``name``, in their order.

    Raises
    ------
    ParamsError
        If a rule is malformed.
    SourceError
        At the end, if a field that the mapping names stood in no row, or if no row was left.
    """
    readers = [(column, *_compiled(f"source {name!r}: {column}", rule)) for column, rule in mapping.fields.items()]
    unseen = {field for _, fields, _ in readers for field in fields} | set(mapping.where)
    where = [(field, frozenset(values)) for field, values in mapping.where.items()]
    known: dict[str, None] = {}
    read = kept = 0
    for raw in rows:
        read += 1
        if raw.fault is not None:
            yield MappedRow(raw, None, raw.fault)
            continue
        if not isinstance(raw.value, dict):
            came = type(raw.value).__name__
            yield MappedRow(raw, None, f"a row must be an object with named fields; got {came}")
            continue
        if unseen:
            unseen.difference_update(raw.value)
            known.update(dict.fromkeys(raw.value))
        if any(str(raw.value.get(field)) not in values for field, values in where):
            yield MappedRow(raw, None, None)
            continue
        kept += 1
        yield _mapped(raw, readers, mapping.constants)
    _check_coverage(name, unseen if known else set(), list(known), (read, kept, bool(where)))


def ready_rows(origin: str, rows: Iterable[Mapping[str, Any]]) -> Iterator[MappedRow]:
    """Pass on rows that already have a record's columns, such as generated ones."""
    for number, row in enumerate(rows, start=1):
        yield MappedRow(RawRow(origin, number, row), dict(row), None)


def _mapped(raw: RawRow, readers: list[tuple[str, list[str], _Reader]], constants: Mapping[str, Any]) -> MappedRow:
    columns = dict(constants)
    for column, _, reader in readers:
        try:
            columns[column] = reader(raw.value)
        except RecordFault as fault:
            return MappedRow(raw, None, f"{column}: {fault}")
    return MappedRow(raw, _typed(columns) if raw.textual else columns, None)


def _check_coverage(name: str, unseen: set[str], known: list[str], counts: tuple[int, int, bool]) -> None:
    read, kept, filtered = counts
    if unseen:
        field = min(unseen)
        close = difflib.get_close_matches(field, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise SourceError(
            f"source {name!r}: no row has the field {field!r} that its mapping names; the rows have "
            f"{', '.join(known[:20])}.{hint} Correct the source's fields or where."
        )
    if not read:
        raise SourceError(f"source {name!r}: there is no row in it. Fill it or take it out of ingest.sources.")
    if filtered and not kept:
        raise SourceError(f"source {name!r}: its where keeps none of {read} rows. Correct the values in where.")


def _compiled(where: str, rule: Rule) -> tuple[list[str], _Reader]:
    """Return the raw fields that a rule reads and the function that reads them."""
    if isinstance(rule, str):
        return [rule], lambda raw: raw.get(rule)
    if isinstance(rule, list):
        return rule, lambda raw: [raw.get(field) for field in rule]
    match dict(rule):
        case {"template": str(template), **rest} if not rest:
            return _SLOT.findall(template), lambda raw: _SLOT.sub(lambda slot: _filled(raw.get(slot[1])), template)
        case {"field": str(field), "pattern": str(text), **rest} if not rest:
            try:
                pattern = re.compile(text)
            except re.error as error:
                raise ParamsError(
                    f"{where}: pattern {text!r} is no regular expression ({error}). Correct it."
                ) from error
            return [field], lambda raw: _found(raw.get(field), pattern)
        case {"field": str(field), "values": dict(values), **rest} if not rest:
            return [field], lambda raw: _stood_for(raw.get(field), values)
    raise ParamsError(
        f"{where}: a rule must be a field's name, a list of names, {{template}}, {{field, pattern}} or "
        f"{{field, values}}; got {dict(rule)}. Write it in one of these forms."
    )


def _filled(value: object) -> str:
    return "" if value is None else str(value)


def _found(value: object, pattern: re.Pattern[str]) -> str | None:
    if value is None:
        return None
    found = pattern.search(str(value))
    if found is None:
        raise RecordFault(f"pattern {pattern.pattern!r} finds nothing in {str(value)[:40]!r}")
    return ":".join(group or "" for group in found.groups()) if found.groups() else found[0]


def _stood_for(value: object, values: Mapping[str, Any]) -> Any:
    if value is None:
        return None
    if str(value) not in values:
        raise RecordFault(f"{str(value)[:40]!r} is none of the mapped values {', '.join(map(str, values))}")
    return values[str(value)]


def _typed(columns: dict[str, Any]) -> dict[str, Any]:
    """Give text from a CSV file the types of its columns; of another form it stays text, which the check names."""
    typed = {column: None if value == "" else value for column, value in columns.items()}
    for column, parse in (("answer", int), ("weight", float), ("choices", json.loads)):
        value = typed.get(column)
        if isinstance(value, str):
            try:
                typed[column] = parse(value)
            except ValueError:
                continue
    if "prompt" in columns:
        typed["prompt"] = columns["prompt"]
    return typed
