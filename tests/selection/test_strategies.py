"""Each rival on small pools: what it takes, within which budget, and why."""

from dataclasses import replace

import numpy as np
import pytest

from compass_ops.errors import DataFault
from compass_ops.selection.ngrams import SIZES, bucket_counts
from compass_ops.selection.strategies import (
    at_random,
    by_language,
    compass,
    craft,
    dsir,
    everything,
    own_only,
)
from tests.selection.oracles import bucketed_ngrams
from tests.selection.problems import costly, pool, problem, random_problem

POOL = pool([0, 1, 2] * 10, ["id", "tr", "id", "tr", "id"] * 6)
PROBLEM = problem([0] * 6 + [1] * 4, [1] * 5, POOL, budget=4)


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_compass_draws_only_where_there_is_a_gap() -> None:
    choice = compass(PROBLEM, rng())
    assert choice.quota is not None
    assert choice.quota.tolist() == [4, 0, 0]
    assert (POOL.clusters[choice.rows] == 0).all()
    assert len(set(choice.rows.tolist())) == 4
    assert choice.reasons[0] == "cluster 0: 60.0% of the target, 0.0% of what is held"


def test_compass_says_when_nothing_is_missing() -> None:
    choice = compass(problem([0, 1], [0, 1], POOL, budget=4), rng())
    assert choice.rows.tolist() == []
    assert choice.notes == ("No cluster has a gap: the language's own data cover what is asked.",)
    assert compass(replace(PROBLEM, budget=0), rng()).notes == (), "nothing to spend is another reason"


def test_random_draws_the_budget_without_repeats() -> None:
    rows = at_random(replace(PROBLEM, budget=12), rng()).rows
    assert len(set(rows.tolist())) == 12
    everywhere = {tuple(at_random(PROBLEM, np.random.default_rng(seed)).rows.tolist()) for seed in range(20)}
    assert len({row for rows in everywhere for row in rows}) > 25, "all rows come up"


def test_own_only_takes_nothing_and_all_everything_of_other_languages() -> None:
    there = pool([0, 1, 2], ["id", "sw", "tr"])
    small = problem([0], [1], there, budget=1)
    assert own_only(small, rng()).rows.tolist() == []
    assert everything(small, rng()).rows.tolist() == [0, 2]


def test_a_budget_in_tokens_is_kept_by_all() -> None:
    for seed in range(4):
        dear = costly(random_problem(seed, budget=30), np.random.default_rng(seed).integers(1, 7, 60).tolist())
        for strategy in (at_random, compass, craft, dsir, by_language(2)):
            choice = strategy(dear, rng())
            spent = int(dear.pool.costs[choice.rows].sum())
            assert spent <= 30
            assert len(set(choice.rows.tolist())) == len(choice.rows) == len(choice.reasons)
            assert dear.eligible[choice.rows].all()
            if strategy is not compass:  # its quotas may be over what its clusters hold
                assert 30 - spent < 7 * 2


def test_what_is_too_little_for_a_row_of_one_language_goes_to_the_next() -> None:
    """Three languages, rows of 60: 59 each buys none, 177 together two."""
    there = pool([0] * 9, ["et", "id", "tr"] * 3)
    cheap = problem([0], [0], there, budget=177, distances={"et": 0.1, "id": 0.2, "tr": 0.3})
    assert len(by_language(3)(costly(cheap, [60] * 9), rng()).rows) == 2


def test_craft_is_proportional_and_takes_the_nearest_on_average() -> None:
    choice = craft(replace(PROBLEM, budget=5), rng())
    assert choice.quota is not None
    assert choice.quota.tolist() == [3, 2, 0]
    target = PROBLEM.target.vectors[PROBLEM.target.clusters == 1]
    members = np.flatnonzero(POOL.clusters == 1)
    cosine = {int(row): np.mean([float(POOL.vectors[row] @ one) for one in target]) for row in members}
    best = sorted(cosine, key=lambda row: -cosine[row])[:2]
    assert set(choice.rows[POOL.clusters[choice.rows] == 1].tolist()) == set(best)


def test_dsir_weights_are_those_of_the_loop() -> None:
    texts = ["currency of Kenya", "day after Monday", "currency of Chad", "month after May"] * 2
    there = replace(pool([0] * 8, ["id", "tr"] * 4), texts=texts)
    asked = replace(problem([0, 0], [0], there, budget=3).target, texts=["currency of Togo", "currency of Mali"])
    small = replace(problem([0, 0], [0], there, budget=3), target=asked)
    choice = dsir(small, rng())

    def weight(text: str) -> float:
        logs = np.log((bucket_counts(asked.texts) + 1) / (bucket_counts(asked.texts) + 1).sum())
        logs -= np.log((bucket_counts(texts) + 1) / (bucket_counts(texts) + 1).sum())
        return sum(float(logs[_bucket(gram)]) for gram in bucketed_ngrams(text.lower(), SIZES))

    noise = rng().gumbel(size=8)
    order = np.argsort(-(np.array([weight(text) for text in texts]) + noise), kind="stable")
    assert choice.rows.tolist() == order[:3].tolist()
    assert all("currency" in texts[row] for row in choice.rows)
    assert choice.reasons[0] == f"dsir: log weight {weight(texts[order[0]]):.1f}"


def _bucket(gram: str) -> int:
    """The bucket of one n-gram: what it adds to the counts of the shorter ones inside it."""
    inner = [part for part in bucketed_ngrams(gram, SIZES) if part != gram]
    rest = bucket_counts([gram])
    for part in inner:
        rest[_bucket(part)] -= 1
    return int(rest.argmax())


def test_the_nearest_languages_share_the_budget() -> None:
    there = pool([0] * 12, ["et", "id", "tr"] * 4)
    small = problem([0], [0], there, budget=6, distances={"et": 0.3, "id": 0.1, "tr": 0.2, "sw": 0.0})
    choice = by_language(2)(small, rng())
    names = [there.names[code] for code in there.languages[choice.rows]]
    assert {name: names.count(name) for name in names} == {"id": 3, "tr": 3}
    assert set(choice.reasons) == {"id: distance 0.100 by a table", "tr: distance 0.200 by a table"}
    assert choice.notes == ("a note.",)


def test_what_a_small_language_lacks_the_others_give() -> None:
    there = pool([0] * 9, ["id"] + ["tr"] * 8)
    choice = by_language(2)(problem([0], [0], there, budget=6, distances={"id": 0.1, "tr": 0.2}), rng())
    assert len(choice.rows) == 6
    assert choice.notes == (
        "a note.",
        "Languages hold less than their part: id (3 asked, 1 there). The rest was asked of the other languages.",
    )


def test_a_pool_of_fewer_languages_than_asked_for_is_told() -> None:
    there = pool([0] * 9, ["id"] + ["tr"] * 8)
    choice = by_language(3)(problem([0], [0], there, budget=2, distances={"id": 0.1, "tr": 0.2}), rng())
    assert choice.notes == (
        "a note.",
        "The pool has 2 other languages, sample.languages asks for 3: all are drawn from.",
    )


def test_without_distances_a_language_cannot_be_near() -> None:
    with pytest.raises(DataFault, match="sw: has no distances to the pool's languages"):
        by_language(2)(PROBLEM, rng())
