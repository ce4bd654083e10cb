"""Small problems of choice for the tests of this room."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from compass_ops.selection.problem import Held, Items, LanguageDistances, Pool, Problem
from compass_ops.selection_sections import CompassPlusParams, SampleParams

PLAIN = CompassPlusParams(
    shrinkage=False,
    quotas="gap",
    affinity=0.0,
    distance="ngrams",
    language_cap=1.0,
    rows="random",
    duplicates=None,
)


def settings(strategy: str = "compass", **changes: Any) -> SampleParams:
    values: dict[str, Any] = {
        "strategy": strategy, "budget": 4, "unit": "rows", "overrides": {}, "languages": 2,
        "transfer_matrix": "matrix.json" if strategy == "langrank" else None, "compass_plus": PLAIN,
    }  # fmt: skip
    return SampleParams(**(values | changes))


def plus(**changes: Any) -> CompassPlusParams:
    return PLAIN.model_copy(update=changes)


def items(clusters: Sequence[int], seed: int = 0, dimension: int = 6) -> Items:
    """Unit vectors that lie near one axis per cluster."""
    rng = np.random.default_rng(seed)
    dimension = max(dimension, *(cluster + 1 for cluster in clusters))
    vectors = np.eye(dimension)[list(clusters)] + 0.3 * rng.standard_normal((len(clusters), dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = [f"text {n} of {cluster}" for n, cluster in enumerate(clusters)]
    return Items(np.array(clusters, np.int32), texts, vectors.astype(np.float32))


def pool(clusters: Sequence[int], languages: Sequence[str], seed: int = 1) -> Pool:
    made = items(clusters, seed)
    names = tuple(sorted(set(languages)))
    codes = np.array([names.index(name) for name in languages], np.int32)
    return Pool(made.clusters, made.texts, np.ones(len(made), np.int64), made.vectors, codes, names)


def problem(
    target: Sequence[int],
    own: Sequence[int],
    there: Pool,
    budget: int,
    clusters: int = 3,
    distances: Mapping[str, float] | None = None,
) -> Problem:
    held = items(own, seed=2)
    return Problem(
        language="sw",
        target=items(target),
        own=Held(held.clusters, held.texts, np.ones(len(held), np.int64)),
        pool=there,
        clusters=clusters,
        budget=budget,
        distances=LanguageDistances(distances, "a table", ("a note.",)) if distances else None,
    )


def costly(there: Problem, costs: Sequence[int]) -> Problem:
    """The same problem where the pool's rows cost otherwise."""
    return replace(there, pool=replace(there.pool, costs=np.array(costs, np.int64)))


def random_problem(seed: int, rows: int = 60, budget: int = 12) -> Problem:
    rng = np.random.default_rng(seed)
    there = pool(rng.integers(0, 3, rows).tolist(), rng.choice(["et", "id", "sw", "tr"], rows).tolist(), seed + 7)
    target = rng.choice(3, 20, p=[0.6, 0.3, 0.1]).tolist()
    distances = {"et": 0.2, "id": 0.9, "tr": 0.4, "sw": 0.0}
    return problem(target, rng.integers(1, 3, 8).tolist(), there, budget, distances=distances)
