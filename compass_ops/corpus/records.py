"""The record: its columns, the checks that a raw row must pass, and its way into and out of Arrow tables."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from unicodedata import is_normalized, normalize

import pyarrow as pa

from compass_ops.corpus.languages import language_tag
from compass_ops.errors import SourceError

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("completion", pa.string(), nullable=False),
        pa.field("choices", pa.list_(pa.string())),
        pa.field("answer", pa.int64()),
        pa.field("topic", pa.string()),
        pa.field("parallel_id", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
    ]
)
COLUMNS = tuple(SCHEMA.names)
_COLUMN_SET = frozenset(COLUMNS)
INPUT_ROLES = ("target", "own", "auxiliary", "test", "pretrain")
_NEEDS_COMPLETION = {"own", "auxiliary"}

Record = dict[str, Any]


class RecordFault(ValueError):
    """Why one raw row is no record: one sentence that names the field, what it must be and what came."""


def checked_record(raw: Mapping[str, Any]) -> Record:
    """Turn a raw mapping into a record, or say precisely why it is none.

    Texts are NFC-normalised and stripped at the ends. A missing ``completion`` is filled from ``choices[answer]``
    and a missing ``answer`` from the place of ``completion`` in ``choices``. A missing ``id`` becomes the hash of
    the content (``content_id``), a missing ``weight`` 1, the one that is taken: no stage weighs rows.

    Parameters
    ----------
    raw : mapping
        Column name of the schema -> value; optional ones may be absent or None.

    Returns
    -------
    dict
        One value for every column of ``SCHEMA``.

    Raises
    ------
    RecordFault
        With the first fault found.
    """
    for name in raw.keys() - _COLUMN_SET:
        raise RecordFault(f"{name!r} is no column of a record{_close(name, COLUMNS)}")
    role = _role(raw.get("role"))
    language = _language(raw.get("language"))
    prompt = _text("prompt", raw.get("prompt"))
    if not prompt:
        raise RecordFault("prompt is empty")
    choices = _choices(raw.get("choices"))
    completion = "" if raw.get("completion") is None else _text("completion", raw["completion"])
    completion, answer = _answered(completion, choices, raw.get("answer"))
    if role == "test" and answer is None:
        raise RecordFault("a test row needs choices and an answer, otherwise it cannot be scored; it has none")
    if role in _NEEDS_COMPLETION and not completion:
        raise RecordFault(f"completion is empty; a row of role {role!r} is trained on, so it needs one")
    identity = _optional("id", raw.get("id"))
    return {
        "id": content_id(language, prompt, completion, choices) if identity is None else identity,
        "language": language,
        "role": role,
        "prompt": prompt,
        "completion": completion,
        "choices": choices,
        "answer": answer,
        "topic": _optional("topic", raw.get("topic")),
        "parallel_id": _optional("parallel_id", raw.get("parallel_id")),
        "source": _text("source", raw.get("source")),
        "weight": _weight(raw.get("weight")),
    }


def content_id(language: str, prompt: str, completion: str, choices: Sequence[str] | None) -> str:
    """Return the id of a row whose source has none: 80 bits of SHA-256 over its texts, the same in every run."""
    hashed = hashlib.sha256("\x1f".join((language, prompt, completion, *(choices or ()))).encode())
    return f"sha-{hashed.hexdigest()[:20]}"


def to_table(records: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Return checked records as one Arrow table of ``SCHEMA``, in their order."""
    columns = [pa.array([record[field.name] for record in records], type=field.type) for field in SCHEMA]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def to_records(table: pa.Table) -> list[Record]:
    """Return the rows of a table as records, in their order; further columns are left out."""
    columns = [table.column(name).to_pylist() for name in COLUMNS]
    return [dict(zip(COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)]


def _came(value: object) -> str:
    """What came instead: its kind and, if short, itself."""
    if value is None:
        return "nothing"
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 40 else shown[:37] + '...'}"


def _close(name: object, names: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(name), names, n=1)
    return f". Did you mean {close[0]!r}?" if close else ""


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise RecordFault(f"{name} must be text; got {_came(value)}")
    if value.isascii():
        return value.strip()
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RecordFault(f"{name} is not valid Unicode at character {error.start + 1}") from error
    return normal_text(value)


def normal_text(text: str) -> str:
    """Return a text as all rooms see it: NFC-normalised (Unicode Annex 15), without white space at its ends."""
    return (text if is_normalized("NFC", text) else normalize("NFC", text)).strip()


def _optional(name: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(name, value) or None


def _role(value: object) -> str:
    if isinstance(value, str) and value in INPUT_ROLES:
        return value
    raise RecordFault(f"role must be one of {', '.join(INPUT_ROLES)}; got {_came(value)}{_close(value, INPUT_ROLES)}")


def _language(value: object) -> str:
    try:
        return language_tag(_text("language", value))
    except SourceError as error:
        raise RecordFault(str(error)) from error


def _choices(value: object) -> list[str] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise RecordFault(f"choices must be a list of texts; got {_came(value)}")
    choices = [_text(f"choice {place}", choice) for place, choice in enumerate(value)]
    if len(choices) < 2:
        raise RecordFault(f"choices must be at least 2; got {len(choices)}")
    if len(set(choices)) < len(choices):
        repeated = next(choice for choice in choices if choices.count(choice) > 1)
        raise RecordFault(f"choices must differ; {repeated!r} stands there {choices.count(repeated)} times")
    if "" in choices:
        raise RecordFault(f"choice {choices.index('')} is empty")
    return choices


def _answered(completion: str, choices: list[str] | None, answer: object) -> tuple[str, int | None]:
    """Return completion and answer in agreement with the choices."""
    if choices is None:
        if answer is not None:
            raise RecordFault(f"answer is {answer!r}, but there are no choices it could be the place in")
        return completion, None
    if answer is None:
        if completion and completion not in choices:
            raise RecordFault(f"completion {completion[:40]!r} is none of the choices")
        return completion, choices.index(completion) if completion else None
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)  # pandas writes an integer column with gaps as floats
    if isinstance(answer, bool) or not isinstance(answer, int):
        raise RecordFault(f"answer must be an integer, the place in choices from 0; got {_came(answer)}")
    if not 0 <= answer < len(choices):
        raise RecordFault(f"answer must be between 0 and {len(choices) - 1}; got {answer}")
    if completion and completion != choices[answer]:
        raise RecordFault(f"completion {completion[:40]!r} is not choices[{answer}], which is {choices[answer][:40]!r}")
    return choices[answer], answer


def _weight(value: object) -> float:
    if value is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RecordFault(f"weight must be a number; got {_came(value)}")
    if value != 1:
        raise RecordFault(
            f"weight must be 1, since no stage weighs rows; got {str(value)[:40]}. Leave rows out by `where`"
        )
    return 1.0
