"""One language's subset: the plan of a strategy, applied to the pool, with the reason for each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.selection.sample import Plan, sample


@dataclass(frozen=True)
class Rows:
    """Records and the cluster of each, int32 (n,)."""

    table: pa.Table
    clusters: NDArray[np.int32]


def choose(
    strategy: str, target: Rows, held: NDArray[np.int32], pool: Rows, shape: tuple[int, int], rng: np.random.Generator
) -> tuple[pa.Table, Plan]:
    """Return the rows of the pool that a strategy takes, each with its cluster and the reason, and the plan behind.

    Arguments as for ``sample.sample``; ``held`` are the clusters of what the language has already, int32 (n,).
    """
    plan = sample(strategy, target.clusters, held, pool.clusters, shape, rng)
    drawn = pool.clusters[plan.rows]
    chosen = Rows(pool.table.take(pa.array(plan.rows)), drawn)
    return with_reasons(chosen, [_reason(strategy, plan, cluster) for cluster in drawn]), plan


def with_reasons(rows: Rows, reasons: Sequence[str]) -> pa.Table:
    """Return the records with the two columns of a subset more: ``cluster`` (int32) and ``reason``."""
    table = rows.table.append_column("cluster", pa.array(rows.clusters, pa.int32()))
    return table.append_column("reason", pa.array(reasons, pa.string()))


def _reason(strategy: str, plan: Plan, cluster: int) -> str:
    if strategy == "compass":
        return (
            f"cluster {cluster}: {plan.target_share[cluster]:.1%} of the target, "
            f"{plan.held_share[cluster]:.1%} of what is held"
        )
    return f"{strategy}: cluster {cluster}"


def plan_record(language: str, strategy: str, budget: int, plan: Plan, target: Rows, pool: Rows) -> dict[str, Any]:
    """Return the plan as ``plan.json`` holds it: per cluster the figures, the languages drawn, example prompts."""
    chosen = pool.table.take(pa.array(plan.rows))
    languages = np.array(chosen.column("language").to_pylist(), dtype=object)
    drawn = pool.clusters[plan.rows]
    prompts = target.table.column("prompt").to_pylist()
    clusters = []
    for cluster in range(len(plan.gap)):
        names, counts = np.unique(languages[drawn == cluster].astype(str), return_counts=True)
        clusters.append(
            {
                "cluster": cluster,
                "target_share": float(plan.target_share[cluster]),
                "held_share": float(plan.held_share[cluster]),
                "gap": float(plan.gap[cluster]),
                "quota": int(plan.quota[cluster]),
                "supply": int(plan.supply[cluster]),
                "chosen": int(plan.chosen[cluster]),
                "languages": dict(zip(names.tolist(), counts.tolist(), strict=True)),
                "examples": _examples(prompts, target.clusters, cluster),
            }
        )
    return {
        "language": language,
        "strategy": strategy,
        "budget": budget,
        "chosen": len(plan.rows),
        "unfilled": 0 if strategy == "own_only" else budget - len(plan.rows),
        "clusters": clusters,
    }


def _examples(prompts: Sequence[str], clusters: NDArray[np.int32], cluster: int) -> list[str]:
    return [prompts[row] for row in np.flatnonzero(clusters == cluster)[:3]]
