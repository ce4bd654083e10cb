"""Hashed character n-grams: texts compared without words, so that every script counts. Pure."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SIZES = (3, 4, 5)
BUCKETS = 10_000
_PRIME = np.uint64(1_000_003)
_MIX = (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53), np.uint64(33))  # MurmurHash3's finaliser
_TEXTS_AT_ONCE = 20_000


def bucket_counts(texts: Sequence[str]) -> NDArray[np.float64]:
    """Return float64 (BUCKETS,): how often the n-grams of all texts together fall in each bucket."""
    total = np.zeros(BUCKETS)
    for _, buckets in _blocks(texts):
        total += np.bincount(buckets, minlength=BUCKETS)
    return total


def text_scores(texts: Sequence[str], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64 (n,): the sum of ``weights`` (BUCKETS,) over each text's n-grams; 0 for a text without any."""
    scores = np.zeros(len(texts))
    for rows, buckets in _blocks(texts):
        scores += np.bincount(rows, weights=weights[buckets], minlength=len(texts))
    return scores


def profile_distance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Return 1 - cosine of the square roots of two count vectors (BUCKETS,), in [0, 1]: the Hellinger affinity."""
    size = np.sqrt(first.sum() * second.sum())
    return 1.0 if size == 0 else float(np.clip(1 - np.sqrt(first * second).sum() / size, 0.0, 1.0))


def _blocks(texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (row, bucket) of every n-gram, some texts and one size at a time."""
    for start in range(0, len(texts), _TEXTS_AT_ONCE):
        block = [text.lower() for text in texts[start : start + _TEXTS_AT_ONCE]]
        codes = np.frombuffer("".join(block).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
        rows = np.repeat(np.arange(start, start + len(block)), [len(text) for text in block])
        for size in SIZES:
            if len(codes) < size:
                continue
            hashed = np.zeros(len(codes) - size + 1, np.uint64)
            for place in range(size):
                hashed = hashed * _PRIME + codes[place : len(codes) - size + 1 + place]
            whole = rows[: len(hashed)] == rows[size - 1 :]  # not across the end of a text
            yield rows[: len(hashed)][whole], (_mixed(hashed[whole]) % np.uint64(BUCKETS)).astype(np.int64)


def _mixed(hashed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Make every bit depend on every character."""
    first, second, shift = _MIX
    hashed = (hashed ^ (hashed >> shift)) * first
    hashed = (hashed ^ (hashed >> shift)) * second
    return hashed ^ (hashed >> shift)
