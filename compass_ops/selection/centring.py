"""Removal of language identity from vectors: per-language means (after LIR, arXiv 2109.04727). Pure."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from compass_ops.errors import ModelError

OTHERS = ""  # stands for every language without a mean of its own
_LEAST_ROWS = 50  # of the pool, for a mean of its own
_BLOCK = 65_536  # rows moved at once: bounds memory

_LEAST_AWAY = 1e-4  # from the mean: less is the rounding of float32

Means = Mapping[str, NDArray[np.float32]]


def language_means(pool: Mapping[str, NDArray[np.float32]], least: int = _LEAST_ROWS) -> dict[str, NDArray[np.float32]]:
    """Return the mean vector float32 (d,) of each language of the pool, and under ``OTHERS`` the mean of these means.

    The pool decides, not what is asked: a target's mean is its topics too, which are not to be removed. A language with
    fewer than ``least`` rows has none of its own; if no language has so many, nothing is returned.

    Parameters
    ----------
    pool : mapping of language to float32 (n, d), unit rows
    least : int

    Raises
    ------
    ModelError
        If vectors of a language are not finite.
    """
    exact = {name: own.mean(axis=0, dtype=np.float64) for name, own in pool.items() if len(own) >= least}
    if bad := sorted(name for name, mean in exact.items() if not np.isfinite(mean).all()):
        raise ModelError(f"the pool's vectors of {', '.join(bad)} are not all finite. Run `dvc repro -f embed`.")
    means = {name: mean.astype(np.float32) for name, mean in exact.items()}
    return {**means, OTHERS: np.mean(list(means.values()), axis=0)} if means else {}


def centred(vectors: NDArray[np.float32], means: Means, language: str) -> NDArray[np.float32]:
    """Return unit vectors float32 (n, d) with the language's mean removed; without any means, the vectors as they are.

    A language without a mean of its own loses that of the others, which frees it less: it was not seen in the pool.
    A vector that is its mean stays as it is.
    """
    if not means:
        return vectors
    mean, moved = means.get(language, means[OTHERS]), np.empty(vectors.shape, np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        away = block - mean
        lengths = np.linalg.norm(away, axis=1, keepdims=True)
        moved[start : start + _BLOCK] = np.where(lengths > _LEAST_AWAY, away / np.maximum(lengths, _LEAST_AWAY), block)
    return moved
