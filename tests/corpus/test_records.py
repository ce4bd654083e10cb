"""Records: what passes, what is refused and why, and tables there and back."""

from typing import Any

import pyarrow as pa
import pytest

from compass_ops.corpus.records import (
    COLUMNS,
    SCHEMA,
    RecordFault,
    checked_record,
    content_id,
    to_records,
    to_table,
)

GOOD: dict[str, Any] = {
    "id": "q1",
    "language": "sw",
    "role": "test",
    "prompt": "Mji mkuu wa Kenya ni upi?",
    "completion": "Nairobi",
    "choices": ["Mombasa", "Nairobi"],
    "answer": 1,
    "topic": "capital",
    "parallel_id": "capital:KE",
    "source": "facts.jsonl",
    "weight": 1,
}


def test_a_good_row_passes_unchanged() -> None:
    assert checked_record(GOOD) == GOOD | {"weight": 1.0}
    assert tuple(checked_record(GOOD)) == COLUMNS


def test_texts_are_nfc_and_stripped() -> None:
    record = checked_record(
        GOOD | {"prompt": " e\u0301 \n", "choices": ["e\u0301", " b"], "completion": "\u00e9", "answer": 0}
    )
    assert record["prompt"] == "\u00e9"
    assert record["choices"] == ["\u00e9", "b"]
    assert record["completion"] == "\u00e9"


def test_what_is_missing_is_filled_where_it_follows() -> None:
    assert checked_record(GOOD | {"completion": None})["completion"] == "Nairobi"
    assert checked_record(GOOD | {"answer": None})["answer"] == 1
    assert checked_record(GOOD | {"answer": 1.0})["answer"] == 1
    assert checked_record(GOOD | {"weight": None})["weight"] == 1.0
    assert checked_record(GOOD | {"id": 7, "parallel_id": 0})["id"] == "7"
    unlabelled = {"role": "target", "language": "sw", "prompt": "Habari?", "source": "s"}
    record = checked_record(unlabelled)
    assert record["id"] == content_id("sw", "Habari?", "", None)
    assert (record["completion"], record["choices"], record["answer"]) == ("", None, None)
    assert checked_record(GOOD | {"role": "target", "answer": None, "completion": ""})["answer"] is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": ""}, "^prompt is empty$"),
        ({"prompt": " \n"}, "^prompt is empty$"),
        ({"prompt": None}, "^prompt must be text; got nothing$"),
        ({"prompt": 3}, "^prompt must be text; got int 3$"),
        ({"prompt": ["a" * 99]}, r"^prompt must be text; got list \['a{33,40}\.\.\.$"),
        ({"prompt": "a\ud800"}, "^prompt is not valid Unicode at character 2$"),
        ({"completion": 5}, "^completion must be text; got int 5$"),
        ({"choices": "a,b"}, "^choices must be a list of texts; got str 'a,b'$"),
        ({"choices": ["Nairobi"]}, "^choices must be at least 2; got 1$"),
        ({"choices": []}, "^choices must be at least 2; got 0$"),
        ({"choices": ["a", "a ", "b"]}, "^choices must differ; 'a' stands there 2 times$"),
        ({"choices": ["a", ""]}, "^choice 1 is empty$"),
        ({"choices": ["a", 1]}, "^choice 1 must be text; got int 1$"),
        ({"answer": 2}, "^answer must be between 0 and 1; got 2$"),
        ({"answer": -1}, "^answer must be between 0 and 1; got -1$"),
        ({"answer": "1"}, "^answer must be an integer, the place in choices from 0; got str '1'$"),
        ({"answer": True}, "^answer must be an integer, .* got bool True$"),
        ({"answer": 0.5}, "^answer must be an integer, .* got float 0.5$"),
        ({"answer": float("nan")}, "^answer must be an integer, .* got float nan$"),
        ({"answer": 0}, r"^completion 'Nairobi' is not choices\[0\], which is 'Mombasa'$"),
        ({"answer": None, "completion": "Kisumu"}, "^completion 'Kisumu' is none of the choices$"),
        ({"choices": None}, "^answer is 1, but there are no choices"),
        ({"choices": None, "answer": None}, "^a test row needs choices and an answer"),
        ({"role": "own", "choices": None, "answer": None, "completion": ""}, "^completion is empty; .*'own'"),
        ({"role": "tets"}, "^role must be one of .*; got str 'tets'. Did you mean 'test'\\?$"),
        ({"role": "dev"}, "^role must be one of"),
        ({"role": None}, "^role must be one of .*; got nothing"),
        ({"role": []}, "^role must be one of .*; got list"),
        ({"language": "english"}, "Did you mean en"),
        ({"language": None}, "^language must be text; got nothing$"),
        ({"weight": float("nan")}, "^weight must be 1, .*; got nan"),
        ({"weight": 0}, "^weight must be 1, since no stage weighs rows; got 0. Leave rows out by `where`$"),
        ({"weight": 10**400}, "^weight must be 1, .*; got 1000"),
        ({"weight": "2"}, "^weight must be a number; got str '2'$"),
        ({"weight": True}, "^weight must be a number"),
        ({"topic": 1.5}, "^topic must be text; got float 1.5$"),
        ({"id": ["a"]}, "^id must be text; got list"),
        ({"promt": "x"}, "^'promt' is no column of a record. Did you mean 'prompt'\\?$"),
    ],
)
def test_a_bad_row_is_refused_with_the_reason(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecordFault, match=reason):
        checked_record(GOOD | change)


def test_content_ids_depend_on_every_text_and_keep_fields_apart() -> None:
    ids = {
        content_id("sw", "a", "b", None),
        content_id("en", "a", "b", None),
        content_id("sw", "ab", "", None),
        content_id("sw", "a", "", ["b"]),
        content_id("sw", "a", "b", ["c", "d"]),
        content_id("sw", "a", "b", ["d", "c"]),
    }
    assert len(ids) == 6
    # printf 'sw\x1fa\x1fb' | sha256sum
    assert content_id("sw", "a", "b", None) == "sha-35a147e1b0b42fa8f2b7"


def test_tables_hold_records_both_ways() -> None:
    bare = checked_record({"role": "target", "language": "th", "prompt": "สวัสดี", "source": "s"})
    records = [checked_record(GOOD), bare]
    table = to_table(records)
    assert table.schema == SCHEMA
    assert to_records(table) == records
    assert to_records(table.append_column("row", pa.array([1, 2]))) == records
    assert to_table([]).num_rows == 0
    assert to_table([]).schema == SCHEMA
