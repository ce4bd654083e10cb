"""Mapping raw fields to columns."""

from typing import Any

import pytest

from compass_ops.corpus.fields import FieldMapping, MappedRow, RawRow, Rule, mapped_rows, ready_rows
from compass_ops.errors import ParamsError, SourceError


def _map(
    rows: list[Any],
    fields: dict[str, Rule],
    constants: dict[str, Any] | None = None,
    where: dict[str, list[str]] | None = None,
    *,
    textual: bool = False,
) -> list[MappedRow]:
    raw = [RawRow("f.jsonl", number, row, textual=textual) for number, row in enumerate(rows, start=1)]
    return list(mapped_rows("pool", raw, FieldMapping(fields, constants or {}, where or {})))


def test_every_form_of_rule() -> None:
    row = {"q": "Why?", "a": "x", "b": "y", "key": "B", "id": "sib200:swh_Latn:431", "extra": None}
    fields: dict[str, Rule] = {
        "prompt": "q",
        "choices": ["a", "b"],
        "completion": {"template": "{a} + {b}{extra}"},
        "parallel_id": {"field": "id", "pattern": "^([^:]+):.*?([^:]+)$"},
        "topic": {"field": "id", "pattern": "[a-z]{3}_[A-Z]"},
        "answer": {"field": "key", "values": {"A": 0, "B": 1}},
        "weight": {"field": "extra", "values": {"A": 0}},
    }
    (mapped,) = _map([row], fields, {"role": "own", "language": "sw"})
    assert mapped.columns == {
        "role": "own",
        "language": "sw",
        "prompt": "Why?",
        "choices": ["x", "y"],
        "completion": "x + y",
        "parallel_id": "sib200:431",
        "topic": "swh_L",
        "answer": 1,
        "weight": None,
    }


def test_a_template_does_not_fill_in_what_a_field_says() -> None:
    (mapped,) = _map([{"q": "{secret}", "secret": "x"}], {"prompt": {"template": "{q}"}})
    assert mapped.columns == {"prompt": "{secret}"}


def test_rows_that_do_not_fit_are_faults_and_the_others_go_on() -> None:
    rows = [{"k": "C", "id": "a:1"}, {"k": "A", "id": "none"}, "text", {"k": "A", "id": "a:2"}]
    mapped = _map(
        rows,
        {
            "answer": {"field": "k", "values": {"A": 0}},
            "parallel_id": {"field": "id", "pattern": ":(.)"},
        },
    )
    assert [row.fault for row in mapped] == [
        "answer: 'C' is none of the mapped values A",
        "parallel_id: pattern ':(.)' finds nothing in 'none'",
        "a row must be an object with named fields; got str",
        None,
    ]
    assert mapped[3].columns == {"answer": 0, "parallel_id": "2"}


def test_where_keeps_rows_with_one_of_the_values() -> None:
    rows = [{"q": "a", "split": "train"}, {"q": "b", "split": 3}, {"q": "c"}, {"q": "d", "split": "test"}]
    mapped = _map(rows, {"prompt": "q"}, where={"split": ["train", "3"]})
    assert [row.columns for row in mapped] == [{"prompt": "a"}, {"prompt": "b"}, None, None]
    assert [row.fault for row in mapped] == [None] * 4


def test_text_files_get_the_types_of_the_columns() -> None:
    rows = [
        {"p": "", "a": "2", "w": "0.5", "c": '["x", "y"]', "t": ""},
        {"p": "q", "a": "two", "w": "", "c": "[x", "t": "7"},
    ]
    fields: dict[str, Rule] = {"prompt": "p", "answer": "a", "weight": "w", "choices": "c", "topic": "t"}
    mapped = _map(rows, fields, textual=True)
    assert mapped[0].columns == {"prompt": "", "answer": 2, "weight": 0.5, "choices": ["x", "y"], "topic": None}
    assert mapped[1].columns == {"prompt": "q", "answer": "two", "weight": None, "choices": "[x", "topic": "7"}


@pytest.mark.parametrize(
    ("rows", "where", "message"),
    [
        ([{"prmpt": "a"}], {}, "no row has the field 'prompt' .* the rows have prmpt. Did you mean 'prmpt'"),
        ([{"prompt": "a"}], {"split": ["x"]}, "no row has the field 'split'"),
        ([], {}, "there is no row in it"),
        ([{"prompt": "a", "split": "y"}], {"split": ["x"]}, "its where keeps none of 1 rows"),
    ],
)
def test_a_mapping_that_misses_the_rows_is_an_error(rows: list[Any], where: dict[str, list[str]], message: str) -> None:
    with pytest.raises(SourceError, match=f"^source 'pool': .*{message}"):
        _map(rows, {"prompt": "prompt"}, where=where)


def test_a_field_that_some_rows_lack_is_none_there() -> None:
    mapped = _map([{"p": "a"}, {"p": "b", "t": "x"}], {"prompt": "p", "topic": "t"})
    assert [row.columns["topic"] for row in mapped if row.columns] == [None, "x"]


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"field": "id", "pattern": "("}, r"pattern '\(' is no regular expression"),
        ({"field": "id"}, "a rule must be"),
        ({"field": "id", "pattern": "a", "values": {}}, "a rule must be"),
        ({"template": "{a}", "field": "id"}, "a rule must be"),
        ({}, "a rule must be"),
    ],
)
def test_a_malformed_rule_is_a_fault_of_the_params(rule: Rule, message: str) -> None:
    with pytest.raises(ParamsError, match=f"^source 'pool': id: .*{message}"):
        _map([{"id": "a"}], {"id": rule})


def test_ready_rows_pass_as_they_are() -> None:
    row = {"prompt": "a"}
    (mapped,) = ready_rows("worldfacts", [row])
    assert (mapped.raw.origin, mapped.raw.number, mapped.columns, mapped.fault) == ("worldfacts", 1, row, None)
    assert mapped.columns is not row
