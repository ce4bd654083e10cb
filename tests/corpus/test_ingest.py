"""The whole step on a made-up project of three languages with every kind of bad row, and on real data."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from compass_ops.corpus.fields import FieldMapping, MappedRow, mapped_rows, ready_rows
from compass_ops.corpus.ingest import Corpus, IngestSettings, ingest, write_corpus
from compass_ops.corpus.records import SCHEMA
from compass_ops.corpus.sources import FilesSource, read_files
from compass_ops.errors import ParamsError, SourceError, StorageError
from compass_ops.storage import file_digests, read_json, read_table

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"
SETTINGS = IngestSettings(("sw", "th", "zu"), dev_share=0.5, near_duplicates=0.8, keep_translations=False)


def _sentence(role: str, language: str, number: int) -> str:
    """Text of some 70 characters that shares hardly a 5-gram with another's."""
    return f"{language}{number} {hashlib.sha256(f'{role} {number} {language}'.encode()).hexdigest()}?"


def _row(role: str, language: str, number: int, **change: Any) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": f"{role}-{language}-{number}",
        "language": language,
        "role": role,
        "prompt": _sentence(role, language, number),
        "completion": None,
        "choices": [f"yes {number}", f"no {number}", "maybe"],
        "answer": number % 3,
        "parallel_id": f"{role}:{number}",
    }
    return row | change


def _project() -> list[dict[str, Any]]:
    rows = [_row("test", language, number) for language in ("sw", "th") for number in range(40)]
    rows += [_row("target", language, number) for language in ("sw", "th", "zu") for number in range(10)]
    rows += [_row("own", language, number) for language in ("sw", "th", "zu") for number in range(10)]
    rows += [_row("auxiliary", language, number) for language in ("sw", "th", "ha") for number in range(20)]
    rows += [_row("pretrain", "ha", number, choices=None, answer=None) for number in range(5)]
    return rows


def _bad() -> list[tuple[str, dict[str, Any]]]:
    """Rows that must not reach training, each with the kind it ends as."""
    held = _row("test", "sw", 3)
    loud = str(held["prompt"]).upper().replace("?", " !!")
    near = str(held["prompt"]).replace("sw3", "sw4")
    own = _row("own", "sw", 900, parallel_id=None)
    return [
        ("invalid", _row("own", "sw", 901, prompt="")),
        ("invalid", _row("own", "sw", 902, answer=3)),
        ("invalid", _row("own", "english", 903)),
        ("invalid", _row("own", "sw", 904, weight=float("nan"))),
        ("invalid", _row("own", "sw", 5)),
        ("no target language", _row("test", "ha", 906)),
        ("same question", own | {"id": "leak-1", "prompt": loud, "choices": held["choices"], "answer": 0}),
        ("same question", own | {"id": "leak-2", "language": "th", "prompt": loud, "choices": held["choices"]}),
        (
            "same question",
            own | {"id": "leak-3", "role": "pretrain", "prompt": loud, "choices": None, "answer": None},
        ),
        ("near duplicate", own | {"id": "leak-4", "prompt": near, "choices": held["choices"]}),
        ("translation", _row("auxiliary", "ha", 907, parallel_id="test:7")),
        ("repeated", _row("own", "sw", 4, id="own-sw-40")),
    ]


def _ingest(rows: Iterable[dict[str, Any]], settings: IngestSettings = SETTINGS) -> Corpus:
    return ingest({"made": ready_rows("made.jsonl", rows)}, settings)


def test_nothing_is_lost_and_every_bad_row_has_its_reason() -> None:
    good, bad = _project(), _bad()
    corpus = _ingest([*good, *(row for _, row in bad)])
    rejects = corpus.rejects.to_pylist()
    assert Counter(reject["kind"] for reject in rejects) == Counter(kind for kind, _ in bad)
    by_row = {reject["row"]: reject for reject in rejects}
    assert {row - len(good) - 1: reject["kind"] for row, reject in by_row.items()} == {
        place: kind for place, (kind, _) in enumerate(bad)
    }
    assert {reject["source"] for reject in rejects} == {"made.jsonl"}
    for place, (_, row) in enumerate(bad):
        assert json.loads(by_row[len(good) + 1 + place]["record"])["id"] == row["id"]
    kept = Counter({role: sum(row["role"] == role for row in good) for role in ("target", "own", "auxiliary")})
    counts = Counter[str]()
    for (role, _), table in corpus.tables.items():
        assert table.schema == SCHEMA
        counts[role] += len(table)
    assert counts["dev"] + counts["gate"] == 80
    assert {role: counts[role] for role in kept} == kept
    assert corpus.summary["rows"] == {
        "read": len(good) + len(bad),
        "left_out_by_where": 0,
        "rejected": 6,
        "removed": 6,
        "kept": len(good),
    }
    assert corpus.summary["removed"]["same question"] == {"test": 0, "own": 2, "auxiliary": 0, "pretrain": 1}
    assert corpus.summary["kept"]["auxiliary"] == {"rows": 60, "languages": 3}


def test_reasons_name_the_row_that_is_matched() -> None:
    corpus = _ingest([*_project(), *(row for _, row in _bad())])
    reasons = {json.loads(one["record"])["id"]: one["reason"] for one in corpus.rejects.to_pylist()}
    assert reasons["leak-1"] == "asks the same as test row 'test-sw-3' (sw)"
    assert reasons["leak-2"] == "asks the same as test row 'test-sw-3' (sw)"
    assert reasons["leak-4"] == "shares 0.8 or more of the 5-grams with test row 'test-sw-3' (sw)"
    assert reasons["auxiliary-ha-907"] == "has the parallel id of test row 'test-sw-7' (sw)"
    assert reasons["own-sw-40"] == "repeats row 'own-sw-4' of the same role"
    assert reasons["own-sw-5"] == "id 'own-sw-5' stands before in the same language"
    assert reasons["test-ha-906"].startswith("ha is no target language, and role test is for those; map")


def test_the_switches_keep_what_they_name() -> None:
    rows = [*_project(), *(row for _, row in _bad())]
    settings = IngestSettings(SETTINGS.languages, 0.5, near_duplicates=None, keep_translations=True)
    removed = _ingest(rows, settings).summary["removed"]
    assert removed["near duplicate"] == dict.fromkeys(("test", "own", "auxiliary", "pretrain"), 0)
    assert removed["translation"] == dict.fromkeys(("test", "own", "auxiliary", "pretrain"), 0)
    assert sum(removed["same question"].values()) == 3


def test_a_parallel_item_is_on_one_side_in_every_language() -> None:
    corpus = _ingest(_project())
    sides: dict[str, set[str]] = {}
    for (role, _), table in corpus.tables.items():
        if role in ("dev", "gate"):
            assert set(table["role"].to_pylist()) == {role}
            for parallel in table["parallel_id"].to_pylist():
                sides.setdefault(parallel, set()).add(role)
    assert len(sides) == 40
    assert all(len(roles) == 1 for roles in sides.values())
    assert 10 <= sum(roles == {"dev"} for roles in sides.values()) <= 30
    mostly_gate = _ingest(_project(), IngestSettings(SETTINGS.languages, 0.05, None, True))
    assert len(mostly_gate.tables["gate", "sw"]) > len(corpus.tables["gate", "sw"])


def test_without_parallel_ids_the_id_decides_and_more_items_move_no_other() -> None:
    rows = [_row("test", "sw", number, parallel_id=None) for number in range(60)]
    few, many = _ingest(rows[:30]).tables, _ingest(rows).tables
    for role in ("dev", "gate"):
        assert set(few[role, "sw"]["id"].to_pylist()) <= set(many[role, "sw"]["id"].to_pylist())


def test_a_test_row_that_repeats_another_is_in_no_half() -> None:
    """Without parallel ids the id decides, so that a repeat could choose in one half and decide in the other."""
    once = [_row("test", "sw", number, parallel_id=None) for number in range(30)]
    again = [row | {"id": f"again-{row['id']}"} for row in once]
    corpus = _ingest([*once, *again])
    prompts = [corpus.tables[half, "sw"]["prompt"].to_pylist() for half in ("dev", "gate")]
    assert sorted([*prompts[0], *prompts[1]]) == sorted(row["prompt"] for row in once)
    assert corpus.summary["removed"]["repeated"]["test"] == 30
    assert {reject["kind"] for reject in corpus.rejects.to_pylist()} == {"repeated"}


def test_a_language_without_its_data_fails_alone_and_says_why() -> None:
    rows = [row for row in _project() if (row["role"], row["language"]) != ("own", "th")]
    rows += [_row("test", "zu-Latn", 1), _row("target", "zu", 55, prompt="")]
    standing = _ingest(rows).languages
    assert standing["sw"]["status"] == "ok"
    assert standing["sw"]["reason"] is None
    assert standing["sw"]["rows"]["own"] == 10
    # An item is dev if the first of the hex digits of its hash says less than one half.
    dev = sum(hashlib.sha256(f"test:{number}".encode()).hexdigest()[0] < "8" for number in range(40))
    assert standing["th"] == {
        "status": "failed",
        "reason": "no own rows. Add them to a source.",
        "rows": {"target": 10, "auxiliary": 20, "dev": dev, "gate": 40 - dev},
    }
    assert standing["zu"]["status"] == "failed"
    assert standing["zu"]["reason"] == (
        "no test rows. Add them to a source. There are rows of zu-Latn: write the tag the same in both places."
    )


def test_too_few_test_rows_and_rejected_ones_are_named() -> None:
    rows = [row for row in _project() if row["role"] != "test"]
    rows += [_row("test", "sw", 1), _row("test", "th", 1, answer=9)]
    standing = _ingest(rows).languages
    assert "rows, because 1 test rows are too few to divide" in standing["sw"]["reason"]
    assert standing["th"]["reason"].startswith("no test rows (1 were rejected, see rejects.parquet).")


def test_rows_are_sorted_by_id_and_the_order_of_the_source_does_not_matter(tmp_path: Path) -> None:
    rows = [row for row in _project() if row["language"] != "zu"]
    settings = IngestSettings(("sw", "th"), 0.5, 0.8, False)
    write_corpus(_ingest(rows, settings), tmp_path / "a")
    write_corpus(_ingest(reversed(rows), settings), tmp_path / "b")
    digests = file_digests(tmp_path / "a")
    assert digests == file_digests(tmp_path / "b")
    assert {"own/sw.parquet", "dev/th.parquet", "rejects.parquet", "languages.json", "summary.json"} <= set(digests)
    table = read_table(tmp_path / "a" / "own" / "sw.parquet")
    assert table.schema == SCHEMA
    assert table["id"].to_pylist() == sorted(table["id"].to_pylist())
    assert read_json(tmp_path / "a" / "languages.json")["sw"]["status"] == "ok"


def test_equal_rows_without_ids_are_numbered_where_their_frequency_counts() -> None:
    rows = [*_project(), *(_row("target", "sw", 70, id=None) for _ in range(3))]
    ids = [i for i in _ingest(rows).tables["target", "sw"]["id"].to_pylist() if i.startswith("sha-")]
    assert ids == [ids[0], f"{ids[0]}-2", f"{ids[0]}-3"]


def test_target_languages_must_be_canonical() -> None:
    settings = IngestSettings(("sw", "swh", "english", "sw"), 0.5, None, True)
    with pytest.raises(ParamsError) as caught:
        _ingest([], settings)
    assert str(caught.value).splitlines() == [
        "languages: 'swh' must be in canonical form. Write 'sw'.",
        "languages: 'english' is not the tag of a known language (BCP-47, such as sw, sw-Latn or zh-Hant). "
        "Did you mean en?",
        "languages: 'sw' stands there twice.",
    ]


def test_without_one_good_language_the_stage_fails_and_the_rejects_are_there(tmp_path: Path) -> None:
    corpus = _ingest([_row("own", "sw", 1, prompt="")])
    with pytest.raises(SourceError, match="no target language can go on:\n  sw: no target rows; no own rows"):
        write_corpus(corpus, tmp_path / "out")
    assert read_table(tmp_path / "out" / "rejects.parquet")["reason"].to_pylist() == ["prompt is empty"]


def test_an_interrupted_write_leaves_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_corpus(_ingest(_project()), out)
    before = file_digests(out)
    broken = Corpus({("own", "sw"): pa.table({"id": ["a"]})}, pa.table({"a": [1]}), {"sw": object()}, {})
    with pytest.raises(TypeError):
        write_corpus(broken, out)
    assert file_digests(out) == before
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        write_corpus(_ingest(_project()), tmp_path / "file" / "out")


def _shared_slice() -> Iterator[MappedRow]:
    mapping = FieldMapping(
        fields={
            **{name: name for name in ("id", "prompt", "completion", "choices", "answer", "topic")},
            "language": "lang",
            "parallel_id": {"field": "id", "pattern": "^([^:]+):.*?([^:]+)$"},
            "role": {"field": "split", "values": {"train": "own", "dev": "target", "test": "test"}},
        },
        constants={},
        where={},
    )
    files = tuple(f"../shared/data/sib200/{language}.*.jsonl.gz" for language in ("sw-Latn", "th-Thai"))
    return mapped_rows("sib200", read_files(FilesSource("sib200", files, mapping), ROOT), mapping)


def test_a_slice_of_the_shared_data() -> None:
    if not (SHARED / "sib200").is_dir():
        pytest.skip(f"no shared data in {SHARED}")
    corpus = ingest({"sib200": _shared_slice()}, IngestSettings(("sw-Latn", "th-Thai"), 0.5, 0.8, False))
    assert {one["status"] for one in corpus.languages.values()} == {"ok"}
    rows = corpus.summary["rows"]
    assert rows["read"] == 2 * 1004
    assert rows["rejected"] == 0
    assert rows["kept"] + rows["removed"] == rows["read"]
    assert rows["removed"] <= 20
    own = corpus.tables["own", "sw-Latn"]
    assert own["source"][0].as_py() == "../shared/data/sib200/sw-Latn.train.jsonl.gz"
    assert own["parallel_id"][0].as_py().startswith("sib200:")
    assert set(corpus.tables["gate", "sw-Latn"]["parallel_id"].to_pylist()).isdisjoint(
        corpus.tables["dev", "th-Thai"]["parallel_id"].to_pylist()
    )
