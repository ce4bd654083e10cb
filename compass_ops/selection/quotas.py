"""How much of a budget each cluster gets. Pure: shares and counts in, whole numbers out."""

import numpy as np
from numpy.typing import NDArray

Shares = NDArray[np.float64]
Counts = NDArray[np.int64]
_SLACK = 1e-9  # of rounding, and below any weight that matters


def shares(clusters: NDArray[np.int32], count: int) -> Shares:
    """Return the share of the rows in each of ``count`` clusters; zeros where there are no rows."""
    counts = np.bincount(clusters, minlength=count).astype(np.float64)
    return counts / max(1.0, counts.sum())


def semantic_gap(target_share: Shares, held_share: Shares) -> Shares:
    """Return max(0, p_target - p_held) per cluster (a reconstruction of arXiv 2604.20720, section 3)."""
    return np.maximum(0.0, target_share - held_share)


def fill(weights: Shares, supply: Counts, budget: int) -> Counts:
    """Divide a budget in proportion to weights, capped by supply; what overflows goes to the others likewise.

    Whole numbers by largest remainder, ties to the lower cluster. The sum is ``budget``, or the supply of all
    clusters of positive weight where that is less.

    Parameters
    ----------
    weights : float64 (K,), >= 0
    supply : int64 (K,), >= 0
    budget : int, >= 0
    """
    quota = np.zeros(len(weights), np.int64)
    open_ = (weights > 0) & (supply > 0)
    while (rest := budget - int(quota.sum())) > 0 and open_.any():
        exact = rest * _proportions(weights, open_)
        part = np.floor(exact).astype(np.int64)
        largest = np.argsort(part - exact, kind="stable")[: rest - int(part.sum())]
        part[largest] += 1
        quota = np.minimum(quota + part, supply)
        open_ &= quota < supply
    return quota


def shrunken(target_share: Shares, prior: Shares, prompts: int) -> Shares:
    """Shrink an estimated histogram towards a prior by the James-Stein intensity (Hausser and Strimmer 2009, eq. 5).

    p = lambda prior + (1 - lambda) p_target, lambda = min(1, (1 - sum p^2) / ((n - 1) sum (prior - p)^2)).

    Parameters
    ----------
    target_share, prior : float64 (K,), each sums to 1
    prompts : int
        Rows that ``target_share`` was counted from.
    """
    distance = float(((prior - target_share) ** 2).sum())
    noise = 1 - float((target_share**2).sum())
    intensity = 1.0 if noise >= (prompts - 1) * distance else noise / ((prompts - 1) * distance)
    return intensity * prior + (1 - intensity) * target_share


def water_levels(target_share: Shares, held: Shares, supply: Shares, budget: float) -> Shares:
    """Solve max sum_c p_c log(h_c + n_c) subject to sum n_c = budget, 0 <= n_c <= supply_c: water-filling.

    n_c = clip(v p_c - h_c, 0, supply_c), which is least in KL divergence from the target to what is held and drawn
    together. The sum is piecewise linear in v, so v is found exactly between its breakpoints.

    Parameters
    ----------
    target_share : float64 (K,), >= 0
        Clusters of share 0 get nothing.
    held, supply : float64 (K,), >= 0
        What is held already and what there is to draw, in the budget's unit.
    budget : float, >= 0

    Returns
    -------
    float64 (K,). Sums to the budget, or to the supply of the clusters asked where that is less.
    """
    asked = target_share > 0
    limit = np.where(asked, supply, 0.0)
    if budget >= limit.sum():
        return limit
    p = np.where(asked, target_share, 1.0)

    def drawn(level: float) -> Shares:
        return np.clip(level * p - held, 0.0, limit)

    breaks = np.unique(np.concatenate([held[asked] / p[asked], (held + limit)[asked] / p[asked]]))
    sums = np.array([drawn(level).sum() for level in breaks])
    upper = int(np.searchsorted(sums, budget, side="right"))  # sums[upper - 1] <= budget < sums[upper]
    low, high = breaks[upper - 1], breaks[upper]
    return drawn(low + (high - low) * (budget - sums[upper - 1]) / (sums[upper] - sums[upper - 1]))


def water_fill(target_share: Shares, held: Counts, supply: Counts, budget: int) -> Counts:
    """Return ``water_levels`` in whole numbers: rounded by largest remainder, ties to the lower cluster."""
    exact = water_levels(target_share, held.astype(np.float64), supply.astype(np.float64), float(budget))
    whole = np.minimum(np.floor(exact + 1e-9).astype(np.int64), supply)
    rest = min(budget, int(supply[target_share > 0].sum())) - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:rest]] += 1
    return whole


def language_shares(cluster_quota: Counts, affinity: Shares, supply: Counts, most: float) -> Shares:
    """Divide each cluster's quota over languages by affinity, within supply and a cap per language; not rounded.

    Where a language would exceed the cap, its share of each cluster is cut in proportion and goes to the other
    languages of that cluster; what they lack is left undrawn.

    Parameters
    ----------
    cluster_quota : int64 (K,)
    affinity : float64 (L,), > 0
    supply : int64 (K, L)
    most : float
        The most of one language over all clusters.

    Returns
    -------
    float64 (K, L), <= supply, columns sum to at most ``most``.
    """
    room = supply.astype(np.float64)
    for _ in range(supply.shape[1] + 1):  # each pass closes at least one language
        cells = np.array([_divided(affinity, room[c], float(n)) for c, n in enumerate(cluster_quota)])
        sums = cells.sum(axis=0)
        over = np.flatnonzero(sums > most * (1 + _SLACK))
        if not over.size:
            break
        room[:, over] = cells[:, over] * (most / sums[over])
    return cells


def language_rows(due: Shares, supply: Shares, rows: int, rng: np.random.Generator) -> Counts:
    """Round what is due to each language of one cluster to whole rows, by largest remainder, ties at random.

    Parameters
    ----------
    due : float64 (L,)
        In rows; what is 0 or less waits until the others have given all they have.
    supply : float64 (L,), >= 0
        In rows; languages without any get nothing.
    rows : int, >= 0

    Returns
    -------
    int64 (L,). Sums to ``rows``, or to the whole supply where that is less.
    """
    order = rng.permutation(len(due))
    quota = np.zeros(len(due), np.int64)
    quota[order] = fill(np.maximum(due, _SLACK)[order], np.ceil(supply[order]).astype(np.int64), rows)
    return quota


def _divided(weights: Shares, supply: Shares, budget: float) -> Shares:
    """Divide as ``fill`` does, but not into whole numbers."""
    part = np.zeros(len(weights))
    open_ = (weights > 0) & (supply > 0)
    while (rest := budget - float(part.sum())) > _SLACK * budget and open_.any():
        part = np.minimum(part + rest * _proportions(weights, open_), supply)
        open_ &= part < supply
    return part


def _proportions(weights: Shares, among: NDArray[np.bool_]) -> Shares:
    """Return weights (K,) over their sum, 0 outside ``among``; the largest is made 1 first, else tiny ones overflow."""
    exact = np.where(among, weights, 0.0)
    exact /= exact.max()
    return exact / exact.sum()
