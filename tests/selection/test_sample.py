"""The plan of every strategy adds up; same stream same rows; other languages change nothing; bad input is told."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest

from compass_ops.errors import DataFault
from compass_ops.selection.problem import Items
from compass_ops.selection.sample import sample, strategy
from compass_ops.selection_sections import UNBOUND, StrategyName
from tests.selection.problems import costly, plus, pool, problem, random_problem, settings

NAMES = get_args(StrategyName)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", NAMES)
def test_the_plan_adds_up(name: str) -> None:
    small = random_problem(1)
    plan = sample(settings(name), small, rng())
    assert plan.rows.tolist() == sorted(set(plan.rows.tolist()))
    assert len(plan.reasons) == len(plan.rows)
    assert plan.chosen.tolist() == np.bincount(small.pool.clusters[plan.rows], minlength=3).tolist()
    assert (plan.chosen <= plan.supply).all()
    assert plan.supply.sum() == small.eligible.sum()
    assert name in UNBOUND or plan.chosen.sum() <= small.budget
    assert plan.target_share.sum() == pytest.approx(1)
    assert (plan.gap >= 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_reason_stays_with_its_row(name: str) -> None:
    small = random_problem(2)
    plan = sample(settings(name), small, rng())
    choice = strategy(settings(name))(small, rng())
    assert dict(zip(plan.rows, plan.reasons, strict=True)) == dict(zip(choice.rows, choice.reasons, strict=True))
    for row, reason in zip(plan.rows, plan.reasons, strict=True):
        if name in ("langsim", "langrank"):
            assert reason.startswith(small.pool.names[small.pool.languages[row]])
        elif name == "nearest":
            cosines = small.target.vectors @ small.pool.vectors[row]
            prompt = next(item for item, text in enumerate(small.target.texts) if f"“{text}”" in reason)
            assert reason.endswith(f"(cosine {cosines[prompt]:.2f})")
        elif name not in ("all", "dsir"):  # a row of these is not told by its reason
            assert f"cluster {small.pool.clusters[row]}" in reason


@pytest.mark.parametrize("name", NAMES)
def test_same_stream_same_rows(name: str) -> None:
    one, two = (sample(settings(name), random_problem(3), rng(5)) for _ in range(2))
    assert one.rows.tolist() == two.rows.tolist()
    assert one.reasons == two.reasons


@pytest.mark.parametrize("name", NAMES)
def test_the_target_languages_own_pool_rows_are_not_there(name: str) -> None:
    """Whether the pool holds rows of the target language itself, as it does for other targets, changes nothing."""
    parts = settings(
        name, compass_plus=plus(shrinkage=True, quotas="water_filling", rows="round_robin", duplicates=0.99)
    )
    there = pool([0, 1, 2] * 8, ["id", "tr", "et"] * 8)
    target, own, distances = [0] * 6 + [1] * 3, [1, 2], {"id": 0.1, "tr": 0.2, "et": 0.3}
    without = sample(parts, problem(target, own, there, 6, distances=distances), rng())
    mine = pool([0, 1], ["sw", "sw"], seed=9)
    texts = [*there.texts, *mine.texts]
    joined = replace(
        there,
        clusters=np.concatenate([there.clusters, mine.clusters]),
        vectors=np.concatenate([there.vectors, mine.vectors]),
        texts=texts,
        costs=np.ones(26, np.int64),
        languages=np.concatenate([there.languages, np.full(2, 3, np.int32)]),
        names=(*there.names, "sw"),
    )
    beside = sample(parts, problem(target, own, joined, 6, distances={"sw": 0.0} | distances), rng())
    assert beside.rows.tolist() == without.rows.tolist()


@pytest.mark.parametrize("name", ["random", "dsir", "compass", "craft", "nearest", "compass_plus"])
@pytest.mark.parametrize(("dear", "cluster"), [(1000, 1), (800, 0)])
def test_one_dear_row_hides_no_missing_budget(name: str, dear: int, cluster: int) -> None:
    """There are 500 beside it, in rows of 50: less than one of them is nothing to tell."""
    there = pool([0] * 10 + [cluster], ["id"] * 11)
    small = costly(problem([0] * 6, [2], there, budget=900), [50] * 10 + [dear])
    for seed in range(5):
        plan = sample(settings(name, unit="tokens"), small, rng(seed))
        missing = 900 - int(plan.chosen.sum())
        told = [note for note in plan.notes if note.startswith(f"{missing} of the budget of 900 tokens were not drawn")]
        assert len(told) == (missing >= 50)


def test_a_budget_that_cannot_be_drawn_is_said_in_numbers() -> None:
    there = pool([0, 1, 2] * 10, ["id"] * 30)
    plan = sample(settings(), problem([0] * 6 + [1] * 4, [1] * 5, there, budget=25), rng())
    assert plan.chosen.tolist() == [10, 0, 0]
    assert (
        "15 of the budget of 25 rows were not drawn: the clusters where something is missing hold no more. "
        "The adapter is trained on what there is."
    ) in plan.notes


@pytest.mark.parametrize("name", ["compass", "craft", "compass_plus"])
def test_a_quota_that_its_cluster_cannot_fill_is_said_with_what_was_done_instead(name: str) -> None:
    there = pool([0] * 2 + [1] * 20, ["id"] * 22)
    plan = sample(settings(name), problem([0] * 8 + [1] * 2, [2], there, budget=10), rng())
    assert plan.chosen.tolist() == [2, 8, 0]
    lacks = "Clusters hold less than their quota: 0 (8 asked, 2 there). The rest was asked of the other clusters."
    assert plan.notes == (lacks,)


@pytest.mark.parametrize("name", ["compass", "compass_plus"])
def test_a_gap_where_the_pool_has_nothing_is_not_called_none(name: str) -> None:
    there = pool([0] * 20 + [1] * 20, ["id"] * 20 + ["sw"] * 20)
    plan = sample(settings(name), problem([0, 1], [0], there, budget=10), rng())
    assert plan.chosen.tolist() == [0, 0, 0]
    assert plan.notes == (
        "2 target prompts for 3 clusters: most shares rest on no or one prompt. Collect more prompts or lower "
        "cluster.clusters.",
        "Clusters hold less than their quota: 1 (10 asked, 0 there). There is no other to ask.",
        "10 of the budget of 10 rows were not drawn: the clusters where something is missing hold no more. "
        "The adapter is trained on what there is.",
    )


def test_what_a_language_cap_holds_back_is_not_laid_to_the_pool() -> None:
    there = pool([0] * 30 + [1] * 30, ["id"] * 60)
    parts = settings("compass_plus", compass_plus=plus(language_cap=0.4))
    plan = sample(parts, problem([0, 1] * 5, [2], there, budget=10), rng())
    assert plan.notes == (
        "6 of the budget of 10 rows were not drawn: the clusters where something is missing hold no more that "
        "sample.compass_plus.language_cap admits. The adapter is trained on what there is.",
    )


def test_few_prompts_are_a_warning_not_an_error() -> None:
    plan = sample(settings(), problem([0], [1], pool([0, 1, 2] * 3, ["id"] * 9), budget=2), rng())
    assert plan.notes[0].startswith("1 target prompts for 3 clusters: most shares rest on no or one prompt.")


def test_a_cluster_that_nobody_is_in_is_no_trouble() -> None:
    small = problem([0, 1, 0], [1], pool([0, 1] * 5, ["id"] * 10), budget=4, clusters=7)
    for name in ("compass", "craft", "nearest", "compass_plus"):
        assert sample(settings(name), small, rng()).chosen.sum() == 4


@pytest.mark.parametrize(
    ("name", "rows"),
    [*((name, "random") for name in ("random", "compass", "nearest", "dsir", "craft", "compass_plus")),
     ("compass_plus", "round_robin"), ("compass_plus", "herding")],
)  # fmt: skip
def test_identical_vectors_are_no_trouble(name: str, rows: str) -> None:
    small = random_problem(0)
    same = np.tile(small.pool.vectors[0], (len(small.pool.vectors), 1))
    flat = replace(small, pool=replace(small.pool, vectors=same), target=replace(small.target, vectors=same[:20]))
    parts = settings(name, compass_plus=plus(rows=rows, duplicates=0.95))
    assert len(sample(parts, flat, rng()).rows) == small.budget


def test_a_pool_smaller_than_the_budget_is_refused_with_both_numbers() -> None:
    small = problem([0, 1, 2], [1], pool([0, 1], ["id", "sw"]), budget=3)
    with pytest.raises(DataFault, match="sw: the budget is 3, but the pool of other languages holds 1"):
        sample(settings(), small, rng())
    assert sample(settings("all"), small, rng()).chosen.sum() == 1, "no budget binds"


def test_a_pool_of_the_target_language_alone_is_refused() -> None:
    with pytest.raises(DataFault, match=r"no row of another language\. Add auxiliary data, or set .* own_only"):
        sample(settings(), problem([0], [1], pool([0, 1], ["sw", "sw"]), budget=1), rng())


def test_vectors_that_are_not_finite_are_refused_by_name() -> None:
    small = random_problem(0)
    vectors = small.target.vectors.copy()
    vectors[3, 0] = np.nan
    with pytest.raises(DataFault, match=r"1 target vectors are not finite, the first that of 'text 3 of"):
        sample(settings(), replace(small, target=replace(small.target, vectors=vectors)), rng())


def test_nothing_asked_is_refused() -> None:
    small = random_problem(0)
    empty = Items(np.zeros(0, np.int32), [], np.zeros((0, 6), np.float32))
    with pytest.raises(DataFault, match="sw: has no target prompts"):
        sample(settings(), replace(small, target=empty), rng())
