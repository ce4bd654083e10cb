"""One language's subset: the rows that a strategy takes from the pool with their reasons, and the plan as a record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.selection.problem import Items, Pool, Problem, RowNumbers
from compass_ops.selection.sample import Plan, sample
from compass_ops.selection_sections import UNBOUND, SampleParams

_EXAMPLES = 3


@dataclass(frozen=True)
class Rows:
    """Records and the cluster of each, int32 (n,)."""

    table: pa.Table
    clusters: NDArray[np.int32]


def items_of(rows: Rows, vectors: NDArray[np.float32]) -> Items:
    """Return what is asked as a strategy sees it: vectors float32 (n, d)."""
    return Items(rows.clusters, rows.table.column("prompt").to_pylist(), vectors)


def pool_of(rows: Rows, vectors: NDArray[np.float32], costs: NDArray[np.int64]) -> Pool:
    """Return the records of all languages as a strategy sees them: vectors float32 (n, d), costs int64 (n,)."""
    tags = rows.table.column("language").combine_chunks().dictionary_encode()
    codes = tags.indices.to_numpy().astype(np.int32)
    texts = rows.table.column("prompt").to_pylist()
    return Pool(rows.clusters, texts, costs, vectors, codes, tuple(tags.dictionary.to_pylist()))


def choose(settings: SampleParams, problem: Problem, pool: pa.Table, rng: np.random.Generator) -> tuple[pa.Table, Plan]:
    """Return the rows of the pool's table that a strategy takes, each with its cluster and reason, and the plan behind.

    Arguments and faults as for ``sample.sample``; ``pool`` holds the records of ``problem.pool`` in its order.
    """
    plan = sample(settings, problem, rng)
    chosen = Rows(pool.take(pa.array(plan.rows)), problem.pool.clusters[plan.rows])
    return with_reasons(chosen, plan.reasons), plan


def with_reasons(rows: Rows, reasons: Sequence[str]) -> pa.Table:
    """Return the records with the two columns of a subset more: ``cluster`` (int32) and ``reason``."""
    table = rows.table.append_column("cluster", pa.array(rows.clusters, pa.int32()))
    return table.append_column("reason", pa.array(reasons, pa.string()))


def plan_record(settings: SampleParams, problem: Problem, plan: Plan) -> dict[str, Any]:
    """Return the plan as ``plan.json`` holds it: what was chosen in each cluster, from which languages, and why."""
    spent = int(plan.chosen.sum())
    return {
        "language": problem.language,
        "strategy": settings.strategy,
        "budget": problem.budget,
        "unit": settings.unit,
        "rows": len(plan.rows),
        "chosen": spent,
        "unfilled": 0 if settings.strategy in UNBOUND else problem.budget - spent,
        "notes": list(plan.notes),
        "languages": _languages(problem.pool, plan.rows),
        "clusters": [_cluster_record(problem, plan, cluster) for cluster in range(problem.clusters)],
    }


def _cluster_record(problem: Problem, plan: Plan, cluster: int) -> dict[str, Any]:
    pool, members = problem.pool, problem.members(cluster)
    drawn = plan.rows[pool.clusters[plan.rows] == cluster]
    asked = np.flatnonzero(problem.target.clusters == cluster)
    there, here = pool.vectors[members], problem.target.vectors[asked]
    centre = _centre(there if len(there) else here)
    own = np.count_nonzero(problem.own.clusters == cluster)
    drawn_rows = own + len(drawn)
    return {
        "cluster": cluster,
        "target_share": float(plan.target_share[cluster]),
        "held_share": float(plan.held_share[cluster]),
        "share_after": drawn_rows / max(1, len(problem.own) + len(plan.rows)),
        "gap": float(plan.gap[cluster]),
        "quota": int(plan.quota[cluster]),
        "supply": int(plan.supply[cluster]),
        "chosen": int(plan.chosen[cluster]),
        "languages": _languages(pool, drawn),
        "examples": _nearest(problem.target.texts, asked, here @ centre),
        "pool_examples": _nearest(pool.texts, members, there @ centre),
    }


def _languages(pool: Pool, rows: RowNumbers) -> dict[str, int]:
    """Return how many of some rows are of each language, the most frequent first."""
    counts = np.bincount(pool.languages[rows], minlength=len(pool.names))
    order = np.argsort(-counts, kind="stable")
    return {pool.names[place]: int(counts[place]) for place in order if counts[place]}


def _centre(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    return vectors.mean(axis=0) if len(vectors) else np.zeros(vectors.shape[1], np.float32)


def _nearest(texts: Sequence[str], rows: RowNumbers, cosines: NDArray[np.float32]) -> list[str]:
    """Return the texts of the few rows nearest to a centre by their cosines (n,), the nearest first, each text once."""
    found: dict[str, None] = {}
    for row in rows[np.argsort(-cosines, kind="stable")]:
        found[texts[row]] = None
        if len(found) == _EXAMPLES:
            break
    return list(found)
