"""Slow, obvious versions of what the room computes."""

from itertools import product

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def best_division(exact: Numbers, supply: NDArray[np.int64], budget: int) -> float:
    """The least sum of squared deviations from ``exact`` over all whole divisions of a budget within supply."""
    ranges = [range(int(most) + 1) for most in supply]
    return min(float(((np.array(n) - exact) ** 2).sum()) for n in product(*ranges) if sum(n) == budget)


def nearest_in_turn(target: Numbers, pool: Numbers, budget: int) -> list[tuple[int, int]]:
    """Round robin: each target item in turn takes its most similar row that nobody has; (row, item) in order."""
    taken: list[tuple[int, int]] = []
    free = set(range(len(pool)))
    while len(taken) < budget and free:
        for item in range(len(target)):
            if len(taken) == budget or not free:
                break
            best = max(sorted(free), key=lambda row: float(target[item] @ pool[row]))
            free.remove(best)
            taken.append((best, item))
    return taken


def bucketed_ngrams(text: str, sizes: tuple[int, ...]) -> list[str]:
    """All character n-grams of a text."""
    return [text[i : i + n] for n in sizes for i in range(len(text) - n + 1)]


def herded(target: Numbers, pool: Numbers, budget: int, width: float) -> list[int]:
    """Kernel herding by its definition: the kernel is asked anew for every pair, each time."""

    def kernel(x: Numbers, y: Numbers) -> float:
        return float(np.exp(-(1 - x @ y) / width))

    taken: list[int] = []
    while len(taken) < min(budget, len(pool)):
        scores = {
            row: np.mean([kernel(pool[row], t) for t in target])
            - sum(kernel(pool[row], pool[s]) for s in taken) / (len(taken) + 1)
            for row in range(len(pool))
            if row not in taken
        }
        taken.append(max(scores, key=lambda row: scores[row]))
    return taken
