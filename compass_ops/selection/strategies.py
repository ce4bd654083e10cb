"""The strategies that the project's own is compared with, each in a few lines over the same problem. Pure."""

from collections.abc import Callable, Sequence

import numpy as np

from compass_ops.errors import DataFault
from compass_ops.selection.ngrams import bucket_counts, text_scores
from compass_ops.selection.problem import Choice, Problem, RowNumbers, affordable
from compass_ops.selection.quotas import Counts, fill, semantic_gap, shares


def own_only(problem: Problem, _: np.random.Generator) -> Choice:
    """Take nothing: the language's own data alone."""
    return Choice(np.zeros(0, np.int64), ())


def everything(problem: Problem, _: np.random.Generator) -> Choice:
    """Take the whole pool, whatever the budget."""
    rows = np.flatnonzero(problem.eligible)
    return Choice(rows, ["all: the whole pool"] * len(rows))


def at_random(problem: Problem, rng: np.random.Generator) -> Choice:
    """Take rows alike: the control that tells what choosing is worth from what more data are worth."""
    eligible = np.flatnonzero(problem.eligible)
    rows = affordable(eligible[rng.permutation(len(eligible))], problem.pool.costs, problem.budget)
    return Choice(rows, [f"random: cluster {cluster}" for cluster in problem.pool.clusters[rows]])


def compass(problem: Problem, rng: np.random.Generator) -> Choice:
    """Take quotas in proportion to the semantic gap, at random inside a cluster.

    The paper's method (arXiv 2604.20720) as far as it is publicly known; a reconstruction.
    """
    target, held = (shares(items.clusters, problem.clusters) for items in (problem.target, problem.own))
    gap = semantic_gap(target, held)
    quota, wanted = (fill(gap, there, problem.budget) for there in (supply(problem), plenty(problem)))
    rows = by_quota(quota, problem.pool.costs, lambda cluster: rng.permutation(problem.members(cluster)))
    reasons = [
        f"cluster {c}: {target[c]:.1%} of the target, {held[c]:.1%} of what is held"
        for c in problem.pool.clusters[rows]
    ]
    covered = problem.budget > 0 and not wanted.any()
    notes = ("No cluster has a gap: the language's own data cover what is asked.",) if covered else ()
    return Choice(rows, reasons, quota, notes, wanted)


def craft(problem: Problem, _: np.random.Generator) -> Choice:
    """Take quotas in proportion to the target, the rows nearest to it on average inside a cluster.

    After CRAFT (arXiv 2604.22693), by its abstract: stage (i) proportional quotas, stage (ii) least conditional
    expected distance to the target. Its distance is between completions, which a target of prompts lacks; here it
    is the cosine of prompts.
    """
    vectors = problem.pool.vectors
    target = shares(problem.target.clusters, problem.clusters)

    def nearest_first(cluster: int) -> RowNumbers:
        members = problem.members(cluster)
        mean = problem.target.vectors[problem.target.clusters == cluster].mean(axis=0)
        return members[np.argsort(-(vectors[members] @ mean), kind="stable")]

    quota, wanted = (fill(target, there, problem.budget) for there in (supply(problem), plenty(problem)))
    rows = by_quota(quota, problem.pool.costs, nearest_first)
    reasons = [f"cluster {c}: {target[c]:.1%} of the target, nearest to it" for c in problem.pool.clusters[rows]]
    return Choice(rows, reasons, quota, wanted=wanted)


def dsir(problem: Problem, rng: np.random.Generator) -> Choice:
    """Take rows by importance resampling on hashed n-grams (DSIR, arXiv 2302.03169).

    log w = sum_j count_j (log p_target_j - log p_pool_j), top of log w + Gumbel noise: a sample without replacement.
    Departures: character 3- to 5-grams instead of words, which not every script separates, and add-one smoothing
    of both distributions, since a target is some hundred prompts.

    Raises
    ------
    DataFault
        If the target's texts are all empty, as those of a window without text are.
    """
    if not any(problem.target.texts):
        raise DataFault(
            problem.language,
            f"dsir compares texts, and none is kept of the {len(problem.target)} prompts. Set traffic.keep_text to "
            "true, or choose another sample.strategy.",
        )
    eligible = np.flatnonzero(problem.eligible)
    texts = [problem.pool.texts[int(row)] for row in eligible]
    asked, there = bucket_counts(problem.target.texts) + 1, bucket_counts(texts) + 1
    weights = text_scores(texts, np.log(asked / asked.sum()) - np.log(there / there.sum()))
    order = np.argsort(-(weights + rng.gumbel(size=len(weights))), kind="stable")
    chosen = affordable(order, problem.pool.costs[eligible], problem.budget)
    return Choice(eligible[chosen], [f"dsir: log weight {weights[place]:.1f}" for place in chosen])


def by_language(most: int) -> Callable[[Problem, np.random.Generator], Choice]:
    """Return the strategy of LangSim and LangRank: the nearest ``most`` languages, an equal part of the budget each.

    Rows are drawn at random inside a language; what one lacks the others give, and a note says so.
    """

    def choose(problem: Problem, rng: np.random.Generator) -> Choice:
        distances, pool = problem.distances, problem.pool
        if distances is None:
            raise DataFault(problem.language, "has no distances to the pool's languages.")
        ranked = sorted((value, name) for name, value in distances.values.items() if name != problem.language)
        chosen = [pool.names.index(name) for _, name in ranked[:most]]
        members = [np.flatnonzero(pool.languages == place) for place in chosen]
        there = np.array([pool.costs[rows].sum() for rows in members], np.int64)
        parts = fill(np.ones(len(chosen)), there, problem.budget)
        rows = by_quota(parts, pool.costs, lambda place: rng.permutation(members[place]))
        names = [pool.names[place] for place in pool.languages[rows]]
        reasons = [f"{name}: distance {distances.values[name]:.3f} by {distances.source}" for name in names]
        wanted = fill(np.ones(len(chosen)), np.full(len(chosen), problem.budget), problem.budget)
        short = [
            f"{pool.names[place]} ({asked} asked, {held} there)"
            for place, asked, held in zip(chosen, wanted, there, strict=True)
            if asked > held
        ]
        return Choice(rows, reasons, notes=(*distances.notes, *_short_languages(short, len(chosen), most)))

    return choose


def _short_languages(short: Sequence[str], chosen: int, most: int) -> list[str]:
    notes = []
    if chosen < most:
        notes.append(f"The pool has {chosen} other languages, sample.languages asks for {most}: all are drawn from.")
    if short:
        others = "The rest was asked of the other languages." if len(short) < chosen else "There is no other to ask."
        notes.append(f"Languages hold less than their part: {', '.join(short)}. {others}")
    return notes


def supply(problem: Problem) -> Counts:
    """Return int64 (K,): what the eligible rows of each cluster cost together."""
    return problem.cluster_costs(problem.pool, problem.eligible)


def plenty(problem: Problem) -> Counts:
    """Return int64 (K,): a supply that no quota exceeds, which tells what each cluster would have been asked for."""
    return np.full(problem.clusters, problem.budget, np.int64)


def by_quota(quota: Counts, costs: Counts, ranked: Callable[[int], RowNumbers]) -> RowNumbers:
    """Take the rows of each cluster or language in the order of ``ranked(place)``, up to its quota (P,).

    What is too little for another row goes to the next quota.
    """
    parts, carried = [np.zeros(0, np.int64)], 0
    for place, asked in enumerate(quota):
        if asked:
            own = int(asked) + carried
            parts.append(affordable(ranked(place), costs, own))
            carried = own - int(costs[parts[-1]].sum())
    return np.concatenate(parts)
