"""The speed benchmark's two ways run and draw the budget; how fast they are is the benchmark's to say."""

from pathlib import Path

import pytest

from benchmarks.selection_speed import TARGETS, _obvious, _ours, make_pool


@pytest.mark.parametrize("way", [_ours, _obvious])
def test_both_ways_draw_the_budget(way: object, tmp_path: Path) -> None:
    make_pool(tmp_path / "pool", 4000)
    centroids, chosen = way(tmp_path / "pool", 6, 300)  # type: ignore[operator]
    assert len(centroids) == 6
    assert [len(rows) for rows in chosen] == [300] * TARGETS
