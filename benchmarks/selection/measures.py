"""What a choice looks like before anything is trained: its distance from what is asked, and its repetitions."""

import zlib
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
_REPEATED = 0.95  # cosine above which a row repeats another


def held_out(texts: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Return which target prompts no strategy sees, bool (n,): by the hash of the text, so that repeats go together."""
    return np.array([zlib.crc32(text.encode()) % 10_000 < share * 10_000 for text in texts], bool)


def energy_distance(first: Vectors, second: Vectors) -> float:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples of unit vectors (n, d), (m, d); 0 for equal ones.

    Szekely and Rizzo 2013; every pair counts, a vector with itself too.
    """
    between = sum(_sum_of_distances(one, other) for one in _blocks(first) for other in _blocks(second))
    means = between / (len(first) * len(second)), _mean_within(first), _mean_within(second)
    return 2 * means[0] - means[1] - means[2]


def _mean_within(vectors: Vectors) -> float:
    """Return the mean distance of all ordered pairs; each pair of blocks is computed once."""
    blocks = list(_blocks(vectors))
    own = sum(_sum_of_distances(block, block) for block in blocks)
    others = sum(_sum_of_distances(one, other) for one, other in combinations(blocks, 2))
    return (own + 2 * others) / len(vectors) ** 2


def _blocks(vectors: Vectors) -> Iterator[Vectors]:
    return (vectors[start : start + 1024] for start in range(0, len(vectors), 1024))


def _sum_of_distances(first: Vectors, second: Vectors) -> float:
    squared = 2 - 2 * (first @ second.T)
    return float(np.sqrt(np.maximum(squared, 0, out=squared), out=squared).sum(dtype=np.float64))


def duplicate_share(vectors: Vectors) -> float:
    """Return the share of rows whose cosine with an earlier row is above 0.95."""
    found = 0
    for start in range(0, len(vectors), 1024):
        block = vectors[start : start + 1024] @ vectors[: start + 1024].T
        earlier = np.arange(block.shape[1])[None, :] < (start + np.arange(len(block)))[:, None]
        found += int(((block > _REPEATED) & earlier).any(axis=1).sum())
    return found / max(1, len(vectors))
