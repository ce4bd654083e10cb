"""The speed benchmark's two ways run and draw the budget; how fast they are is the benchmark's to say."""

from pathlib import Path

import pytest

from benchmarks.selection_speed import TARGETS, _obvious, _ours, make_pool
from benchmarks.stage_speed import make_project, timed
from compass_ops.storage import read_json


@pytest.mark.parametrize("way", [_ours, _obvious])
def test_both_ways_draw_the_budget(way: object, tmp_path: Path) -> None:
    make_pool(tmp_path / "pool", 4000)
    centroids, chosen = way(tmp_path / "pool", 6, 300)  # type: ignore[operator]
    assert len(centroids) == 6
    assert [len(rows) for rows in chosen] == [300] * TARGETS


@pytest.mark.long
def test_the_stages_run_on_what_is_made_for_them(tmp_path: Path) -> None:
    targets = make_project(tmp_path, 4000, 6, 300)
    first, again = [[timed(stage, tmp_path) for stage in ("cluster", "sample")] for _ in range(2)]
    assert min(seconds for seconds, _ in first + again) > 0
    assert min(peak for _, peak in first + again) > 0.01
    for name in targets:
        plan = read_json(tmp_path / "build/sample" / name / "plan.json")
        assert (plan["rows"], len(plan["clusters"])) == (300, 6)
