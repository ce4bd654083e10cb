"""What a strategy is given and what it returns: one language's target, own data, pool and budget; rows with reasons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from compass_ops.errors import DataFault
from compass_ops.selection.ngrams import bucket_counts

RowNumbers = NDArray[np.int64]
_PROFILED = 5_000  # texts of a language that its n-grams are counted in, at most


@dataclass(frozen=True)
class Clustered:
    """Texts and their clusters.

    Attributes
    ----------
    clusters : int32 (n,), in [0, K)
    texts : sequence of str (n,)
    """

    clusters: NDArray[np.int32]
    texts: Sequence[str]

    def __len__(self) -> int:
        return len(self.clusters)


@dataclass(frozen=True)
class Held(Clustered):
    """What a language has already.

    Attributes
    ----------
    costs : int64 (n,), >= 1
        What each row takes of the budget: 1 where the budget is in rows, its tokens where it is in tokens.
    """

    costs: NDArray[np.int64]


@dataclass(frozen=True)
class Items(Clustered):
    """What is asked, with its places in the space of meaning.

    Attributes
    ----------
    vectors : float32 (n, d), unit rows
    """

    vectors: NDArray[np.float32]


@dataclass(frozen=True)
class Pool(Held):
    """The auxiliary rows of all languages, shared by all targets.

    Attributes
    ----------
    vectors : float32 (n, d), unit rows
    languages : int32 (n,)
        Each row's language as a place in ``names``.
    names : tuple of str
        The pool's languages.
    """

    vectors: NDArray[np.float32]
    languages: NDArray[np.int32]
    names: tuple[str, ...]

    @cached_property
    def by_cluster(self) -> tuple[RowNumbers, ...]:
        """The rows of each cluster up to the last one that has any, in rising order: sorted once for all targets."""
        order = np.argsort(self.clusters, kind="stable").astype(np.int64)
        return tuple(np.split(order, np.cumsum(np.bincount(self.clusters))[:-1]))

    @cached_property
    def profiles(self) -> NDArray[np.float64]:
        """Counts of each language's character n-grams, float64 (L, buckets); of more than 5,000 texts, of as many."""
        rows = [spread(np.flatnonzero(self.languages == place), _PROFILED) for place in range(len(self.names))]
        return np.stack([bucket_counts([self.texts[row] for row in own]) for own in rows])


@dataclass(frozen=True)
class LanguageDistances:
    """How far each language of the pool is from the target language; the smaller, the nearer.

    Attributes
    ----------
    values : mapping of language to float
        In [0, 1] where the source is URIEL+ or character n-grams; a rank where it is a ranker.
    source : str
        Where they come from, as reasons name it.
    notes : tuple of str
        What was done instead where a language is unknown to the source.
    """

    values: Mapping[str, float]
    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Problem:
    """The choice of auxiliary data for one language.

    Attributes
    ----------
    language : str
    target : Items
        What is asked.
    own : Held
    pool : Pool
        Its rows of ``language`` itself are never chosen.
    clusters : int
        K, the number of clusters.
    budget : int
        In the unit of ``costs``.
    distances : LanguageDistances or None
        Given to the strategies that need them.
    """

    language: str
    target: Items
    own: Held
    pool: Pool
    clusters: int
    budget: int
    distances: LanguageDistances | None = None

    @cached_property
    def eligible(self) -> NDArray[np.bool_]:
        """Whether a row of the pool may be chosen, bool (n,)."""
        own = [place for place, name in enumerate(self.pool.names) if name == self.language]
        return ~np.isin(self.pool.languages, own)

    def members(self, cluster: int) -> RowNumbers:
        """Return the eligible rows of a cluster, in rising order."""
        if cluster >= len(self.pool.by_cluster):
            return np.zeros(0, np.int64)
        rows = self.pool.by_cluster[cluster]
        return rows[self.eligible[rows]]

    def cluster_costs(self, items: Held, rows: RowNumbers | NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
        """Return int64 (K,): what the items, or some rows of them, cost together in each cluster."""
        taken = slice(None) if rows is None else rows
        return np.bincount(items.clusters[taken], weights=items.costs[taken], minlength=self.clusters).astype(np.int64)


@dataclass(frozen=True)
class Choice:
    """What a strategy took.

    Attributes
    ----------
    rows : int64 (m,)
        Rows of the pool, each once.
    reasons : sequence of str (m,)
        Why each was taken.
    quota : int64 (K,) or None
        What was asked of each cluster, in the budget's unit; None where the strategy has no quotas.
    notes : tuple of str
        What was done otherwise than asked, in words.
    wanted : int64 (K,) or None
        What ``quota`` would be if every cluster held enough.
    """

    rows: RowNumbers
    reasons: Sequence[str]
    quota: NDArray[np.int64] | None = None
    notes: tuple[str, ...] = ()
    wanted: NDArray[np.int64] | None = None


Strategy = Callable[[Problem, np.random.Generator], Choice]


def check(problem: Problem, *, bound: bool) -> tuple[str, ...]:
    """Return what makes the choice less certain, in words; ``bound`` says whether the budget is to be kept.

    Raises
    ------
    DataFault
        If nothing is asked, a vector of what is asked is not finite, or the pool is smaller than the budget.
    """
    language, target = problem.language, problem.target
    if not len(target):
        raise DataFault(language, "has no target prompts. Map rows to role target: what people of the language ask.")
    bad = np.flatnonzero(~np.isfinite(target.vectors).all(axis=1))
    if bad.size:
        raise DataFault(
            language,
            f"{bad.size} target vectors are not finite, the first that of {target.texts[bad[0]]!r}. Run `dvc repro -f "
            "embed` to have them anew.",
        )
    supply = int(problem.pool.costs[problem.eligible].sum())
    if bound and not supply:
        raise DataFault(
            language,
            "the pool holds no row of another language. Add auxiliary data, or set sample.strategy: own_only.",
        )
    if bound and problem.budget > supply:
        raise DataFault(
            language,
            f"the budget is {problem.budget}, but the pool of other languages holds {supply}. Lower the budget or "
            "add auxiliary data.",
        )
    if len(target) < problem.clusters:
        return (
            f"{len(target)} target prompts for {problem.clusters} clusters: most shares rest on no or one prompt. "
            "Collect more prompts or lower cluster.clusters.",
        )
    return ()


def spread(rows: RowNumbers, most: int) -> RowNumbers:
    """Return at most so many rows, evenly spaced over all of them."""
    return rows[np.linspace(0, len(rows), min(most, len(rows)), endpoint=False).astype(np.int64)]


def affordable(order: RowNumbers, costs: NDArray[np.int64], budget: int) -> RowNumbers:
    """Return the longest prefix of ``order`` whose costs together stay within the budget."""
    return order[: int(np.searchsorted(np.cumsum(costs[order]), budget, side="right"))]
