"""Removal of language identity from vectors: per-language means (after LIR, arXiv 2109.04727). Pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def language_means(pool: Mapping[str, NDArray[np.float32]], least: int) -> dict[str, NDArray[np.float32]]:
    """Return the mean vector of each language of the pool, float32 (d,), and under ``""`` the mean of these means.

    The pool decides, not what is asked: a target's mean is its topics too, which are not to be removed. A language
    with fewer than ``least`` rows gets the mean of the others' means.

    Parameters
    ----------
    pool : mapping of language to float32 (n, d), unit rows
        At least one of them with ``least`` rows.
    least : int
    """
    means = {name: vectors.mean(axis=0) for name, vectors in pool.items() if len(vectors) >= least}
    return means | {"": np.mean(list(means.values()), axis=0)}


def centred(
    vectors: NDArray[np.float32], means: Mapping[str, NDArray[np.float32]], language: str
) -> NDArray[np.float32]:
    """Return unit vectors float32 (n, d) with the language's mean removed.

    A language without a mean of its own loses the mean of the others'. A vector that is its mean stays as it is.
    """
    moved = vectors - means.get(language, means[""])
    lengths = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.where(lengths > 1e-6, moved / np.maximum(lengths, 1e-6), vectors).astype(np.float32)
