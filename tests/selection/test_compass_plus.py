"""Each part of compass_plus does what it says, alone and together, and is off when it is off."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from compass_ops.errors import DataFault
from compass_ops.selection.compass_plus import compass_plus
from compass_ops.selection.herding import herd
from compass_ops.selection.problem import Choice, LanguageDistances, Problem
from compass_ops.selection.quotas import shares, shrunken
from compass_ops.selection.strategies import compass
from tests.selection.oracles import nearest_in_turn
from tests.selection.problems import costly, plus, pool, problem, random_problem

ALL = {
    "shrinkage": True, "quotas": "water_filling", "affinity": 1.0, "language_cap": 0.5, "rows": "round_robin",
    "duplicates": 0.95,
}  # fmt: skip


def chosen(problem: Problem, **parts: Any) -> Choice:
    return compass_plus(plus(**parts))(problem, np.random.default_rng(0))


def test_with_every_part_off_it_is_compass() -> None:
    for seed in range(5):
        one, other = chosen(random_problem(seed)), compass(random_problem(seed), np.random.default_rng(0))
        assert one.quota is not None
        assert other.quota is not None
        assert one.quota.tolist() == other.quota.tolist()
        assert sorted(one.rows.tolist()) == sorted(other.rows.tolist())


def test_shrinkage_asks_a_little_of_what_nobody_asked() -> None:
    there = pool([0, 1, 2] * 40, ["id", "tr", "et"] * 40)
    small = problem([0] * 6 + [1] * 4, [0], there, budget=60)
    assert chosen(small, quotas="water_filling").quota.tolist()[2] == 0  # type: ignore[union-attr]
    quota = chosen(small, quotas="water_filling", shrinkage=True).quota
    p = shrunken(shares(small.target.clusters, 3), np.full(3, 1 / 3), 10)
    assert quota is not None
    assert quota[2] == pytest.approx(61 * p[2], abs=1)


def test_water_filling_counts_what_is_held_in_rows() -> None:
    """Half the own rows cover a cluster; its share alone says nothing of how few they are."""
    there = pool([0, 1] * 50, ["id"] * 100)
    few = problem([0, 1], [0, 0], there, budget=20, clusters=2)
    assert chosen(few).quota.tolist() == [0, 20]  # type: ignore[union-attr]
    assert chosen(few, quotas="water_filling").quota.tolist() == [9, 11]  # type: ignore[union-attr]


def test_proportional_quotas_pass_over_what_is_held() -> None:
    there = pool([0, 1] * 50, ["id"] * 100)
    few = problem([0, 1], [0, 0], there, budget=20, clusters=2)
    assert chosen(few, quotas="proportional").quota.tolist() == [10, 10]  # type: ignore[union-attr]


def test_near_languages_are_preferred_by_their_affinity() -> None:
    there = pool([0] * 60, ["et", "id", "tr"] * 20)
    small = problem([0], [1], there, budget=12, distances={"et": 0.0, "id": float(np.log(2)), "tr": float(np.log(4))})
    choice = chosen(small, affinity=1.0)
    rows = choice.rows
    assert choice.notes == ("a note.",), "such as that URIEL+ does not know a language"
    assert np.bincount(there.languages[rows]).tolist() == [7, 3, 2], "4 : 2 : 1, by largest remainder"


@pytest.mark.parametrize("costs", [(1, 2), (20, 46)], ids=["rows", "tokens"])
@pytest.mark.parametrize("rows", [150, 1200])
def test_small_quotas_of_many_clusters_add_up_to_each_language_s_affinity(costs: tuple[int, int], rows: int) -> None:
    """Rounded cluster by cluster, or a dear row drawn for each language in each, far languages would crowd in."""
    languages, clusters, rng = 20, 30, np.random.default_rng(3)
    names = [f"l{place:02d}" for place in range(languages)]
    there = pool(rng.integers(0, clusters, 1200 * languages).tolist(), names * 1200)
    distance = {name: 0.45 + 0.025 * place for place, name in enumerate(names)}
    asked = problem(list(range(clusters)) * 3, [0], there, budget=1, clusters=clusters, distances=distance)
    cost = rng.integers(*costs, len(there)).tolist()
    asked = costly(replace(asked, budget=int(rows * np.mean(cost))), cost)
    taken = chosen(asked, quotas="proportional", affinity=10.0).rows
    drawn = np.bincount(there.languages[taken], weights=asked.pool.costs[taken], minlength=languages)
    due = np.exp(-10 * np.array(list(distance.values())))
    assert drawn.sum() == pytest.approx(asked.budget, abs=max(cost))
    assert drawn / drawn.sum() == pytest.approx(due / due.sum(), abs=3 * float(np.mean(cost)) / asked.budget)


def test_the_largest_affinity_draws_from_the_nearest_language_alone() -> None:
    there = pool([0, 1] * 30, ["et", "et", "id", "id", "tr", "tr"] * 10)
    small = problem([0, 1], [2], there, budget=12, distances={"et": 0.95, "id": 0.9, "tr": 1.0})
    assert np.bincount(there.languages[chosen(small, affinity=700.0).rows]).tolist() == [0, 12]


def test_no_language_takes_more_than_its_cap() -> None:
    there = pool([0, 1] * 30, ["et"] * 50 + ["id"] * 10)
    small = problem([0, 1], [2], there, budget=10)
    assert np.bincount(there.languages[chosen(small, language_cap=0.6).rows]).tolist() == [6, 4]
    near = {"et": 0.0, "id": 1.0}
    capped = chosen(replace(small, distances=LanguageDistances(near, "a source")), language_cap=0.6, affinity=9.0)
    assert np.bincount(there.languages[capped.rows]).tolist() == [6, 4]


@pytest.mark.parametrize("affinity", [0.0, 1.0])
@pytest.mark.parametrize("rows", ["random", "round_robin", "herding"])
@pytest.mark.parametrize("duplicates", [None, 0.9])
def test_what_the_cap_keeps_from_the_last_cluster_an_earlier_one_gives(
    affinity: float, rows: str, duplicates: float | None
) -> None:
    there = pool([0] * 20 + [1] * 10, ["et"] * 10 + ["id"] * 10 + ["et"] * 10)
    small = problem([0, 1], [2], there, budget=10, distances={"et": 0.5, "id": 0.5})
    choice = chosen(small, language_cap=0.5, affinity=affinity, rows=rows, duplicates=duplicates)
    assert np.bincount(there.languages[choice.rows]).tolist() == [5, 5]
    assert len(set(choice.rows.tolist())) == 10
    assert [reason.split(":")[0][-1] for reason in choice.reasons] == there.clusters[choice.rows].astype(str).tolist()


def test_what_repeats_a_row_drawn_before_is_taken_last_again() -> None:
    """Cluster 0 lacks three rows of id the second time: those that are not as one drawn before come first."""
    there = pool([0] * 20 + [1] * 10, ["et"] * 10 + ["id"] * 10 + ["et"] * 10)
    vectors = there.vectors.copy()
    vectors[:15] = vectors[0]
    small = replace(problem([0, 1], [2], there, budget=10), pool=replace(there, vectors=vectors))
    taken = chosen(small, language_cap=0.5, duplicates=0.999).rows
    assert set(range(15, 20)) <= set(taken.tolist())


def test_a_cap_that_holds_nothing_back_changes_nothing() -> None:
    for seed in range(5):
        for affinity in (0.0, 1.0):
            parts = {name: value for name, value in ALL.items() if name != "language_cap"} | {"affinity": affinity}
            one, other = (chosen(random_problem(seed), **parts, language_cap=cap) for cap in (0.999, 1.0))
            assert one.rows.tolist() == other.rows.tolist()


def test_a_cap_is_not_one_less_by_rounding() -> None:
    there = pool([0] * 200, ["et"] * 150 + ["id"] * 50)
    rows = chosen(problem([0], [2], there, budget=100), language_cap=0.58).rows
    assert int((there.languages[rows] == 0).sum()) == 58, "0.58 * 100 is 57.999... in floats"


def test_round_robin_serves_each_prompt_of_the_cluster_in_turn() -> None:
    small = random_problem(3)
    rows = chosen(small, rows="round_robin").rows
    order = np.flatnonzero(small.target.clusters == 0)[
        np.random.default_rng(0).permutation(int((small.target.clusters == 0).sum()))
    ]
    members = small.members(0)
    taken = nearest_in_turn(small.target.vectors[order], small.pool.vectors[members], 12)  # type: ignore[arg-type]
    own = [row for row in rows if small.pool.clusters[row] == 0]
    assert own == [int(members[row]) for row, _ in taken][: len(own)]


def test_herding_chooses_each_cluster_s_rows() -> None:
    small = random_problem(3)
    choice = chosen(small, rows="herding")
    assert choice.quota is not None
    expected = []
    for cluster in np.flatnonzero(choice.quota):
        members, asked = small.members(int(cluster)), small.target.vectors[small.target.clusters == cluster]
        taken = herd(asked, small.pool.vectors[members], small.pool.costs[members], int(choice.quota[cluster]))
        expected += [int(members[row]) for row in taken]
    assert choice.rows.tolist() == expected
    assert choice.reasons[0].endswith("of what is asked, by herding")


def test_near_duplicates_are_taken_last_and_told() -> None:
    there = pool([0] * 6, ["id"] * 6)
    vectors = there.vectors.copy()
    vectors[1:4] = vectors[0]
    small = replace(problem([0], [1], there, budget=4), pool=replace(there, vectors=vectors))
    assert len(set(chosen(small, duplicates=0.999).rows.tolist()) & {0, 1, 2, 3}) == 2
    choice = chosen(small, duplicates=0.999)
    assert len(choice.rows) == 4
    assert choice.notes == (
        "1 rows are as good as another chosen one (cosine above 0.999): their clusters, or the languages "
        "due there, have nothing else left.",
    )
    assert len(set(chosen(replace(small, budget=3), duplicates=0.999).rows.tolist()) & {0, 1, 2, 3}) == 1


@pytest.mark.parametrize("rule", ["round_robin", "herding"])
def test_all_parts_together_keep_the_budget_in_rows_and_tokens(rule: str) -> None:
    parts = {**ALL, "rows": rule}
    for seed in range(10):
        small = random_problem(seed)
        choice = chosen(small, **parts)
        assert len(choice.rows) == len(set(choice.rows.tolist())) == len(choice.reasons)
        assert len(choice.rows) == small.budget
        assert small.eligible[choice.rows].all()
        dear = costly(replace(small, budget=40), np.random.default_rng(seed).integers(1, 7, 60).tolist())
        assert 40 - 6 < dear.pool.costs[chosen(dear, **parts).rows].sum() <= 40, "less is left than the dearest row"


def test_reasons_say_what_is_asked_and_whom_a_row_serves() -> None:
    reason = chosen(random_problem(0), rows="round_robin").reasons[0]
    assert reason.startswith("cluster 0: ")
    assert "of what is asked, near “text " in reason
    assert chosen(random_problem(0)).reasons[0].endswith("of what is asked, at random")


def test_it_says_when_nothing_is_missing_and_needs_distances_for_affinity() -> None:
    there = pool([0, 1] * 5, ["id"] * 10)
    assert chosen(problem([0, 1], [0, 1], there, budget=4)).notes[0].startswith("No cluster lacks anything")
    lacking = problem([0, 1], [0, 0], pool([0, 1] * 5, ["id", "et"] * 5), budget=4)
    lacking = replace(lacking, pool=replace(lacking.pool, names=(lacking.language, "id")))
    assert not chosen(lacking).rows.size
    assert chosen(lacking).notes == (), "cluster 1 is missing; that the pool has none of it is told by the plan"
    with pytest.raises(DataFault, match="has no distances"):
        chosen(problem([0, 1], [0], there, budget=4), affinity=1.0)
