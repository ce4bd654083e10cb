"""Clusters' members, costs and prefixes of a pool."""

from dataclasses import replace

import numpy as np
import pytest

from compass_ops.selection.ngrams import bucket_counts
from compass_ops.selection.problem import affordable
from tests.selection.problems import costly, pool, problem


def test_members_are_the_eligible_rows_of_a_cluster_in_order() -> None:
    small = problem([0], [0], pool([1, 0, 1, 1, 0], ["id", "sw", "tr", "sw", "tr"]), budget=1, clusters=4)
    assert [small.members(cluster).tolist() for cluster in range(4)] == [[4], [0, 2], [], []]


def test_costs_per_cluster() -> None:
    small = costly(problem([0], [0], pool([1, 0, 1], ["id"] * 3), budget=1), [2, 3, 4])
    assert small.cluster_costs(small.pool).tolist() == [3, 6, 0]
    assert small.cluster_costs(small.pool, np.array([2])).tolist() == [0, 4, 0]


def test_a_prefix_stays_within_the_budget() -> None:
    order, costs = np.array([2, 0, 1]), np.array([5, 1, 3])
    assert affordable(order, costs, 3).tolist() == [2]
    assert affordable(order, costs, 8).tolist() == [2, 0]
    assert affordable(order, costs, 2).tolist() == []
    assert affordable(order, costs, 99).tolist() == [2, 0, 1]


def test_profiles_are_per_language() -> None:
    there = pool([0, 0, 0], ["id", "tr", "id"])
    assert there.profiles.shape[0] == 2
    assert there.profiles.sum(axis=1)[0] == 2 * there.profiles.sum(axis=1)[1]


def test_profiles_of_many_texts_are_of_some_spread_over_all(monkeypatch: pytest.MonkeyPatch) -> None:
    there = replace(pool([0] * 6, ["tr"] * 5 + ["id"]), texts=["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff"])
    monkeypatch.setattr("compass_ops.selection.problem._PROFILED", 2)
    assert there.profiles.tolist() == [bucket_counts(["ffff"]).tolist(), bucket_counts(["aaaa", "cccc"]).tolist()]
