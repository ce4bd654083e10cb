"""The project's own strategy: quotas by what is still missing, languages by affinity, rows by what is asked. Pure.

Each part is a setting of its own, so that its worth can be measured: see ``selection_sections.CompassPlusParams``.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from compass_ops.errors import DataFault
from compass_ops.selection.herding import herd
from compass_ops.selection.nearest import distinct, near, ranked_candidates, round_robin
from compass_ops.selection.problem import Choice, Problem, RowNumbers
from compass_ops.selection.quotas import (
    Counts,
    Shares,
    fill,
    language_rows,
    language_shares,
    semantic_gap,
    shares,
    shrunken,
    water_fill,
)
from compass_ops.selection.strategies import plenty, supply
from compass_ops.selection_sections import CompassPlusParams

_ROUNDING = 1e-9  # .29 of 100 is 29, whatever the product of floats

# budget, rule of admission, rows gone already -> rows of the cluster, and why each
_Draw = Callable[[int, Callable[[int], bool], Collection[int]], list[tuple[int, str]]]


@dataclass(frozen=True)
class _Cluster:
    """One cluster's part of the choice: its rows of the pool, its quota, and what is left of each language, if told.

    ``used`` are the places in ``rows`` of what it drew before.
    """

    number: int
    rows: RowNumbers
    quota: int
    left: Shares | None
    used: Collection[int]


def compass_plus(settings: CompassPlusParams) -> Callable[[Problem, np.random.Generator], Choice]:
    """Return the strategy with these parts."""

    def choose(problem: Problem, rng: np.random.Generator) -> Choice:
        asked = _asked(problem, settings)
        quota = _cluster_quotas(problem, settings, asked, supply(problem))
        allowances = _Allowances(problem, settings, quota)
        rows: list[int] = []
        reasons: list[str] = []
        repeated = carried = 0
        for number, n, again in _turns(quota, settings):
            budget = n + carried
            if not budget:
                continue
            left = allowances.left(number, budget, rng, again=again)
            members = problem.members(number)
            used = np.flatnonzero(np.isin(members, rows)).tolist() if again else []
            taken, repeats = _take(problem, _Cluster(number, members, budget, left, used), settings, rng)
            allowances.settle(number, [row for row, _ in taken])
            share = f"cluster {number}: {asked[number]:.1%} of what is asked"
            reasons += [f"{share}, {why}" for _, why in taken]
            rows += [row for row, _ in taken]
            repeated += repeats
            carried = budget - int(problem.pool.costs[[row for row, _ in taken]].sum())
        wanted = _cluster_quotas(problem, settings, asked, plenty(problem))
        return Choice(np.array(rows, np.int64), reasons, quota, _notes(problem, settings, wanted, repeated), wanted)

    return choose


def _turns(quota: Counts, settings: CompassPlusParams) -> list[tuple[int, int, bool]]:
    """Return (cluster, quota, whether for a second time) in the order of drawing.

    Under a cap the last clusters may be without a language that has room, while earlier ones still hold such rows.
    """
    first = [(number, int(n), False) for number, n in enumerate(quota) if n]
    return first + [(number, 0, True) for number, *_ in first if settings.language_cap < 1]


def _asked(problem: Problem, settings: CompassPlusParams) -> Shares:
    """Return what is asked of each cluster, float64 (K,): the target's shares, shrunken towards the pool's."""
    target = shares(problem.target.clusters, problem.clusters)
    if not settings.shrinkage:
        return target
    prior = shares(problem.pool.clusters[problem.eligible], problem.clusters)
    return shrunken(target, prior, len(problem.target))


def _cluster_quotas(problem: Problem, settings: CompassPlusParams, asked: Shares, there: Counts) -> Counts:
    """Divide the budget, given how much there is in each cluster, int64 (K,)."""
    if settings.quotas == "water_filling":
        return water_fill(asked, problem.cluster_costs(problem.own), there, problem.budget)
    if settings.quotas == "proportional":
        return fill(asked, there, problem.budget)
    return fill(semantic_gap(asked, shares(problem.own.clusters, problem.clusters)), there, problem.budget)


class _Allowances:
    """What each language may still give, cluster by cluster: its share of each by affinity, within a cap over all.

    What a cluster drew of a language beyond its share, or less, counts in the clusters after it (error diffusion).
    Else small quotas would round alike in all, and dear rows of far languages would take the place of near ones.
    """

    def __init__(self, problem: Problem, settings: CompassPlusParams, quota: Counts) -> None:
        self._problem, pool = problem, problem.pool
        self._capped, self._most = settings.language_cap < 1, settings.language_cap * problem.budget
        self._spent, self._owed = np.zeros(len(pool.names)), np.zeros(len(pool.names))
        self._shares: Shares | None = None
        if settings.affinity == 0:
            return
        if problem.distances is None:
            raise DataFault(problem.language, "has no distances to the pool's languages.")
        distance = np.array([problem.distances.values[name] for name in pool.names])
        affinity = np.exp(-settings.affinity * (distance - distance.min()))
        cells, self._row = _cells(problem), float(pool.costs[problem.eligible].mean())
        self._shares = language_shares(quota, affinity, cells, self._most)
        self._cells = np.where(self._shares > 0, cells, 0.0)

    def left(self, cluster: int, budget: int, rng: np.random.Generator, *, again: bool) -> Shares | None:
        """Return what a cluster may draw of each language, float64 (L,); None where languages do not matter.

        Where it draws ``again``, languages without room under the cap take no part from those that have some.
        """
        room = np.floor(np.maximum(self._most + _ROUNDING - self._spent, 0.0))
        if self._shares is None:
            return room if self._capped else None
        due = (self._shares[cluster] + self._owed) / self._row
        there = (np.minimum(self._cells[cluster], room) if again else self._cells[cluster]) / self._row
        rows = language_rows(due, there, int(np.ceil(budget / self._row)), rng)
        return np.minimum(rows * self._row, room)

    def settle(self, cluster: int, rows: Sequence[int]) -> None:
        """Count what a cluster drew."""
        pool = self._problem.pool
        drawn = np.bincount(pool.languages[rows], weights=pool.costs[rows], minlength=len(pool.names))
        self._spent += drawn
        if self._shares is not None:
            self._owed += self._shares[cluster] - drawn
            self._shares[cluster] = 0.0  # is owed from now on
            self._cells[cluster] -= drawn


def _cells(problem: Problem) -> Counts:
    """Return int64 (K, L): what the eligible rows of each cluster and language cost together."""
    pool, rows = problem.pool, problem.eligible
    shape = (problem.clusters, len(pool.names))
    cells = np.ravel_multi_index((pool.clusters[rows], pool.languages[rows]), shape)
    return np.bincount(cells, weights=pool.costs[rows], minlength=shape[0] * shape[1]).reshape(shape).astype(np.int64)


def _take(
    problem: Problem, part: _Cluster, settings: CompassPlusParams, rng: np.random.Generator
) -> tuple[list[tuple[int, str]], int]:
    """Return the rows of one cluster with why each was taken, and how many repeat another one."""
    costs, draw = problem.pool.costs[part.rows], _rule(problem, part, settings, rng)
    fresh = None
    if settings.duplicates is not None:
        fresh = distinct(problem.pool.vectors[part.rows], settings.duplicates)
        for row in part.used:
            fresh(row)
    taken = draw(part.quota, _admission(problem, part, fresh), part.used)
    first, rest = len(taken), part.quota - int(costs[[row for row, _ in taken]].sum())
    if fresh is not None and rest > 0:
        taken += draw(rest, _admission(problem, part, None), [*part.used, *(row for row, _ in taken)])
    return [(int(part.rows[row]), why) for row, why in taken], len(taken) - first


def _rule(problem: Problem, part: _Cluster, settings: CompassPlusParams, rng: np.random.Generator) -> _Draw:
    """Return how rows are drawn in one cluster; at random where no target prompt lies in it."""
    items, costs = np.flatnonzero(problem.target.clusters == part.number), problem.pool.costs[part.rows]
    if settings.rows == "random" or not len(items):
        order = rng.permutation(len(part.rows)).reshape(1, -1)
        return lambda budget, admits, used: [
            (row, "at random") for row, _ in round_robin(order, costs, budget, admits, used)
        ]
    pool = problem.pool.vectors[part.rows]
    if settings.rows == "herding":
        asked = problem.target.vectors[items]
        return lambda budget, admits, used: [
            (row, "by herding") for row in herd(asked, pool, costs, budget, admits, used)
        ]
    items = items[rng.permutation(len(items))]
    ranked = ranked_candidates(problem.target.vectors[items], pool, len(part.rows))
    return lambda budget, admits, used: [
        (row, near(problem, int(items[item]), int(part.rows[row])))
        for row, item in round_robin(ranked, costs, budget, admits, used)
    ]


def _admission(problem: Problem, part: _Cluster, fresh: Callable[[int], bool] | None) -> Callable[[int], bool]:
    """Return a rule that admits what is fresh and in a language with something left, and counts it there.

    A row may exceed what is left of its language by half; the cluster's quota is kept by the rule that draws.
    """
    languages, costs, left = problem.pool.languages[part.rows], problem.pool.costs[part.rows], part.left

    def admits(candidate: int) -> bool:
        if left is not None and left[languages[candidate]] < costs[candidate] / 2:
            return False
        if fresh is not None and not fresh(candidate):
            return False
        if left is not None:
            left[languages[candidate]] -= costs[candidate]
        return True

    return admits


def _notes(problem: Problem, settings: CompassPlusParams, wanted: Counts, repeated: int) -> tuple[str, ...]:
    notes: list[str] = []
    if settings.affinity > 0 and problem.distances is not None:
        notes += problem.distances.notes
    if problem.budget and not wanted.any():
        notes.append("No cluster lacks anything: the language's own data cover what is asked.")
    if repeated:
        notes.append(
            f"{repeated} rows are as good as another chosen one (cosine above {settings.duplicates}): their "
            "clusters, or the languages due there, have nothing else left."
        )
    return tuple(notes)
