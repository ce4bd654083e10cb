"""The choice of auxiliary data: a strategy's rows, and the plan that shows what was asked, held and drawn. Pure."""

from dataclasses import dataclass

import numpy as np

from compass_ops.selection.compass_plus import compass_plus
from compass_ops.selection.nearest import nearest
from compass_ops.selection.problem import Choice, Problem, RowNumbers, Strategy, check
from compass_ops.selection.quotas import Counts, Shares, semantic_gap, shares
from compass_ops.selection.strategies import at_random, by_language, compass, craft, dsir, everything, own_only, supply
from compass_ops.selection_sections import UNBOUND, SampleParams


@dataclass(frozen=True)
class Plan:
    """What a strategy decided for one language.

    Attributes
    ----------
    target_share, held_share : float64 (K,)
        Shares of what is asked and of what the language's own data covers; each sums to 1, or is 0 without rows.
    gap : float64 (K,)
        What is asked beyond what is covered, >= 0.
    quota, supply, chosen : int64 (K,)
        Asked of the cluster, there in the pool, and taken, in the budget's unit. Quota is what was taken where the
        strategy sets none.
    rows : int64 (m,)
        Chosen rows of the pool, sorted.
    reasons : tuple of str (m,)
        Why each was chosen.
    notes : tuple of str
        What makes the choice uncertain, and what was done otherwise than asked.
    """

    target_share: Shares
    held_share: Shares
    gap: Shares
    quota: Counts
    supply: Counts
    chosen: Counts
    rows: RowNumbers
    reasons: tuple[str, ...]
    notes: tuple[str, ...]


def strategy(settings: SampleParams) -> Strategy:
    """Return the strategy that the settings name."""
    named: dict[str, Strategy] = {
        "own_only": own_only,
        "random": at_random,
        "all": everything,
        "langsim": by_language(settings.languages),
        "langrank": by_language(settings.languages),
        "compass": compass,
        "nearest": nearest,
        "dsir": dsir,
        "craft": craft,
        "compass_plus": compass_plus(settings.compass_plus),
    }
    return named[settings.strategy]


def sample(settings: SampleParams, problem: Problem, rng: np.random.Generator) -> Plan:
    """Choose rows of the pool for one language.

    Parameters
    ----------
    settings : SampleParams
        The strategy and its parts; the budget is the problem's.
    problem : Problem
    rng : numpy.random.Generator
        The language's own stream.

    Raises
    ------
    DataFault
        If there is no target, a vector of it is not finite, the pool is smaller than a budget that binds, or the
        strategy lacks what it needs. The pool's vectors are taken as finite: whoever reads them has checked.
    """
    bound = settings.strategy not in UNBOUND
    noted = check(problem, bound=bound)
    choice = strategy(settings)(problem, rng)
    order = np.argsort(choice.rows, kind="stable")
    rows = choice.rows[order]
    chosen = problem.cluster_costs(problem.pool, rows)
    target, held = (shares(items.clusters, problem.clusters) for items in (problem.target, problem.own))
    return Plan(
        target_share=target,
        held_share=held,
        gap=semantic_gap(target, held),
        quota=chosen if choice.quota is None else choice.quota,
        supply=supply(problem),
        chosen=chosen,
        rows=rows,
        reasons=tuple(choice.reasons[place] for place in order),
        notes=(*noted, *choice.notes, *(_unmet(problem, settings, choice, int(chosen.sum())) if bound else ())),
    )


def _unmet(problem: Problem, settings: SampleParams, choice: Choice, spent: int) -> tuple[str, ...]:
    """Say which clusters lack what they were to give, and how much of the budget was not drawn in all."""
    notes = []
    there = supply(problem)
    if choice.wanted is not None and (short := np.flatnonzero(choice.wanted > there)).size:
        lacks = ", ".join(f"{cluster} ({choice.wanted[cluster]} asked, {there[cluster]} there)" for cluster in short)
        asked_elsewhere = choice.quota is not None and choice.quota.sum() > np.minimum(choice.wanted, there).sum()
        rest = "The rest was asked of the other clusters." if asked_elsewhere else "There is no other to ask."
        notes.append(f"Clusters hold less than their quota: {lacks}. {rest}")
    missing = problem.budget - spent
    costs = problem.pool.costs
    if missing >= max(costs.min(), min(costs.max(), problem.budget // 50)):  # less is what the rows' sizes leave
        where = "the languages chosen" if choice.quota is None else "the clusters where something is missing"
        capped = settings.strategy == "compass_plus" and settings.compass_plus.language_cap < 1
        more = "more that sample.compass_plus.language_cap admits" if capped else "more"
        more += ", or the next row is dearer than what was left" if settings.unit == "tokens" else ""
        notes.append(
            f"{missing} of the budget of {problem.budget} {settings.unit} were not drawn: {where} hold no {more}. "
            "The adapter is trained on what there is."
        )
    return tuple(notes)
