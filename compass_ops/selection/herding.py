"""Kernel herding: rows that together lie as the target prompts do. Pure."""

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray


def herd(
    target: NDArray[np.float32],
    pool: NDArray[np.float32],
    costs: NDArray[np.int64],
    budget: int,
    admits: Callable[[int], bool] | None = None,
    used: Collection[int] = (),
) -> list[int]:
    """Take the row nearest to what the target's mean has and the rows before lack, in kernel space, again and again.

    x = argmax mean_t k(x, t) - sum_s k(x, s) / (m + 1) over the m rows s taken before (Chen, Welling and Smola 2010,
    arXiv 1203.3472), with the kernel exp(-(1 - cosine) / h), h the median of 1 - cosine between target and pool. What a
    language holds already is not among the s: quotas account for it.

    Parameters
    ----------
    target : float32 (T, d), T >= 1, unit rows
    pool : float32 (n, d), unit rows
    costs : int64 (n,), >= 1
        Of the rows of the pool.
    budget : int
        A row that costs more than what is left is passed over.
    admits : callable, row -> bool
        Asked when a row is about to be taken; one that it refuses is not asked about again.
    used : collection of int
        Rows taken already; they count among the rows before.

    Returns
    -------
    Row numbers in the order taken, of equals the lower one first.
    """
    distances = 1 - pool @ target.T
    width = max(float(np.median(distances)), float(np.finfo(np.float32).eps)) if distances.size else 1.0
    wanted = np.exp(-distances / width).mean(axis=1)
    taken, left, count = [], budget, len(used)
    seen, free = np.zeros(len(pool), np.float32), np.ones(len(pool), np.bool_)
    for row in used:
        seen += _kernel(pool, row, width)
        free[row] = False
    while (free := free & (costs <= left)).any():
        row = int(np.argmax(np.where(free, wanted - seen / (count + 1), -np.inf)))
        free[row] = False
        if admits is None or admits(row):
            taken.append(row)
            left -= int(costs[row])
            seen += _kernel(pool, row, width)
            count += 1
    return taken


def _kernel(pool: NDArray[np.float32], row: int, width: float) -> NDArray[np.float32]:
    return np.exp((pool @ pool[row] - 1) / width, dtype=np.float32)
