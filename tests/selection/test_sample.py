"""Gap and quotas by hand and against a slow oracle; strategies on small pools."""

import numpy as np
import pytest

from compass_ops.selection.sample import fill, sample, semantic_gap, shares


def array(*values: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array(values, np.float64)


def counts(*values: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(values, np.int64)


def test_shares_by_hand() -> None:
    assert shares(np.array([0, 2, 2, 2], np.int32), 4).tolist() == [0.25, 0, 0.75, 0]
    assert shares(np.zeros(0, np.int32), 2).tolist() == [0, 0]


def test_gap_is_what_is_asked_beyond_what_is_held() -> None:
    assert semantic_gap(array(0.5, 0.3, 0.2), array(0.1, 0.6, 0.3)).tolist() == [0.4, 0.0, 0.0]


@pytest.mark.parametrize(
    ("weights", "supply", "budget", "expected"),
    [
        (array(0.5, 0.3, 0.2), counts(99, 99, 99), 10, [5, 3, 2]),
        (array(0.5, 0.3, 0.2), counts(2, 99, 99), 10, [2, 5, 3]),  # 3 overflow: .3 and .2 share them 1.8 : 1.2
        (array(1.0, 1.0, 1.0), counts(9, 9, 9), 4, [2, 1, 1]),  # equal remainders: the lower cluster
        (array(0.5, 0.0, 0.5), counts(1, 99, 2), 10, [1, 0, 2]),  # all that the gap's clusters have
        (array(0.0, 0.0), counts(5, 5), 3, [0, 0]),
    ],
)
def test_quotas_by_hand(weights: object, supply: object, budget: int, expected: list[int]) -> None:
    assert fill(weights, supply, budget).tolist() == expected  # type: ignore[arg-type]


def test_quotas_are_as_near_to_proportional_as_whole_numbers_and_supply_allow() -> None:
    """Without caps the largest remainder minimises the sum of squared deviations: compare with all divisions."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights, budget = rng.random(3), int(rng.integers(1, 9))
        exact = weights / weights.sum() * budget
        best = min(
            ((a - exact[0]) ** 2 + (b - exact[1]) ** 2 + (budget - a - b - exact[2]) ** 2)
            for a in range(budget + 1)
            for b in range(budget + 1 - a)
        )
        quota = fill(weights, counts(99, 99, 99), budget)
        assert quota.sum() == budget
        assert ((quota - exact) ** 2).sum() == pytest.approx(best)


def test_quotas_keep_to_supply_and_fill_what_can_be_filled() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        weights = rng.random(6) * (rng.random(6) < 0.7)
        supply, budget = rng.integers(0, 10, 6), int(rng.integers(0, 60))
        quota = fill(weights, supply, budget)
        assert (quota <= supply).all()
        assert quota[weights == 0].sum() == 0
        assert quota.sum() == min(budget, supply[weights > 0].sum())


TARGET = np.array([0] * 6 + [1] * 4, np.int32)
HELD = np.array([1] * 5, np.int32)
POOL = np.array([0, 1, 2] * 10, np.int32)


def test_compass_draws_only_where_there_is_a_gap() -> None:
    plan = sample("compass", TARGET, HELD, POOL, (3, 4), np.random.default_rng(0))
    assert plan.gap.tolist() == [0.6, 0.0, 0.0]
    assert plan.chosen.tolist() == [4, 0, 0]
    assert (POOL[plan.rows] == 0).all()
    assert len(set(plan.rows.tolist())) == 4


def test_compass_says_what_it_could_not_fill() -> None:
    plan = sample("compass", TARGET, HELD, POOL, (3, 25), np.random.default_rng(0))
    assert plan.chosen.tolist() == [10, 0, 0]


def test_random_draws_the_budget_without_repeats_and_own_only_nothing() -> None:
    plan = sample("random", TARGET, HELD, POOL, (3, 12), np.random.default_rng(0))
    assert len(set(plan.rows.tolist())) == 12
    assert plan.chosen.sum() == 12
    assert len(sample("own_only", TARGET, HELD, POOL, (3, 12), np.random.default_rng(0)).rows) == 0


def test_same_stream_same_rows() -> None:
    one, two = (sample("compass", TARGET, HELD, POOL, (3, 4), np.random.default_rng(5)) for _ in range(2))
    assert one.rows.tolist() == two.rows.tolist()
