"""Permutations of rows between two samples, and p-values adjusted for many hypotheses (METHOD.md 4.1, 4.4)."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

# Statistics that differ by less are equal: sums taken in another order must not break a tie.
DECIMALS = 12


def window_sums(
    features: FloatArray, blocks: tuple[int, int], permutations: int, rng: np.random.Generator
) -> FloatArray:
    """Sum the features of the window, as observed and after permuting blocks between reference and window.

    Parameters
    ----------
    features : float64 (reference blocks + window blocks, f)
        Sums over the rows of each block; the reference's blocks come first.
    blocks : (int, int)
        Blocks of the reference and of the window. Each permutation gives the window as many as it has.
    permutations : int
    rng : numpy.random.Generator

    Returns
    -------
    float64 (permutations + 1, f)
        Row 0 is the observed one.
    """
    total, size = sum(blocks), blocks[1]
    chosen = np.zeros((permutations + 1, total))
    chosen[0, blocks[0] :] = 1
    # The smallest `size` of independent uniform numbers are a random subset; a tie has probability 2^-53.
    drawn = rng.random((permutations, total))
    chosen[1:] = drawn <= np.partition(drawn, size - 1, axis=1)[:, size - 1 : size]
    return chosen @ features


def step_down_max_t(statistics: FloatArray) -> FloatArray:
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


def holm(p: FloatArray) -> FloatArray:
    """Return p-values (hypotheses,) adjusted by Holm (1979): bounds the probability of any false rejection."""
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Return p-values (hypotheses,) adjusted by Benjamini and Hochberg (1995): bounds the false discovery rate."""
    order = np.argsort(p, kind="stable")
    scaled = p[order] * len(p) / np.arange(1, len(p) + 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def p_values(exceeded: NDArray[np.int64], permutations: int) -> FloatArray:
    """Return the p-values of hypotheses whose statistic was reached or exceeded so often among the permutations.

    The observed split is one of the permutations, hence the added ones: without them the test would be too lax.
    """
    return (1 + exceeded) / (permutations + 1)
