"""A subset carries the reason of every row, and the plan says in figures what was done."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa

from compass_ops.corpus.records import to_table
from compass_ops.selection.choose import Rows, choose, items_of, plan_record, pool_of, with_reasons
from compass_ops.selection.problem import Held, Problem
from tests.selection.problems import items, settings


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


def problem(budget: int) -> Problem:
    target = items_of(TARGET, items([0, 0, 0, 1]).vectors)
    there = pool_of(POOL, items(POOL.clusters.tolist(), seed=1).vectors, np.ones(6, np.int64))
    held = Held(np.array([1], np.int32), ["sw own?"], np.ones(1, np.int64))
    return Problem("sw", target, held, there, 2, budget)


def test_tables_become_what_strategies_see() -> None:
    there = problem(2).pool
    assert there.names == ("id", "tr")
    assert there.languages.tolist() == [0, 0, 0, 1, 1, 1]
    assert there.texts[3] == "tr 0?"


def test_each_row_says_why_it_was_chosen() -> None:
    chosen, _ = choose(settings(), problem(2), POOL.table, np.random.default_rng(0))
    assert chosen.column("cluster").to_pylist() == [0, 0]
    assert set(chosen.column("reason").to_pylist()) == {"cluster 0: 75.0% of the target, 0.0% of what is held"}


def test_the_plan_adds_up() -> None:
    chosen, plan = choose(settings(), problem(5), POOL.table, np.random.default_rng(0))
    record = plan_record(settings(), problem(5), plan)
    first, second = record["clusters"]
    assert (record["chosen"], record["unfilled"]) == (chosen.num_rows, 5 - chosen.num_rows) == (3, 2)
    assert [note.split(":")[0] for note in record["notes"]] == [
        "Clusters hold less than their quota", "2 of the budget of 5 rows were not drawn",
    ]  # fmt: skip
    assert (first["gap"], first["quota"], first["supply"], first["chosen"]) == (0.75, 3, 3, 3)
    assert record["languages"] == first["languages"] == {"id": 2, "tr": 1}
    assert (first["held_share"], first["share_after"]) == (0.0, 0.75)
    assert (second["gap"], second["chosen"], second["languages"]) == (0.0, 0, {})


def test_examples_are_the_prompts_nearest_to_the_centre_of_their_cluster() -> None:
    small = problem(5)
    _, plan = choose(settings(), small, POOL.table, np.random.default_rng(0))
    first, second = plan_record(settings(), small, plan)["clusters"]
    centre = small.pool.vectors[[0, 1, 3]].mean(axis=0)
    order = sorted(range(3), key=lambda row: -float(small.target.vectors[row] @ centre))
    assert first["examples"] == [f"sw {row}?" for row in order]
    assert second["examples"] == ["sw 3?"]
    assert sorted(second["pool_examples"]) == ["id 2?", "tr 1?", "tr 2?"]


def test_a_prompt_that_is_asked_often_is_one_example_beside_others() -> None:
    clusters, vectors = [0] * 64, np.tile(np.eye(1, 6, dtype=np.float32), (64, 1))
    vectors[:4] = items([0] * 4).vectors
    target = items_of(rows("sw", clusters), vectors)
    often = replace(problem(5), target=replace(target, texts=[*target.texts[:4], *["often?"] * 60]))
    there = replace(often.pool, vectors=np.tile(np.eye(1, 6, dtype=np.float32), (6, 1)))
    often = replace(often, pool=there)
    _, plan = choose(settings("random"), often, POOL.table, np.random.default_rng(0))
    examples = plan_record(settings("random"), often, plan)["clusters"][0]["examples"]
    assert examples[0] == "often?"
    assert len(set(examples)) == 3


def test_the_plan_copies_a_clusters_vectors_once() -> None:
    clusters, wide = [0] * 2000, np.random.default_rng(0).random((2000, 128), np.float32)
    there, target = pool_of(rows("id", clusters), wide, np.ones(2000, np.int64)), items([0, 1], dimension=128)
    whole = replace(problem(5), pool=there, target=target)
    _, plan = choose(settings("random"), whole, rows("id", clusters).table, np.random.default_rng(0))
    tracemalloc.start()
    plan_record(settings("random"), whole, plan)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * wide.nbytes


def test_own_rows_get_their_reason() -> None:
    table = with_reasons(rows("sw", [1, 0]), ["own data"] * 2)
    assert table.column("reason").to_pylist() == ["own data", "own data"]
    assert table.column("cluster").to_pylist() == [1, 0]
