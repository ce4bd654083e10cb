"""DBCV by hand on a line, and its order on shapes that round clusters do not fit."""

import numpy as np
import pytest

from compass_ops.selection.validity import density_validity


def test_two_pairs_on_a_line_by_hand() -> None:
    """Pairs 1 apart, 10 between: core distances 1, sparseness 1, separation max(1, 9) = 9; (9 - 1) / 9."""
    line = np.array([[0.0], [1.0], [10.0], [11.0]])
    assert density_validity(line, np.array([0, 0, 1, 1], np.int32)) == pytest.approx(8 / 9)


def test_a_row_by_itself_is_noise() -> None:
    line = np.array([[0.0], [1.0], [10.0], [11.0], [99.0]])
    assert density_validity(line, np.array([0, 0, 1, 1, 2], np.int32)) == pytest.approx(8 / 9 * 4 / 5)


def test_rings_are_well_separated_by_ring_and_badly_by_half() -> None:
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rings = np.concatenate([circle, 5 * circle])
    by_ring = np.repeat([0, 1], 60).astype(np.int32)
    by_half = (rings[:, 0] > 0).astype(np.int32)
    assert density_validity(rings, by_ring) > 0.4
    assert density_validity(rings, by_half) < 0


def test_one_cluster_and_repeated_rows_are_no_trouble() -> None:
    assert density_validity(np.zeros((5, 2)), np.zeros(5, np.int32)) == 0.0
    twice = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0], [10.0, 0.0]]), 2, axis=0)
    assert density_validity(twice, np.repeat([0, 0, 1, 1], 2).astype(np.int32)) > 0.5
