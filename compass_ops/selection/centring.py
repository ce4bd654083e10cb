"""Removal of language identity from vectors: per-language means (after LIR, arXiv 2109.04727). Pure."""

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

LEAST_ROWS = 50  # of the pool, for a language's mean of its own


def language_means(
    pool: Mapping[str, NDArray[np.float32]], languages: Iterable[str], least: int = LEAST_ROWS
) -> dict[str, NDArray[np.float32]]:
    """Return the mean vector float32 (d,) of each language, as the pool has it.

    The pool decides, not what is asked: a target's mean is its topics too, which are not to be removed. A language with
    fewer than ``least`` rows in the pool gets the mean of the others' means; all get zeros if none has so many.

    Parameters
    ----------
    pool : mapping of language to float32 (n, d), unit rows
        At least one.
    languages : iterable of str
    least : int
    """
    means = {name: vectors.mean(axis=0) for name, vectors in pool.items() if len(vectors) >= least}
    dimension = next(iter(pool.values())).shape[1]
    others = np.mean(list(means.values()), axis=0) if means else np.zeros(dimension)
    return {language: np.asarray(means.get(language, others), np.float32) for language in languages}


def centred(vectors: NDArray[np.float32], mean: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return unit vectors float32 (n, d) with a language's mean (d,) removed; a vector that is the mean stays.

    With a mean of zeros all stay as they are, to the last bit.
    """
    if not mean.any():
        return vectors
    moved = vectors - mean
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, moved / np.maximum(lengths, 1e-6), vectors).astype(np.float32)
