"""What a choice looks like before anything is trained: its distance from what is asked, and its repetitions."""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


def held_out(texts: Sequence[str], share: float) -> NDArray[np.bool_]:
    """Return which target prompts no strategy sees, bool (n,): by the hash of the text, so that repeats go together."""
    return np.array([zlib.crc32(text.encode()) % 10_000 < share * 10_000 for text in texts], bool)


def energy_distance(first: Vectors, second: Vectors) -> float:
    """Return 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two samples of unit vectors (n, d), (m, d); 0 for equal ones.

    Szekely and Rizzo 2013; every pair counts, a vector with itself too.
    """
    return 2 * _mean_distance(first, second) - _mean_distance(first, first) - _mean_distance(second, second)


def _mean_distance(first: Vectors, second: Vectors) -> float:
    blocks = [first[start : start + 1024] @ second.T for start in range(0, len(first), 1024)]
    return float(sum(np.sqrt(np.maximum(0.0, 2 - 2 * block.astype(np.float64))).sum() for block in blocks)) / (
        len(first) * len(second)
    )


def duplicate_share(vectors: Vectors, threshold: float = 0.95) -> float:
    """Return the share of rows whose cosine with an earlier row is above the threshold."""
    found = 0
    for start in range(0, len(vectors), 1024):
        block = vectors[start : start + 1024] @ vectors[: start + 1024].T
        earlier = np.arange(block.shape[1])[None, :] < (start + np.arange(len(block)))[:, None]
        found += int(((block > threshold) & earlier).any(axis=1).sum())
    return found / max(1, len(vectors))
