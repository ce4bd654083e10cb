"""What users asked, from a request log: rows in the order of the log, and those that are none with the reason."""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from compass_ops.corpus.fields import FieldMapping, RawRow
from compass_ops.corpus.languages import language_tag
from compass_ops.corpus.records import normal_text
from compass_ops.corpus.sources import FilesSource, read_files
from compass_ops.errors import SourceError
from compass_ops.monitoring.cut import RECENT, CountCut, Cut, TimeCut

LOG_FIELDS = ("time", "language", "prompt", "session", "label")
_LONGEST_RECORD = 2000  # characters of a rejected row that are kept
_SECONDS = re.compile(r"(?!\d{8}$)\d+(\.\d+)?", re.ASCII)  # eight digits are a date in ISO 8601
_YEARS = range(1970, 2101)
_END = datetime(2101, 1, 1, tzinfo=UTC).timestamp()
_FINER = {"milliseconds": 1e3, "microseconds": 1e6, "nanoseconds": 1e9}


@dataclass(frozen=True)
class LogSettings:
    """Where the log is.

    Attributes
    ----------
    files : tuple of str
        Globs of JSONL, CSV or Parquet files, relative to the project or absolute; read in sorted order. A log grows at
        the end of its last file, or by files that sort behind it: lines elsewhere cut its windows anew.
    fields : mapping
        From ``time``, ``language``, ``prompt`` and, where the log has them, ``session`` and ``label`` to the log's
        names.
    window_rows : int
        Requests of a language that make a window.
    window_hours : float or None
        Hours that make a window, for all languages; None for ``window_rows``.
    """

    files: tuple[str, ...]
    fields: Mapping[str, str]
    window_rows: int
    window_hours: float | None


@dataclass(frozen=True)
class Request:
    """One prompt of the log.

    Attributes
    ----------
    time : str
        ISO 8601 in UTC; for reports, since the order of the log decides what is late.
    session : str or None
        What belongs to one conversation.
    label : str
        What the answer should have been, or "" where the log does not say it in words.
    """

    time: str
    language: str
    prompt: str
    session: str | None
    label: str


@dataclass(frozen=True)
class Reject:
    """A row that is no request, or whose label is none.

    Attributes
    ----------
    source, row
        Where it stands.
    language : str or None
        As the row names it.
    reason : str
        Why it is none, without anything that was written in the row.
    shown : str
        The part of the row that the reason is about, or "".
    record : str
        The row as JSON.
    """

    source: str
    row: int
    language: str | None
    reason: str
    shown: str
    record: str

    @property
    def told(self) -> str:
        """The reason with the part of the row that it is about."""
        return f"{self.reason}: {self.shown}" if self.shown else self.reason


@dataclass(frozen=True)
class RequestLog:
    """What a log holds.

    Attributes
    ----------
    windows : mapping of number to {language: requests}
        Complete windows up to the one asked for; a language without request is left out.
    complete : int
        Number of the last window that is complete for at least one language; 0 for none.
    accepted : int
        Rows that are requests.
    rejects : list of Reject
    """

    windows: dict[int, dict[str, list[Request]]]
    complete: int
    accepted: int
    rejects: list[Reject]


class _Fault(ValueError):
    """Why a row is no request; ``shown`` is the part of the row that it is about, which the reason does not repeat."""

    def __init__(self, reason: str, shown: str = "") -> None:
        super().__init__(reason)
        self.shown = shown


def read_log(settings: LogSettings, languages: Collection[str], until: int, root: Path) -> RequestLog:
    """Read a request log and cut it into windows.

    Parameters
    ----------
    settings : LogSettings
    languages : collection of str
        Canonical tags of the project's target languages; rows of others are rejected.
    until : int
        Number of the last window whose requests are kept; later ones are only counted.
    root : Path
        The project's folder.

    Raises
    ------
    SourceError
        If no file matches or one cannot be read.
    """
    source = FilesSource("traffic", settings.files, FieldMapping({}, {}, {}))
    cut = _cut(settings, source, root)
    windows: dict[int, dict[str, list[Request]]] = {}
    accepted, rejects = 0, []
    for raw in read_files(source, root):
        try:
            moment = _moment(raw, settings.fields)
            cut.see(moment)
            label, ignored = _label(raw, settings.fields)
            request = _request(raw, settings.fields, languages, moment, label)
            number = cut.number(request.language, moment)
        except ValueError as error:
            rejects.append(_reject(raw, settings.fields, error))
            continue
        accepted += 1
        if ignored is not None:
            rejects.append(_reject(raw, settings.fields, ignored))
        if number <= until:
            windows.setdefault(number, {}).setdefault(request.language, []).append(request)
    kept = {
        number: {language: rows for language, rows in sorted(asked.items()) if number <= cut.complete(language)}
        for number, asked in sorted(windows.items())
    }
    complete = max((cut.complete(language) for language in languages), default=0)
    return RequestLog(kept, complete, accepted, rejects)


def _cut(settings: LogSettings, source: FilesSource, root: Path) -> Cut:
    if settings.window_hours is None:
        return CountCut(settings.window_rows)
    moments = (moment for raw in read_files(source, root) if (moment := _told(raw, settings.fields)) is not None)
    return TimeCut(settings.window_hours, list(islice(moments, RECENT)))


def _told(raw: RawRow, fields: Mapping[str, str]) -> datetime | None:
    try:
        return _moment(raw, fields)
    except _Fault:
        return None


def _moment(raw: RawRow, fields: Mapping[str, str]) -> datetime:
    if raw.fault is not None:
        raise _Fault(raw.fault)
    if not isinstance(raw.value, dict):
        raise _Fault(f"a row must be an object with named fields; got {type(raw.value).__name__}")
    return _time(_given(raw.value, "time", fields))


def _field(row: Mapping[str, Any], name: str, fields: Mapping[str, str]) -> Any:
    return row.get(fields[name]) if name in fields else None


def _given(row: Mapping[str, Any], name: str, fields: Mapping[str, str]) -> Any:
    value = _field(row, name, fields)
    if value in (None, ""):
        raise _Fault(f"{name} is missing: there is no value in field {fields.get(name)!r}")
    return value


def _request(
    raw: RawRow, fields: Mapping[str, str], languages: Collection[str], moment: datetime, label: str
) -> Request:
    given = {name: _given(raw.value, name, fields) for name in ("language", "prompt")}
    session = _field(raw.value, "session", fields)
    return Request(
        time=moment.isoformat(),
        language=_language(given["language"], languages),
        prompt=_text("prompt", given["prompt"]),
        session=None if session is None else _text("session", str(session), empty=True) or None,
        label=label,
    )


def _label(raw: RawRow, fields: Mapping[str, str]) -> tuple[str, _Fault | None]:
    """Return the answer that the log gives, and why it is none: a rating, such as 4 or true, is no answer."""
    value = _field(raw.value, "label", fields)
    try:
        return "" if value is None else _text("label", value, empty=True), None
    except _Fault as fault:
        return "", _Fault(f"label ignored, the prompt is kept: {fault}")


def _time(value: object) -> datetime:
    if isinstance(value, str) and _SECONDS.fullmatch(value.strip()):
        return _of_seconds(float(value), repr(value[:40]))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _of_seconds(value, repr(value)[:40])
    moment = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise _Fault("time is neither ISO 8601 nor seconds since 1970", repr(value[:40])) from error
    if not isinstance(moment, datetime):
        raise _Fault(f"time must be ISO 8601 or seconds since 1970; got {type(value).__name__}")
    if moment.year not in _YEARS:
        raise _Fault("time lies outside the years 1970 to 2100", repr(str(value)[:40]))
    # A time without zone is taken as UTC: the machine's own zone must not enter an output.
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _of_seconds(value: float, shown: str) -> datetime:
    if 0 <= value < _END:
        return datetime.fromtimestamp(value, UTC)
    likely = next((unit for unit, parts in _FINER.items() if _END <= value < parts * _END), None)
    hint = f", but would be as {likely}" if likely else ""
    raise _Fault(f"time is no number of seconds between 1970 and 2100{hint}", shown)


def _language(value: object, languages: Collection[str]) -> str:
    try:
        tag = language_tag(_text("language", value))
    except SourceError as error:
        raise _Fault("language is not the tag of a known language", str(error)) from error
    if tag not in languages:
        close = difflib.get_close_matches(tag, sorted(languages), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise _Fault("language is none of the project's target languages", f"{tag!r}{hint}")
    return tag


def _text(name: str, value: object, *, empty: bool = False) -> str:
    if not isinstance(value, str):
        raise _Fault(f"{name} must be text; got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise _Fault(f"{name} is not valid Unicode at character {error.start + 1}") from error
    text = normal_text(value)
    if not text and not empty:
        raise _Fault(f"{name} is empty")
    return text


def _reject(raw: RawRow, fields: Mapping[str, str], fault: ValueError) -> Reject:
    language = raw.value.get(fields.get("language", "")) if isinstance(raw.value, dict) else None
    record = raw.value if isinstance(raw.value, str) else json.dumps(raw.value, ensure_ascii=True, default=str)
    return Reject(
        raw.origin,
        raw.number,
        language if isinstance(language, str) and language.isascii() else None,
        str(fault),
        _writable(fault.shown if isinstance(fault, _Fault) else ""),
        _writable(record[:_LONGEST_RECORD]),
    )


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()
