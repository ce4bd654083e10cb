"""Immutable windows of production prompts, per language: from a request log, or simulated.

A window never changes (see ``cut``): appending to the log only adds windows. Where no text is to be kept, a window is
its vectors and what its texts are made of.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compass_ops.corpus.records import to_table
from compass_ops.corpus.traits import session_numbers, text_traits
from compass_ops.errors import ParamsError, SourceError
from compass_ops.monitoring.request_log import LogSettings, Reject, Request, read_log
from compass_ops.monitoring.windows import EMBEDDER_FILE, Embedding, vectors_to_keep
from compass_ops.seeding import generator
from compass_ops.storage import fresh_folder, write_array, write_json, write_table

WINDOWS_FILE = "windows.json"
REJECTS_FILE = "rejects.parquet"
NO_WINDOW = "0000"
_ROLE = "traffic"

# (language, topic weights, rows, generator) -> records
Draw = Callable[[str, Mapping[str, float], int, np.random.Generator], Sequence[Mapping[str, Any]]]

_REJECT_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("language", pa.string()),
        ("reason", pa.string()),
        ("record", pa.string()),
    ]
)


@dataclass(frozen=True)
class Phase:
    """What users of a language ask from window ``start`` (counted from 1) on: topic -> weight, in any unit."""

    start: int
    topics: Mapping[str, float]


@dataclass(frozen=True)
class SimulationSettings:
    """A simulated stream.

    Attributes
    ----------
    windows : int
        Windows that there are, >= 1.
    usage : mapping of language to {topic: weight}
        What users ask at first: one entry per language of the stream.
    shifts : mapping of language to Phases
        What they ask later; a language without entry never changes.
    """

    windows: int
    usage: Mapping[str, Mapping[str, float]]
    shifts: Mapping[str, tuple[Phase, ...]]


@dataclass(frozen=True)
class Traffic:
    """Windows by name, each a table per language, and what the log held that is no request."""

    windows: Mapping[str, Mapping[str, pa.Table]]
    rejects: Sequence[Reject]


def window_name(number: int) -> str:
    """Return the name of the window with this number, counted from 1."""
    return f"{number:04d}"


def simulated_traffic(settings: SimulationSettings, until: str, window_rows: int, draw: Draw, seed: int) -> Traffic:
    """Simulate all windows up to ``until``; each depends on its language, its name and the seed alone."""
    last = _checked_until(until, settings.windows, "traffic.windows")
    windows: dict[str, dict[str, pa.Table]] = {}
    for name in map(window_name, range(1, last + 1)):
        windows[name] = {}
        for language in sorted(settings.usage):
            rng = generator(seed, _ROLE, language, name)
            drawn = draw(language, _topics(settings, language, int(name)), window_rows, rng)
            windows[name][language] = with_request_columns(to_table(drawn))
    return Traffic(windows, [])


def logged_traffic(settings: LogSettings, until: str, languages: Sequence[str], root: Path) -> Traffic:
    """Cut a request log into windows, up to ``until``.

    Under ``window_rows`` a language that has asked less has fewer windows; rows that do not fill one wait for the
    next call.
    """
    if until == NO_WINDOW:
        return Traffic({}, [])
    log = read_log(settings, languages, int(until) if until.isdigit() else 0, root)
    if log.rejects and not log.accepted:
        first = log.rejects[0]
        raise SourceError(
            f"traffic: none of the {len(log.rejects)} rows of the log is a request; {first.source}:{first.row}: "
            f"{first.told}. Correct traffic.log.fields or the log."
        )
    last = _checked_until(until, log.complete, "the log's complete windows")
    windows = {
        window_name(number): {
            language: _request_table(window_name(number), requests)
            for language, requests in log.windows.get(number, {}).items()
        }
        for number in range(1, last + 1)
    }
    return Traffic(windows, log.rejects)


def write_traffic(traffic: Traffic, out: Path, embedding: Embedding | None = None) -> None:
    """Write ``out/<window>/<language>.parquet``, the windows' names in order, and the rejected rows.

    With an ``embedding`` no text is kept: ``<language>.npy`` takes the place of the prompts, labels and rejected
    records are left out.
    """
    with fresh_folder(out) as aside:
        for name, tables in traffic.windows.items():
            for language, table in tables.items():
                file = aside / name / f"{language}.parquet"
                if embedding is not None:
                    write_array(
                        file.with_suffix(".npy"), vectors_to_keep(embedding, table.column("prompt").to_pylist())
                    )
                write_table(file, table if embedding is None else _without_text(table))
        write_json(aside / WINDOWS_FILE, sorted(traffic.windows))
        if embedding is not None:
            write_json(aside / EMBEDDER_FILE, {"digest": embedding.digest, "prefix": embedding.prefix})
        rejects = [_told(reject) if embedding is None else _bare(reject) for reject in traffic.rejects]
        write_table(aside / REJECTS_FILE, pa.Table.from_pylist(rejects, schema=_REJECT_SCHEMA))


def _told(reject: Reject) -> dict[str, Any]:
    return _bare(reject) | {"language": reject.language, "record": reject.record, "reason": reject.told}


def _bare(reject: Reject) -> dict[str, Any]:
    """Return where a rejected row stands and why, without anything that was in it."""
    return {"source": reject.source, "row": reject.row, "language": None, "record": "", "reason": reject.reason}


def _without_text(table: pa.Table) -> pa.Table:
    """Empty what was written by a user, and the session's name with it: a number tells sessions apart as well.

    Fields stay as they are, so that the rows still join those of records.
    """
    empty = [""] * table.num_rows
    sessions = map(str, session_numbers(table.column("session").to_pylist()))
    for name, values in (("prompt", empty), ("completion", empty), ("session", [*sessions])):
        place, field = table.column_names.index(name), table.schema.field(name)
        table = table.set_column(place, field, pa.array(values, field.type))
    return table


def _checked_until(until: str, available: int, what: str) -> int:
    if not (until.isascii() and until.isdigit() and len(until) == 4):
        raise ParamsError(
            f"params.yaml: traffic.until must be a window's name in quotes, four digits; got {until!r}. "
            f'Write "{NO_WINDOW}" for no window yet, "0001" for the first.'
        )
    if int(until) > available:
        raise ParamsError(
            f"params.yaml: traffic.until must be at most {window_name(available)}, the last of {what}; got "
            f"{until}. Set it back, or add traffic."
        )
    return int(until)


def _topics(settings: SimulationSettings, language: str, number: int) -> Mapping[str, float]:
    begun = [phase for phase in settings.shifts.get(language, ()) if phase.start <= number]
    return max(begun, key=lambda phase: phase.start).topics if begun else settings.usage[language]


def _request_table(window: str, requests: Sequence[Request]) -> pa.Table:
    records = [
        {
            "id": f"{request.language}:{window}:{place:06d}",
            "language": request.language,
            "role": _ROLE,
            "prompt": request.prompt,
            "completion": request.label,
            "choices": None,
            "answer": None,
            "topic": None,
            "parallel_id": None,
            "source": "request log",
            "weight": 1.0,
        }
        for place, request in enumerate(requests)
    ]
    times = [request.time for request in requests]
    sessions = [request.session for request in requests]
    return with_request_columns(to_table(records), times, sessions)


def with_request_columns(
    table: pa.Table, times: Sequence[str] | None = None, sessions: Sequence[str | None] | None = None
) -> pa.Table:
    """Append to records when and in which session they were asked (null where nothing is known), and their traits."""
    for name, values in (("time", times), ("session", sessions)):
        column = values if values is not None else [None] * len(table)
        table = table.append_column(name, pa.array(column, type=pa.string()))
    traits = text_traits(table.column("prompt").to_pylist())
    for name in traits.column_names:
        table = table.append_column(name, traits.column(name))
    return table
