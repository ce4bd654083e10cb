"""What storage promises: whole files or none, equal values as equal bytes, and one sentence when something is wrong."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from compass_ops import storage
from compass_ops.errors import StorageError

NOISE = np.random.default_rng(0).bytes(1 << 18)
WRITERS: dict[str, Callable[[Path], None]] = {
    "bytes": lambda path: storage.write_bytes(path, NOISE),
    "json": lambda path: storage.write_json(path, NOISE.hex()),
    "table": lambda path: storage.write_table(path, pa.table({"noise": [NOISE]})),
    "array": lambda path: storage.write_array(path, np.frombuffer(NOISE, dtype=np.uint8)),
}
READERS: dict[str, Callable[[Path], Any]] = {
    "json": storage.read_json,
    "table": storage.read_table,
    "array": storage.read_array,
}


def names_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture(params=["tmpfs", "file size limit"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder where files of 256 KiB find no room, and small ones do."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "tmpfs":
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("mounting a tmpfs takes root; the file size limit stands in for it")
        yield folder
        subprocess.run(["umount", folder], check=True)
    else:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
        yield folder
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("kind", WRITERS)
def test_full_disk_keeps_the_old_file_and_leaves_no_other(kind: str, small_disk: Path) -> None:
    path = small_disk / "file"
    path.write_bytes(b"old")
    with pytest.raises(StorageError, match=r"disk/file: cannot be written \(.+\)\. Free space or fix permissions"):
        WRITERS[kind](path)
    assert path.read_bytes() == b"old"
    assert names_below(small_disk) == ["file"]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_where_a_folder_is_needed_is_said(kind: str, tmp_path: Path) -> None:
    (tmp_path / "build").write_text("a file")
    with pytest.raises(StorageError, match=r"build/out: cannot be written \(.*(File exists|Not a directory)"):
        WRITERS[kind](tmp_path / "build" / "out")
    assert names_below(tmp_path) == ["build"]


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A folder that may not be written; root may write everywhere, so root becomes somebody else for the test."""
    folder, user = tmp_path / "closed", os.geteuid()
    folder.mkdir(mode=0o555)
    if user == 0:
        os.seteuid(65534)
    yield folder
    os.seteuid(user)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_read_only_folder_is_said(kind: str, read_only: Path) -> None:
    with pytest.raises(StorageError, match=r"closed/file: cannot be written \(.*Permission denied"):
        WRITERS[kind](read_only / "file")


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ValueError])
def test_a_body_that_fails_leaves_the_old_file(stop: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "file"
    storage.write_bytes(path, b"old")
    with pytest.raises(stop), storage._written_aside(path) as aside:
        aside.write_bytes(b"half")
        raise stop
    assert path.read_bytes() == b"old"
    assert names_below(tmp_path) == ["file"]


def test_missing_parents_are_made_and_the_file_is_readable_by_all(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    storage.write_bytes(path, b"content")
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o644


KILLED = """
import os, signal, sys
from pathlib import Path
from compass_ops import storage
folder = Path(sys.argv[1])
with storage.fresh_folder(folder / "inner"), storage._written_aside(folder / "file") as aside:
    aside.write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_leftovers_of_a_killed_process_can_be_removed(tmp_path: Path) -> None:
    storage.write_bytes(tmp_path / ".hidden", b"kept")
    storage.write_bytes(tmp_path / "file", b"old")
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert len(names_below(tmp_path)) == 4
    storage.remove_leftovers(tmp_path)
    assert names_below(tmp_path) == [".hidden", "file"]
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_removal_that_is_killed_leaves_no_half_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "checkpoints"
    storage.remove_folder(folder)  # nothing there, nothing to do
    for turn in ("killed", "again"):
        storage.write_bytes(folder / "weights", b"1")
        storage.write_bytes(folder / "state", b"2")
        with monkeypatch.context() as patch:
            if turn == "killed":
                patch.setattr(shutil, "rmtree", lambda path, **_: (path / "weights").unlink(missing_ok=True))
            storage.remove_folder(folder)
        assert not folder.exists()
    storage.write_bytes(tmp_path / ".checkpoints.removed.aside" / "state", b"2")
    storage.remove_leftovers(tmp_path)
    assert names_below(tmp_path) == []


def test_json_is_canonical(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    storage.write_json(path, {"b": [1, 2.5], "a": "ağ", "c": None})
    assert path.read_text("utf-8") == '{\n "a": "ağ",\n "b": [\n  1,\n  2.5\n ],\n "c": null\n}\n'
    first = path.read_bytes()
    storage.write_json(path, {"c": None, "a": "ağ", "b": [1, 2.5]})
    assert path.read_bytes() == first
    assert storage.read_json(path) == {"a": "ağ", "b": [1, 2.5], "c": None}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"loss": [-float("inf")]}])
def test_json_refuses_what_is_not_a_number(value: object, tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    storage.write_json(path, {"loss": 1.0})
    with pytest.raises(
        StorageError, match=r"metrics\.json: holds a value that JSON has no form for \(.*JSON compliant"
    ):
        storage.write_json(path, value)
    assert storage.read_json(path) == {"loss": 1.0}
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.value_digest(value)


def test_tables_and_arrays_come_back_equal_and_byte_equal(tmp_path: Path) -> None:
    table = pa.table({"id": ["a", "b"], "weight": [1.0, 0.5], "choices": [["x", "y"], None]})
    vectors = np.arange(6, dtype=np.float32).reshape(2, 3)
    for name in ("one", "two"):
        storage.write_table(tmp_path / f"{name}.parquet", table)
        storage.write_array(tmp_path / f"{name}.npy", vectors)
    assert storage.read_table(tmp_path / "one.parquet").equals(table)
    np.testing.assert_array_equal(storage.read_array(tmp_path / "one.npy"), vectors)
    for suffix in ("parquet", "npy"):
        assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()


def test_a_mapped_array_is_read_only(tmp_path: Path) -> None:
    storage.write_array(tmp_path / "v.npy", np.zeros(3, dtype=np.float32))
    mapped = storage.read_array(tmp_path / "v.npy", mapped=True)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0] = 1


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        storage.write_array(tmp_path / "v.npy", np.array([{}], dtype=object))
    assert names_below(tmp_path) == []


def test_a_table_below_a_folder_like_a_partition_gains_no_column(tmp_path: Path) -> None:
    path = tmp_path / "language=sw" / "rows.parquet"
    storage.write_table(path, pa.table({"id": ["a"]}))
    assert storage.read_table(path).column_names == ["id"]


@pytest.mark.parametrize("kind", READERS)
def test_a_missing_file_names_itself_and_the_remedy(kind: str, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"lacking: does not exist\. Run `dvc repro` to make it\."):
        READERS[kind](tmp_path / "lacking")


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("content", [b"", b"{]", b"\xff\xfe\x00", b"PAR1 cut off"])
def test_a_damaged_file_names_itself_and_the_remedy(kind: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"damaged: is not (a )?readable .*delete it and run `dvc repro`"):
        READERS[kind](path)


@pytest.mark.parametrize("kind", READERS)
def test_a_folder_in_place_of_a_file_is_said(kind: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder: is not"):
        READERS[kind](tmp_path / "folder")


def test_file_digest_is_the_sha256_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    assert storage.file_digest(tmp_path / "file") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(StorageError, match="lacking: cannot be read"):
        storage.file_digest(tmp_path / "lacking")


def test_value_digest_ignores_the_order_of_keys_alone() -> None:
    assert storage.value_digest({"a": 1, "b": [1, 2]}) == storage.value_digest({"b": [1, 2], "a": 1})
    assert storage.value_digest({"a": 1, "b": [1, 2]}) != storage.value_digest({"a": 1, "b": [2, 1]})
    assert storage.value_digest("ğ") == hashlib.sha256('"ğ"'.encode()).hexdigest()


def test_tree_digest_depends_on_names_and_contents_alone(tmp_path: Path) -> None:
    def tree(name: str, files: dict[str, bytes]) -> str:
        for file, content in files.items():
            storage.write_bytes(tmp_path / name / file, content)
        return storage.tree_digest(tmp_path / name)

    first = tree("first", {"a": b"1", "sub/b": b"2"})
    assert tree("same", {"sub/b": b"2", "a": b"1"}) == first
    others = [
        tree("content", {"a": b"1", "sub/b": b"3"}),
        tree("name", {"a": b"1", "sub/c": b"2"}),
        tree("place", {"a": b"1", "b": b"2"}),
        tree("swapped", {"a": b"2", "sub/b": b"1"}),
        tree("more", {"a": b"1", "sub/b": b"2", ".hidden": b""}),
    ]
    assert len({first, *others}) == 6
    by_hand = {
        "a": hashlib.sha256(b"1").hexdigest(),
        "sub/b": hashlib.sha256(b"2").hexdigest(),
    }
    canonical = json.dumps(by_hand, separators=(",", ":")).encode()
    assert first == hashlib.sha256(canonical).hexdigest()
    assert storage.tree_digest(tmp_path / "first" / "a") == by_hand["a"]
    assert list(storage.file_digests(tmp_path / "first").items()) == list(by_hand.items())


def test_a_fresh_folder_replaces_the_old_one_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "build" / "out"
    for name in ("old", "new"):
        with storage.fresh_folder(out) as aside:
            (aside / name).write_text(name)
            assert not (out / name).exists()
    assert names_below(tmp_path) == ["build", "build/out", "build/out/new"]
    assert out.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, ValueError, OSError])
def test_a_fresh_folder_that_fails_leaves_the_old_one(stop: type[BaseException], tmp_path: Path) -> None:
    out = tmp_path / "out"
    storage.write_bytes(out / "old", b"old")
    raised: type[BaseException] = StorageError if stop is OSError else stop
    with pytest.raises(raised), storage.fresh_folder(out) as aside:
        (aside / "new").write_text("half")
        raise stop
    assert names_below(tmp_path) == ["out", "out/old"]


def test_a_fresh_folder_on_a_full_disk_leaves_the_old_one(small_disk: Path) -> None:
    out = small_disk / "out"
    storage.write_bytes(out / "old", b"old")
    with pytest.raises(StorageError, match="cannot be written"), storage.fresh_folder(out) as aside:
        (aside / "small").write_bytes(b"small")
        (aside / "large").write_bytes(NOISE)
    assert names_below(small_disk) == ["out", "out/old"]


@pytest.mark.parametrize("place", ["", "inside"])
def test_a_file_is_never_replaced_by_a_folder(place: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a person's file")
    with (
        pytest.raises(StorageError, match=r"cannot be written .*(Not a directory|File exists)"),
        storage.fresh_folder(tmp_path / "out" / place),
    ):
        pass
    assert (tmp_path / "out").read_text() == "a person's file"
    assert names_below(tmp_path) == ["out"]


def test_the_old_folder_survives_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    storage.write_bytes(tmp_path / "out" / "old", b"old")
    with pytest.raises(FileNotFoundError):
        storage.replace_folder(tmp_path / "never made", tmp_path / "out")
    assert names_below(tmp_path) == ["out", "out/old"]


STOPPED_BETWEEN = """
import os, signal, sys
from pathlib import Path
from compass_ops import storage
folder = Path(sys.argv[1])
(folder / "new").mkdir()

def killed(event, arguments):
    if event == "os.rename" and Path(arguments[0]).name == "new":
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(killed)
storage.replace_folder(folder / "new", folder / "out")
"""


def test_the_old_folder_survives_a_kill_at_the_worst_moment(tmp_path: Path) -> None:
    storage.write_bytes(tmp_path / "out" / "old", b"old")
    killed = subprocess.run([sys.executable, "-c", STOPPED_BETWEEN, tmp_path], check=False)
    assert killed.returncode == -9
    with pytest.raises(ValueError, match="the next run fails too"), storage.fresh_folder(tmp_path / "out"):
        raise ValueError("the next run fails too")
    assert (tmp_path / "out" / "old").read_bytes() == b"old"
