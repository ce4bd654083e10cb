"""Round robin against the naive loop; passing over what is dear, refused or gone; near-duplicates."""

import numpy as np

from compass_ops.selection.nearest import distinct, nearest, ranked_candidates, round_robin
from tests.selection.oracles import nearest_in_turn
from tests.selection.problems import costly, pool, problem, random_problem


def test_round_robin_is_the_naive_loop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        target, pool = rng.standard_normal((int(rng.integers(1, 6)), 4)), rng.standard_normal((15, 4))
        budget = int(rng.integers(1, 18))
        ranked = ranked_candidates(target.astype(np.float32), pool.astype(np.float32), 15)
        assert round_robin(ranked, np.ones(15, np.int64), budget) == nearest_in_turn(target, pool, budget)


def test_the_nearest_candidates_alone_are_enough() -> None:
    rng = np.random.default_rng(1)
    target, pool = (rng.standard_normal((n, 4)).astype(np.float32) for n in (7, 40))
    whole = ranked_candidates(target, pool, 40)
    assert np.array_equal(ranked_candidates(target, pool, 9), whole[:, :9])
    costs = np.ones(40, np.int64)
    assert round_robin(whole[:, :9], costs, 9) == round_robin(whole, costs, 9)


def test_equals_are_taken_from_the_lower_row() -> None:
    pool = np.ones((5, 2), np.float32)
    assert ranked_candidates(np.ones((1, 2), np.float32), pool, 3).tolist() == [[0, 1, 2]]


def test_what_is_too_dear_is_passed_over() -> None:
    ranked, costs = np.array([[0, 1, 2]]), np.array([9, 2, 3])
    assert round_robin(ranked, costs, 5) == [(1, 0), (2, 0)]
    assert round_robin(ranked, costs, 4) == [(1, 0)]


def test_what_is_refused_or_gone_is_not_taken() -> None:
    ranked, costs = np.array([[0, 1, 2], [1, 0, 2]]), np.ones(3, np.int64)
    assert round_robin(ranked, costs, 3, lambda candidate: candidate != 1) == [(0, 0), (2, 1)]
    assert round_robin(ranked, costs, 3, used=[0]) == [(1, 0), (2, 1)]


def test_near_duplicates_of_what_was_admitted_are_refused() -> None:
    vectors = np.array([[1, 0], [0.999, 0.0447], [0, 1], [0.0447, 0.999]], np.float32)
    admits = distinct(vectors, 0.95)
    assert [admits(row) for row in range(4)] == [True, False, True, False]


def test_many_distinct_rows_are_remembered() -> None:
    vectors = np.eye(40, dtype=np.float32)
    admits = distinct(vectors, 0.5)
    assert all(admits(row) for row in range(40))
    assert not any(admits(row) for row in range(40))


def test_the_strategy_never_takes_the_target_language_or_more_than_the_budget() -> None:
    for seed in range(5):
        problem = random_problem(seed)
        choice = nearest(problem, np.random.default_rng(0))
        assert len(choice.rows) == problem.budget == len(set(choice.rows.tolist()))
        assert problem.eligible[choice.rows].all()
        dear = costly(problem, np.random.default_rng(seed).integers(1, 4, 60).tolist())
        spent = dear.pool.costs[nearest(dear, np.random.default_rng(0)).rows].sum()
        assert 0 <= dear.budget - spent < dear.pool.costs[dear.eligible].min()


def test_rows_dearer_than_the_whole_budget_keep_no_other_from_being_drawn() -> None:
    """The prompt has as many candidates as rows fit, and one: here three, and the nearest twenty are too dear."""
    there = pool([0] * 40, ["id"] * 40)
    asked = problem([0], [1], there, budget=2)
    near = np.argsort(-(asked.target.vectors[0] @ there.vectors.T))[:20]
    costs = np.where(np.isin(np.arange(40), near), 3, 1)
    choice = nearest(costly(asked, costs.tolist()), np.random.default_rng(0))
    assert len(choice.rows) == 2
    assert not set(choice.rows.tolist()) & set(near.tolist())
    assert not nearest(costly(asked, [3] * 40), np.random.default_rng(0)).rows.size


def test_candidates_that_are_too_dear_at_last_keep_no_other_from_being_drawn() -> None:
    """Two rows of 4 leave 2 of 10; all other candidates cost 4: the prompt has as many as rows of 1 fit, and one."""
    there = pool([0] * 60, ["id"] * 60)
    asked = problem([0], [1], there, budget=10)
    near = np.argsort(-(asked.target.vectors[0] @ there.vectors.T))
    costs = np.ones(60, np.int64)
    costs[near[:30]] = 4
    choice = nearest(costly(asked, costs.tolist()), np.random.default_rng(0))
    assert choice.rows.tolist() == near[[0, 1, 30, 31]].tolist()


def test_reasons_name_the_prompt_and_the_cosine() -> None:
    problem = random_problem(0)
    choice = nearest(problem, np.random.default_rng(0))
    best = float((problem.target.vectors @ problem.pool.vectors[choice.rows[0]]).max())
    assert choice.reasons[0].startswith("nearest: near “text ")
    assert choice.reasons[0].endswith(f"(cosine {best:.2f})")
