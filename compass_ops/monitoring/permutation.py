"""A permutation test of two histograms, and its adjustment for many hypotheses (METHOD.md 4.1, 4.4)."""

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]

# Statistics that differ by less are equal: sums taken in another order must not break a tie.
DECIMALS = 12


def jensen_shannon(first: Counts, second: Counts) -> NDArray[np.float64]:
    """Return the Jensen-Shannon divergence of histograms along the last axis.

    Parameters
    ----------
    first, second : int64 (..., K), >= 0, every histogram with at least one row
        Shapes may broadcast.

    Returns
    -------
    float64 (...)
        In nats, in [0, ln 2]. Not the square root, which SciPy and Evidently call by the same name.

    Raises
    ------
    ValueError
        If a count is negative or a histogram empty.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape[-1:] != second.shape[-1:] or not first.shape[-1]:
        raise ValueError(f"histograms must have the same clusters; got shapes {first.shape} and {second.shape}.")
    if min(first.min(), second.min()) < 0 or min(first.sum(-1).min(), second.sum(-1).min()) == 0:
        raise ValueError("a histogram must have counts >= 0 and at least one row.")
    return _jensen_shannon(first, second)


def permuted_divergences(
    reference: Counts, window: Counts, permutations: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Return the divergence as observed and after permuting rows between reference and window.

    Which clusters a random subset of the pooled rows falls in is multivariate hypergeometric, so each permutation
    costs one draw of K counts, whatever the number of rows.

    Parameters
    ----------
    reference, window : int64 (K,), >= 0, with at least one row each
    permutations : int
    rng : numpy.random.Generator

    Returns
    -------
    float64 (permutations + 1,)
        In nats; the first is the observed one.
    """
    pooled = reference + window
    size = int(window.sum())
    drawn = rng.multivariate_hypergeometric(pooled, size, size=permutations, method="marginals")
    windows = np.vstack([window[None], drawn])
    return np.round(jensen_shannon(pooled[None] - windows, windows), DECIMALS)


def step_down_max_t(statistics: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values adjusted for the number of hypotheses, by Westfall and Young's step-down max-T.

    Each hypothesis is standardised over all its columns, the observed one among them, which keeps columns
    exchangeable without drift and so the test exact. Any dependence between hypotheses is taken into account
    as long as a column holds one joint permutation.

    Parameters
    ----------
    statistics : float64 (hypotheses, permutations + 1)
        Larger speaks against the null; column 0 is observed.

    Returns
    -------
    float64 (hypotheses,)
        In [1 / (permutations + 1), 1]. Rejecting where it is <= alpha keeps the probability of one false
        rejection or more at alpha or below (Westfall and Young 1993, algorithm 4.1).
    """
    if not len(statistics):
        return np.zeros(0)
    spread = statistics.std(axis=1, keepdims=True)
    flat = spread < 10.0**-DECIMALS
    scaled = np.where(flat, 0.0, (statistics - statistics.mean(axis=1, keepdims=True)) / np.where(flat, 1.0, spread))
    observed, null = scaled[:, 0], scaled[:, 1:]
    order = np.argsort(-observed, kind="stable")
    remaining = np.maximum.accumulate(null[order][::-1], axis=0)[::-1]
    exceeded = (remaining >= observed[order][:, None]).sum(axis=1)
    adjusted = np.empty(len(statistics))
    adjusted[order] = np.maximum.accumulate(p_values(exceeded, null.shape[1]))
    return adjusted


def p_values(exceeded: NDArray[np.int64], permutations: int) -> NDArray[np.float64]:
    """Return the p-values of hypotheses whose statistic was reached or exceeded so often among the permutations.

    The observed split is one of the permutations, hence the added ones: without them the test would be too lax.
    """
    return (1 + exceeded) / (permutations + 1)


def _jensen_shannon(first: Counts, second: Counts) -> NDArray[np.float64]:
    p = first / first.sum(axis=-1, keepdims=True)
    q = second / second.sum(axis=-1, keepdims=True)
    divergence = _entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2
    return np.clip(divergence, 0.0, np.log(2.0))


def _entropy(p: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1))
