"""Windows are told apart by name and rows."""

from pathlib import Path

import pyarrow.parquet as pq

from compass_ops.monitoring.adoption import is_among, window_digest
from compass_ops.registry.versions import verify_version
from compass_ops.storage import read_table
from tests.monitoring import test_update
from tests.monitoring.test_watch import SAME, Project

world = test_update.world


def test_a_candidate_says_which_rows_it_was_made_for(world: test_update.World, tmp_path: Path) -> None:
    drifted = world.window(test_update.COINS)
    world.updater.make(drifted, tmp_path / "made")
    manifest = verify_version(tmp_path / "made" / "version")
    assert is_among(drifted.prompts, [(manifest["window"], manifest["window_digest"])])
    assert manifest["window_digest"] == window_digest(drifted.prompts)
    assert "window_digest" not in verify_version(world.parent), "made for no window"


def test_rows_are_the_same_whoever_wrote_the_file(tmp_path: Path) -> None:
    project, file = Project(tmp_path), tmp_path / "traffic" / "0001" / "sw.parquet"
    project.window("0001", sw=SAME)
    digest, content = window_digest(file), file.read_bytes()
    pq.write_table(read_table(file), file, compression="gzip")
    assert file.read_bytes() != content
    assert window_digest(file) == digest
    project.window("0001", sw=[25, 25, 26, 24])
    assert window_digest(file) != digest


def test_a_window_is_known_by_name_alone_where_no_digest_is(tmp_path: Path) -> None:
    Project(tmp_path).window("0001", sw=SAME)
    file = tmp_path / "traffic" / "0001" / "sw.parquet"
    assert is_among(file, [("0001", None)])
    assert is_among(file, [("0001", "f" * 64), ("0001", None)])
    assert not is_among(file, [("0002", None), ("0001", "f" * 64)])
    assert not is_among(file, [])
    assert not is_among(file, [("0002", window_digest(file))])
