"""Kernel herding against its definition, and what it is for."""

import numpy as np
from numpy.typing import NDArray

from compass_ops.selection.herding import herd
from tests.selection.oracles import herded


def unit(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal(shape)
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


def ones(count: int) -> NDArray[np.int64]:
    return np.ones(count, np.int64)


def test_herding_is_the_naive_loop() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        target, pool = unit(rng, int(rng.integers(1, 6)), 4), unit(rng, 15, 4)
        budget, width = int(rng.integers(1, 18)), float(np.median(1 - pool @ target.T))
        assert herd(target, pool, ones(15), budget) == herded(target.astype(float), pool.astype(float), budget, width)


def test_what_is_taken_lies_as_the_target_does_and_not_at_its_mean() -> None:
    """Two directions are asked three to one: herding keeps the proportion, where the nearest to the mean would not."""
    rng = np.random.default_rng(1)
    ways = np.eye(2, 8, dtype=np.float32)
    target, pool = ways[[0] * 9 + [1] * 3], ways[[0] * 50 + [1] * 50] + 0.01 * unit(rng, 100, 8)
    taken = herd(target, pool / np.linalg.norm(pool, axis=1, keepdims=True), ones(100), 20)
    assert np.bincount(np.array(taken) // 50).tolist() == [15, 5]


def test_what_is_too_dear_refused_or_gone_is_not_taken() -> None:
    target, pool = np.eye(1, 3, dtype=np.float32), unit(np.random.default_rng(2), 6, 3)
    whole = herd(target, pool, ones(6), 6)
    assert sorted(whole) == list(range(6))
    costs = ones(6)
    costs[whole[0]] = 9
    assert whole[0] not in herd(target, pool, costs, 5)
    assert whole[0] not in herd(target, pool, ones(6), 6, lambda row: row != whole[0])
    assert herd(target, pool, ones(6), 4, used=whole[:2]) == whole[2:]


def test_equals_and_an_empty_pool() -> None:
    same = np.tile(np.eye(1, 3, dtype=np.float32), (4, 1))
    assert herd(same, same, ones(4), 3) == [0, 1, 2]
    assert herd(same, same[:0], ones(0), 3) == []
