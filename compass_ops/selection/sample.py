"""The choice of auxiliary data: semantic gap, quotas per cluster, rows. Arrays in, row numbers out."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Clusters = NDArray[np.int32]


@dataclass(frozen=True)
class Plan:
    """What a strategy decided for one language; every array has one value per cluster.

    Attributes
    ----------
    target_share, held_share : float64 (K,)
        Shares of what is asked and of what the language's own data covers; each sums to 1, or is 0 without rows.
    gap : float64 (K,)
        What is asked beyond what is covered, >= 0.
    quota, supply, chosen : int64 (K,)
        Rows asked of the cluster, rows the pool has there, rows taken.
    rows : int64 (m,)
        Chosen rows of the pool, sorted; m <= budget.
    """

    target_share: NDArray[np.float64]
    held_share: NDArray[np.float64]
    gap: NDArray[np.float64]
    quota: NDArray[np.int64]
    supply: NDArray[np.int64]
    chosen: NDArray[np.int64]
    rows: NDArray[np.int64]


def shares(clusters: Clusters, count: int) -> NDArray[np.float64]:
    """Return the share of the rows in each of ``count`` clusters; zeros where there are no rows."""
    counts = np.bincount(clusters, minlength=count).astype(np.float64)
    return counts / max(1.0, counts.sum())


def semantic_gap(target_share: NDArray[np.float64], held_share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return max(0, p_target - p_held) per cluster (a reconstruction of arXiv 2604.20720, section 3)."""
    return np.maximum(0.0, target_share - held_share)


def fill(weights: NDArray[np.float64], supply: NDArray[np.int64], budget: int) -> NDArray[np.int64]:
    """Divide a budget in proportion to weights, capped by supply; what overflows goes to the others likewise.

    Whole numbers by largest remainder, ties to the lower cluster. The sum is ``budget``, or the supply of all
    clusters of positive weight where that is less.
    """
    quota = np.zeros(len(weights), np.int64)
    open_ = (weights > 0) & (supply > 0)
    while (rest := budget - int(quota.sum())) > 0 and open_.any():
        exact = np.where(open_, weights, 0.0)
        exact *= rest / exact.sum()
        part = np.floor(exact).astype(np.int64)
        largest = np.argsort(part - exact, kind="stable")[: rest - int(part.sum())]
        part[largest] += 1
        quota = np.minimum(quota + part, supply)
        open_ &= quota < supply
    return quota


def sample(
    strategy: str,
    target: Clusters,
    held: Clusters,
    pool: Clusters,
    shape: tuple[int, int],
    rng: np.random.Generator,
) -> Plan:
    """Choose rows of the pool for one language.

    Parameters
    ----------
    strategy : {"compass", "random", "own_only"}
        ``compass``: quotas in proportion to the semantic gap, at random inside a cluster (METHOD: the paper as
        reconstructed). ``random``: rows alike. ``own_only``: none.
    target, held, pool : int32 (n,)
        Clusters of the target prompts, of the language's own rows, and of the pool's eligible rows.
    shape : (int, int)
        Number of clusters and budget in rows.
    rng : numpy.random.Generator
        The language's own stream.
    """
    count, budget = shape
    target_share, held_share = shares(target, count), shares(held, count)
    supply = np.bincount(pool, minlength=count).astype(np.int64)
    gap = semantic_gap(target_share, held_share)
    if strategy == "compass":
        quota = fill(gap, supply, budget)
        parts = [rng.permutation(np.flatnonzero(pool == cluster))[:n] for cluster, n in enumerate(quota)]
        rows = np.sort(np.concatenate(parts)).astype(np.int64)
    elif strategy == "random":
        rows = np.sort(rng.permutation(len(pool))[:budget]).astype(np.int64)
        quota = np.bincount(pool[rows], minlength=count).astype(np.int64)
    else:
        rows = np.zeros(0, np.int64)
        quota = np.zeros(count, np.int64)
    chosen = np.bincount(pool[rows], minlength=count).astype(np.int64)
    return Plan(target_share, held_share, gap, quota, supply, chosen, rows)
