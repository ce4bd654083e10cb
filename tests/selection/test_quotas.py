"""Gap and quotas by hand, against all divisions of small budgets, and against a convex solver."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import bisect, minimize

from compass_ops.selection.quotas import (
    fill,
    language_rows,
    language_shares,
    semantic_gap,
    shares,
    shrunken,
    water_fill,
    water_levels,
)
from tests.selection.oracles import best_division


def array(*values: float) -> NDArray[np.float64]:
    return np.array(values, np.float64)


def counts(*values: int) -> NDArray[np.int64]:
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


def test_quotas_are_as_near_to_proportional_as_whole_numbers_allow() -> None:
    """Without caps the largest remainder minimises the sum of squared deviations: compare with all divisions."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights, budget = rng.random(3), int(rng.integers(1, 9))
        exact = weights / weights.sum() * budget
        quota = fill(weights, counts(9, 9, 9), budget)
        assert quota.sum() == budget
        assert ((quota - exact) ** 2).sum() == pytest.approx(best_division(exact, counts(9, 9, 9), budget))


def test_quotas_within_supply_are_near_the_exact_division_and_mostly_the_nearest() -> None:
    """Exact: n = min(supply, v w), by bisection; the nearest whole numbers by trying all. Overflow is rounded anew."""
    rng, nearest = np.random.default_rng(4), []
    for _ in range(200):
        weights, supply = rng.random(4) + 0.01, rng.integers(1, 7, 4)
        budget = int(rng.integers(1, supply.sum()))
        level = bisect(lambda v: np.minimum(supply, v * weights).sum() - budget, 0, supply.max() / weights.min() + 1)  # noqa: B023
        exact = np.minimum(supply, level * weights)
        quota = fill(weights, supply, budget)
        assert (np.abs(quota - exact) < 1.5).all()
        nearest.append(((quota - exact) ** 2).sum() <= best_division(exact, supply, budget) + 1e-6)
    assert np.mean(nearest) > 0.8


def test_quotas_keep_to_supply_and_fill_what_can_be_filled() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        weights = rng.random(6) * (rng.random(6) < 0.7)
        supply, budget = rng.integers(0, 10, 6), int(rng.integers(0, 60))
        quota = fill(weights, supply, budget)
        assert (quota <= supply).all()
        assert quota[weights == 0].sum() == 0
        assert quota.sum() == min(budget, supply[weights > 0].sum())


def test_water_filling_leaves_full_clusters_alone() -> None:
    """Asked half and half, 10 held of the first: the second gets all until they are level."""
    assert water_fill(array(0.5, 0.5), counts(10, 0), counts(99, 99), 8).tolist() == [0, 8]
    assert water_fill(array(0.5, 0.5), counts(10, 0), counts(99, 99), 14).tolist() == [2, 12]
    assert water_fill(array(0.5, 0.5), counts(10, 0), counts(99, 5), 14).tolist() == [9, 5]
    assert water_fill(array(1.0, 0.0), counts(0, 0), counts(3, 99), 14).tolist() == [3, 0], "nothing that is not asked"


def random_case(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], int]:
    p = rng.random(4)
    supply = rng.integers(1, 12, 4)
    return p / p.sum(), rng.integers(1, 15, 4), supply, int(rng.integers(1, supply.sum()))


def test_water_levels_are_what_a_convex_solver_finds() -> None:
    rng = np.random.default_rng(2)
    for _ in range(25):
        p, held, supply, budget = random_case(rng)
        found = water_levels(p, held.astype(float), supply.astype(float), float(budget))
        solved = minimize(
            lambda n, p=p, held=held: -float(p @ np.log(held + n)),
            supply * budget / supply.sum(),
            jac=lambda n, p=p, held=held: -p / (held + n),
            bounds=[(0, int(most)) for most in supply],
            constraints={"type": "eq", "fun": lambda n, budget=budget: n.sum() - budget},
            options={"ftol": 1e-12, "maxiter": 300},
        )
        assert found.sum() == pytest.approx(budget)
        assert float(p @ np.log(held + found)) >= -solved.fun - 1e-9
        assert found == pytest.approx(solved.x, abs=0.02)


def test_whole_water_levels_are_the_nearest_division() -> None:
    rng = np.random.default_rng(3)
    for _ in range(25):
        p, held, supply, budget = random_case(rng)
        exact = water_levels(p, held.astype(float), supply.astype(float), float(budget))
        whole = water_fill(p, held, supply, budget)
        assert whole.sum() == budget
        assert (whole <= supply).all()
        assert ((whole - exact) ** 2).sum() == pytest.approx(best_division(exact, supply, budget), abs=1e-9)


def test_few_prompts_are_shrunken_more_than_many() -> None:
    """p = (1, 0), prior (.5, .5): noise 0, nothing to shrink. p = (.8, .2): noise .32, distance .18."""
    prior = array(0.5, 0.5)
    assert shrunken(array(1.0, 0.0), prior, 10).tolist() == [1.0, 0.0]
    assert shrunken(array(0.8, 0.2), prior, 11).tolist() == pytest.approx(
        [0.8 - 0.3 * 0.32 / 1.8, 0.2 + 0.3 * 0.32 / 1.8]
    )
    assert shrunken(array(0.8, 0.2), prior, 2).tolist() == [0.5, 0.5]
    assert shrunken(prior, prior, 100).tolist() == [0.5, 0.5], "no distance: nothing to divide by"


def test_languages_share_a_cluster_by_affinity_within_supply() -> None:
    cells = language_shares(counts(7, 2), array(2.0, 1.0), np.array([[9, 9], [0, 9]]), most=99)
    assert cells == pytest.approx(np.array([[14 / 3, 7 / 3], [0, 2]]))


def test_a_language_over_the_cap_gives_way_in_proportion() -> None:
    cells = language_shares(counts(8, 4), array(1.0, 1e-9), np.array([[9, 9], [9, 9]]), most=6)
    assert cells == pytest.approx(np.array([[4, 4], [2, 2]]), abs=1e-6)


def test_what_is_due_is_rounded_by_largest_remainder_within_supply() -> None:
    rng = np.random.default_rng(0)
    assert language_rows(array(2.5, 0.3, 0.2), array(9, 9, 9), 3, rng).tolist() == [3, 0, 0]
    assert language_rows(array(2.5, 0.3, -4.0), array(1, 0, 9), 3, rng).tolist() == [1, 0, 2], "owing gives last"
    assert language_rows(array(1.0, 1.0), array(1, 1), 3, rng).tolist() == [1, 1]


def test_equal_languages_are_rounded_by_chance_and_not_by_their_names() -> None:
    drawn = sum(language_rows(np.full(6, 0.5), np.full(6, 9.0), 3, np.random.default_rng(seed)) for seed in range(200))
    assert (np.abs(drawn - 100) < 30).all(), "four standard errors of 200 draws of one half"


def test_weights_too_small_to_be_summed_divide_as_their_ratios() -> None:
    assert fill(array(3e-320, 1e-320), counts(99, 99), 8).tolist() == [6, 2]
    assert language_shares(counts(8), array(3e-320, 1e-320), np.array([[99, 99]]), 99) == pytest.approx(
        np.array([[6, 2]]), rel=0.01
    )


def test_caps_that_bind_everywhere_leave_the_rest_undrawn() -> None:
    rng = np.random.default_rng(4)
    for _ in range(100):
        quota, supply = rng.integers(0, 9, 3), rng.integers(0, 6, (3, 4))
        most = int(rng.integers(1, 9))
        cells = language_shares(quota, rng.random(4) + 0.1, supply, most)
        assert (cells <= supply + 1e-6).all()
        assert (cells.sum(axis=0) <= most + 1e-6).all()
        assert (cells.sum(axis=1) <= quota + 1e-6).all()
        short = cells.sum(axis=1) < quota - 1e-6
        full = (cells >= supply - 1e-6) | (cells.sum(axis=0) >= most - 1e-6)
        assert full[short].all(), "where something is missing no language could give more"
