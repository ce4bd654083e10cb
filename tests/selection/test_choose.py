"""A subset carries the reason of every row, and the plan says in figures what was done."""

import numpy as np
import pyarrow as pa

from compass_ops.corpus.records import to_table
from compass_ops.selection.choose import Rows, choose, plan_record, with_reasons


def rows(language: str, clusters: list[int]) -> Rows:
    records = [
        {
            "id": f"{language}:{n}", "language": language, "role": "auxiliary", "prompt": f"{language} {n}?",
            "completion": "yes", "choices": None, "answer": None, "topic": None, "parallel_id": None,
            "source": "test", "weight": 1.0,
        }
        for n in range(len(clusters))
    ]  # fmt: skip
    return Rows(to_table(records), np.array(clusters, np.int32))


def joined(*parts: Rows) -> Rows:
    return Rows(pa.concat_tables([p.table for p in parts]), np.concatenate([p.clusters for p in parts]))


TARGET = rows("sw", [0, 0, 0, 1])
POOL = joined(rows("id", [0, 0, 1]), rows("tr", [0, 1, 1]))


def test_each_row_says_why_it_was_chosen() -> None:
    chosen, _ = choose("compass", TARGET, np.array([1], np.int32), POOL, (2, 2), np.random.default_rng(0))
    assert chosen.column("cluster").to_pylist() == [0, 0]
    assert set(chosen.column("reason").to_pylist()) == {"cluster 0: 75.0% of the target, 0.0% of what is held"}


def test_the_plan_adds_up() -> None:
    held = np.array([1], np.int32)
    chosen, plan = choose("compass", TARGET, held, POOL, (2, 5), np.random.default_rng(0))
    record = plan_record("sw", "compass", 5, plan, TARGET, POOL)
    first, second = record["clusters"]
    assert (record["chosen"], record["unfilled"]) == (chosen.num_rows, 5 - chosen.num_rows) == (3, 2)
    assert (first["gap"], first["quota"], first["supply"], first["chosen"]) == (0.75, 3, 3, 3)
    assert first["languages"] == {"id": 2, "tr": 1}
    assert first["examples"] == ["sw 0?", "sw 1?", "sw 2?"]
    assert (second["gap"], second["chosen"], second["languages"]) == (0.0, 0, {})


def test_own_rows_get_their_reason() -> None:
    table = with_reasons(rows("sw", [1, 0]), ["own data"] * 2)
    assert table.column("reason").to_pylist() == ["own data", "own data"]
    assert table.column("cluster").to_pylist() == [1, 0]
