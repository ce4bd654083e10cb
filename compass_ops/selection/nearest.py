"""Round robin over target items: each in turn takes its nearest row that is left. Pure."""

from collections.abc import Callable, Collection

import numpy as np
from numpy.typing import NDArray

from compass_ops.selection.problem import Choice, Problem, RowNumbers

_BLOCK = 64  # target items compared with the pool at once: bounds memory

Taken = list[tuple[int, int]]  # (candidate, target item) in the order taken


def round_robin(
    ranked: RowNumbers,
    costs: NDArray[np.int64],
    budget: int,
    admits: Callable[[int], bool] | None = None,
    used: Collection[int] = (),
) -> Taken:
    """Let target items take candidates in turn until the budget is spent or nothing is left.

    The rule of RDS+ (arXiv 2503.01807, section 3).

    Parameters
    ----------
    ranked : int64 (T, m)
        Per target item its candidates, best first.
    costs : int64 (n,), >= 1
        Of the candidates.
    budget : int
        A candidate that costs more than what is left is passed over.
    admits : callable, candidate -> bool
        Asked when a candidate is about to be taken; one that it refuses is not asked about again.
    used : collection of int
        Candidates that are gone already.
    """
    gone, taken, left = set(used), [], budget
    places = [0] * len(ranked)
    waiting = list(range(len(ranked)))
    least = int(costs.min()) if len(costs) else 1
    while waiting and left >= least:
        for item in list(waiting):
            if left < least:
                break
            row = ranked[item]
            while places[item] < len(row):
                candidate = int(row[places[item]])
                places[item] += 1
                if candidate in gone:
                    continue
                gone.add(candidate)
                if costs[candidate] <= left and (admits is None or admits(candidate)):
                    taken.append((candidate, item))
                    left -= int(costs[candidate])
                    break
            else:
                waiting.remove(item)
    return taken


def distinct(vectors: NDArray[np.float32], threshold: float) -> Callable[[int], bool]:
    """Return a rule that admits a row if its cosine with every row admitted before is at most ``threshold``."""
    kept = np.zeros((16, vectors.shape[1]), np.float32)
    count = 0

    def admits(candidate: int) -> bool:
        nonlocal kept, count
        vector = vectors[candidate]
        if count and float((kept[:count] @ vector).max()) > threshold:
            return False
        if count == len(kept):
            kept = np.concatenate([kept, np.zeros_like(kept)])
        kept[count] = vector
        count += 1
        return True

    return admits


def ranked_candidates(target: NDArray[np.float32], pool: NDArray[np.float32], most: int) -> RowNumbers:
    """Return int64 (T, min(most, n)): each target item's rows of the pool by falling cosine, ties to the lower row."""
    most = min(most, len(pool))
    parts = []
    for start in range(0, len(target), _BLOCK):
        distance = -(target[start : start + _BLOCK] @ pool.T)
        if most < len(pool):
            edge = np.partition(distance, most - 1, axis=1)[:, most - 1 : most]
            parts += [
                near[np.argsort(row[near], kind="stable")][:most]
                for row, near in (
                    (row, np.flatnonzero(row <= limit)) for row, limit in zip(distance, edge, strict=True)
                )
            ]
        else:
            parts += list(np.argsort(distance, axis=1, kind="stable"))
    return np.array(parts, np.int64).reshape(len(target), most)


def nearest(problem: Problem, rng: np.random.Generator) -> Choice:
    """Choose by round robin over the target items alone, without clusters (RDS+'s rule on the project's vectors).

    RDS+ takes its vectors from the model that is tuned; here they are the embedder's.
    """
    order = rng.permutation(len(problem.target))  # whose turn is first decides nothing in the file's order
    asked, pool = problem.target.vectors[order], problem.pool
    chosen: Taken = []
    left, free = problem.budget, problem.eligible.copy()
    # Mostly once: a second time where candidates that were too dear took the places in the items' lists.
    while len(rows := np.flatnonzero(free & (pool.costs <= left))):
        costs = pool.costs[rows]
        # Items together take at most as many rows as the cheapest that fit: an item needs no more candidates.
        most = int(np.searchsorted(np.cumsum(np.sort(costs)), left, side="right")) + 1
        taken = round_robin(ranked_candidates(asked, pool.vectors[rows], most), costs, left)
        chosen += [(int(rows[candidate]), int(order[item])) for candidate, item in taken]
        drawn = rows[[candidate for candidate, _ in taken]]
        left, free[drawn] = left - int(pool.costs[drawn].sum()), False
    reasons = [f"nearest: {near(problem, item, row)}" for row, item in chosen]
    return Choice(np.array([row for row, _ in chosen], np.int64), reasons)


def near(problem: Problem, item: int, row: int) -> str:
    """Say which target prompt a row is near, and how near."""
    cosine = float(problem.target.vectors[item] @ problem.pool.vectors[row])
    prompt = problem.target.texts[item]
    return f"near “{prompt if len(prompt) <= 60 else prompt[:59] + '…'}” (cosine {cosine:.2f})"
