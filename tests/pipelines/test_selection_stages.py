"""Ingest, embed, cluster and sample by their own commands: a language more, a language in trouble."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import yaml

from compass_ops.corpus.ingest import _fraction
from compass_ops.selection import embed as room
from compass_ops.storage import file_digests, read_json, read_table, write_json
from pipelines import cluster, embed, ingest, sample
from pipelines._code import ROOT
from tests.pipelines.questions import Row, small, write_data, write_lines

UNKNOWN = "☃"  # a character that the embedder has no vector for


class Words:
    """An embedder that adds up a vector per word."""

    def encode(self, texts: Sequence[str], **_: Any) -> Any:
        return np.array([self._vector(text) for text in texts], np.float32)

    def _vector(self, text: str) -> Any:
        if UNKNOWN in text:
            return np.zeros(24)
        return sum(np.random.default_rng(crc32(word.encode())).standard_normal(24) for word in text.split())


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(tmp_path / "data")
    rows = read_rows()
    own_pool = [row | {"role": "auxiliary"} for row in rows if row["role"] == "own"]  # targets are a part of the pool
    write_lines(Path("data/records.jsonl"), [*rows, *own_pool])
    write_json(Path("base.json"), {"embedder": {"id": "words", "revision": None, "path": "w", "digest": "e" * 64}})
    monkeypatch.setattr(room, "load_embedder", lambda *_: Words())


def read_rows() -> list[Row]:
    return [json.loads(line) for line in Path("data/records.jsonl").read_text("utf-8").splitlines()]


def run(languages: list[str]) -> dict[str, str]:
    """Run the four stages with the repository's own `sample.strategy` and parts; return what sample left."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))
    choosing = params["sample"]
    small(params)
    params["sample"], params["project"]["languages"] = choosing | {"budget": 60}, languages
    Path("params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    ingest.main(["--out", "ingest"], standalone_mode=False)
    embed.main(["--records", "ingest", "--base", "base.json", "--out", "embed"], standalone_mode=False)
    cluster.main(["--vectors", "embed", "--out", "cluster"], standalone_mode=False)
    inputs = ["--records", "ingest", "--vectors", "embed", "--clusters", "cluster", "--base", "base.json"]
    sample.main([*inputs, "--out", "sample"], standalone_mode=False)
    return file_digests(Path("sample"))


def test_a_language_more_changes_no_other_languages_rows() -> None:
    before = run(["sw", "tr"])
    after = run(["ca", "sw", "tr"])
    assert {name: after[name] for name in before} == before
    assert read_json(Path("sample/ca/plan.json"))["rows"] == 60


def test_a_language_whose_test_holds_rows_of_the_pool_takes_them_out_of_it_for_all() -> None:
    """The one exception, which README names: nobody trains on what anybody is tested on."""
    rows = read_rows()
    shared = next(row for row in rows if row["role"] == "auxiliary" and row["language"] == "es")
    write_lines(Path("data/records.jsonl"), [*rows, shared | {"language": "ca", "role": "test"}])
    before, pool = run(["sw", "tr"]), read_table(Path("ingest/auxiliary/es.parquet")).num_rows
    after = run(["ca", "sw", "tr"])
    assert read_table(Path("ingest/auxiliary/es.parquet")).num_rows == pool - 1
    assert {name: after[name] for name in before} != before


@pytest.mark.parametrize("role", ["target", "own", "dev", "gate"])
def test_a_prompt_without_a_vector_fails_its_language_alone(role: str) -> None:
    before, rows = run(["sw", "tr"]), read_rows()
    unknown: Row = {"language": "tr", "role": role, "prompt": f"kaç {UNKNOWN}?"}
    if role != "target":
        unknown |= {"completion": "ride", "choices": ["ride", "sleep"], "answer": 0, "topic": "taxi"}
    if role in ("dev", "gate"):  # a parallel id decides which half a test row is of
        share = yaml.safe_load(Path("params.yaml").read_text("utf-8"))["ingest"]["dev_share"]
        halves = {"dev" if _fraction(key) < share else "gate": key for key in map(str, range(20))}
        unknown |= {"role": "test", "parallel_id": halves[role]}
    write_lines(Path("data/records.jsonl"), [*rows, unknown])
    after = run(["sw", "tr"])
    assert {name: after[name] for name in after if name.startswith("sw/")} == {
        name: before[name] for name in before if name.startswith("sw/")
    }
    assert [name for name in after if name.startswith("tr/")] == ["tr/receipt.json"]
    for receipt in (Path("sample/tr/receipt.json"), Path("embed") / role / "tr" / "receipt.json"):
        told = read_json(receipt)
        assert told["language"] == "tr"
        assert told["reason"].startswith(
            f"records of role {role}: The embedder gave no finite vector for 'kaç {UNKNOWN}?' and 0 other texts. Leave"
        )
    write_lines(Path("data/records.jsonl"), rows)
    assert run(["sw", "tr"]) == before


def test_a_row_of_the_pool_without_a_vector_ends_the_stage(capsys: pytest.CaptureFixture[str]) -> None:
    """All languages choose from it."""
    rows = read_rows()
    rows.append(next(row for row in rows if row["role"] == "auxiliary") | {"prompt": f"gani {UNKNOWN}?"})
    write_lines(Path("data/records.jsonl"), rows)
    with pytest.raises(SystemExit):
        run(["sw", "tr"])
    assert "records of role auxiliary: The embedder gave no finite vector" in capsys.readouterr().err
