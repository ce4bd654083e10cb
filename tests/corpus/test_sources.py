"""Reading local files and Hugging Face data sets."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compass_ops.corpus.fields import FieldMapping, RawRow
from compass_ops.corpus.sources import FilesSource, HubSource, read_files, read_hub
from compass_ops.errors import SourceError

NO_MAPPING = FieldMapping({}, {}, {})
ROWS: list[dict[str, Any]] = [{"q": "één", "n": 1}, {"q": "สอง", "n": 2}]


def _read(root: Path, *files: str) -> list[RawRow]:
    return list(read_files(FilesSource("pool", files, NO_MAPPING), root))


def _at(origin: str, row: dict[str, Any]) -> dict[str, Any]:
    return row | {"@file": origin}


def test_json_lines_plain_and_packed_in_sorted_order(tmp_path: Path) -> None:
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "b.jsonl").write_bytes(b"\xef\xbb\xbf" + text)
    (tmp_path / "data" / "a.jsonl.gz").write_bytes(gzip.compress(text))
    expected = [
        RawRow(name, number, _at(name, row))
        for name in ("data/a.jsonl.gz", "data/b.jsonl")
        for number, row in enumerate(ROWS, start=1)
    ]
    assert _read(tmp_path, "data/*.jsonl*") == expected
    assert _read(tmp_path, "data/b.jsonl", "**/*.gz") == expected
    assert [row.origin for row in _read(tmp_path / "data", "../data/b.jsonl")] == ["../data/b.jsonl"] * 2
    elsewhere = str(tmp_path / "data" / "b.jsonl")
    assert [row.origin for row in _read(tmp_path / "other", elsewhere)] == [elsewhere] * 2


def test_a_malformed_line_is_a_fault_of_that_line(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"q": "a"}\n\n{"q": \n{"q": "\xff"}\n[1]\n{"q": "b"}')
    rows = _read(tmp_path, "a.jsonl")
    assert [(row.number, row.fault is None) for row in rows] == [
        (1, True),
        (3, False),
        (4, False),
        (5, True),
        (6, True),
    ]
    assert rows[1].fault is not None
    assert rows[1].fault.startswith("the line is no JSON (Expecting value")
    assert rows[1].value == '{"q":'
    assert (rows[2].fault, rows[2].value) == ("the line is not UTF-8 at byte 8", '{"q": "\\xff"}\n')
    assert rows[3].value == [1]


@pytest.mark.parametrize("line", ["[" * 100_000, '{"q": ' + "9" * 5000 + "}"])
def test_json_that_python_cannot_hold_is_a_fault_of_that_line(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.jsonl").write_text(line + '\n{"q": 1}\n')
    first, second = _read(tmp_path, "a.jsonl")
    assert first.fault is not None
    assert first.fault.startswith("the line is no JSON")
    assert second.value == {"q": 1, "@file": "a.jsonl"}


def test_a_json_list(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([*ROWS, 3]), "utf-8")
    assert [row.value for row in _read(tmp_path, "a.json")] == [_at("a.json", row) for row in ROWS] + [3]


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_delimited_text(tmp_path: Path, ending: str, delimiter: str) -> None:
    lines = ["q,n", '"a,\tb\nc",1', "", "short", "d,2,3", "é,4"]
    content = "\n".join(line if ending == "csv" or "b" in line else line.replace(",", "\t") for line in lines)
    if ending == "tsv":
        content = content.replace('c",1', 'c"\t1')
    name = f"a.{ending}"
    (tmp_path / name).write_bytes(content.encode() + b"\n\xff" + delimiter.encode() + b"5\n")
    rows = _read(tmp_path, name)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0] == RawRow(name, 1, _at(name, {"q": "a,\tb\nc", "n": "1"}), textual=True)
    assert rows[1].fault == "the row has 1 cells, the header 2"
    assert rows[2].fault == "the row has 3 cells, the header 2"
    assert rows[3].value == _at(name, {"q": "é", "n": "4"})
    assert rows[4].value["q"] == "\udcff"  # refused by the record check


def test_parquet(tmp_path: Path) -> None:
    rows = [{"q": f"q{number}", "choices": ["a", "b"], "n": None} for number in range(20_000)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    read = _read(tmp_path, "a.parquet")
    assert [row.value for row in read] == [_at("a.parquet", row) for row in rows]
    assert [row.number for row in read] == list(range(1, 20_001))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl.gz", b"no gzip", "a.jsonl.gz cannot be read .*Restore the file"),
        ("a.jsonl.gz", gzip.compress(b'{"q": 1}\n' * 1000, mtime=0)[:-12], "a.jsonl.gz cannot be read"),
        ("a.parquet", b"no parquet", "a.parquet cannot be read"),
        ("a.csv", b'q,n\n"a,1\n', "a.csv cannot be read .*unexpected end of data"),
        ("a.csv", b"q,q\na,1\n", "two columns have the same name"),
        ("a.json", b'{"q": 1}', "must hold a list of rows; it holds a dict"),
        ("a.json", b'{"q": 1}\n{"q": 2}', "is no JSON .*jsonl if it has a row per line"),
        ("a.txt", b"q", "the ending must be one of .jsonl, .*Rename the file"),
    ],
)
def test_an_unreadable_file_is_an_error_with_a_remedy(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message):
        _read(tmp_path, name)


@pytest.mark.parametrize("pattern", ["a.jsonl", "b/*.jsonl", "**/*.csv"])
def test_a_glob_without_a_match_is_an_error(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(SourceError, match=r"source 'pool': no file matches .* Correct ingest.sources"):
        _read(tmp_path, pattern)


def _hub(folder: str, configs: tuple[str, ...] = (), revision: str | None = None, split: str = "test") -> HubSource:
    return HubSource("mmlu", folder, revision, configs, (split,), NO_MAPPING)


@pytest.fixture
def hub_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set of two configurations in the hub's layout, and a cache of its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for config in ("sw", "th"):
        (tmp_path / "mmlu" / config).mkdir(parents=True)
        rows = [{"question": f"{config} {number}", "options": ["a", "b"]} for number in range(3)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "mmlu" / config / "test.parquet")
    card = "".join(
        f"- config_name: {config}\n  data_files:\n  - split: test\n    path: {config}/test.parquet\n"
        for config in ("sw", "th")
    )
    (tmp_path / "mmlu" / "README.md").write_text(f"---\nconfigs:\n{card}---\n")
    return tmp_path


def test_a_data_set_in_the_hubs_layout(hub_root: Path) -> None:
    rows = list(read_hub(_hub("mmlu", ("th", "sw")), hub_root))
    assert rows == [
        RawRow(
            f"mmlu/{config}/test",
            number + 1,
            {"question": f"{config} {number}", "options": ["a", "b"], "@split": "test", "@config": config},
        )
        for config in ("th", "sw")
        for number in range(3)
    ]


@pytest.mark.parametrize(("configs", "split"), [(("xx",), "test"), (("sw",), "train"), ((), "test")])
def test_an_unknown_config_or_split_is_an_error(hub_root: Path, configs: tuple[str, ...], split: str) -> None:
    with pytest.raises(SourceError, match=r"(?s)source 'mmlu': data set mmlu .* cannot be loaded .* Check id"):
        list(read_hub(_hub("mmlu", configs, split=split), hub_root))


@pytest.mark.parametrize("revision", [None, "", "main", "abc123", "A" * 40])
def test_a_remote_data_set_needs_a_commit(tmp_path: Path, revision: str | None) -> None:
    with pytest.raises(SourceError, match="CohereLabs/Global-MMLU needs a pinned revision"):
        list(read_hub(_hub("CohereLabs/Global-MMLU", revision=revision), tmp_path))


def test_a_folder_with_a_revision_is_refused_since_it_has_none(hub_root: Path) -> None:
    with pytest.raises(SourceError, match="mmlu is a folder here, and a revision is given: a folder has none"):
        list(read_hub(_hub("mmlu", ("sw",), revision="0" * 40), hub_root))


def test_an_unreachable_hub_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"source 'mmlu': data set nobody/nothing .* cannot be loaded"):
        list(read_hub(_hub("nobody/nothing", revision="0" * 40), tmp_path))
