import os
from pathlib import Path

import pytest

from compass_ops.corpus import outside
from compass_ops.corpus.outside import digests
from compass_ops.errors import StorageError
from compass_ops.storage import file_digest


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose contents were read."""
    names: list[str] = []

    def noting(path: Path) -> str:
        names.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(outside, "file_digest", noting)
    return names


def test_only_what_changed_is_read_again(tmp_path: Path, read: list[str]) -> None:
    first, second, memory = tmp_path / "a.jsonl", tmp_path / "b.jsonl", tmp_path / "memo" / "ingest.json"
    first.write_text("1")
    second.write_text("2")
    known = digests([second, first, first], memory)
    assert known == {str(first): file_digest(first), str(second): file_digest(second)}
    assert digests([first, second], memory) == known
    assert read == ["a.jsonl", "b.jsonl"]

    second.write_text("3")
    assert digests([first, second], memory)[str(second)] == file_digest(second) != known[str(second)]
    assert read == ["a.jsonl", "b.jsonl", "b.jsonl"]


def test_a_file_of_the_same_size_put_in_its_place_is_read(tmp_path: Path, read: list[str]) -> None:
    path, memory = tmp_path / "a.jsonl", tmp_path / "memory.json"
    path.write_text("old")
    digests([path], memory)
    stat = path.stat()
    other = tmp_path / "other"
    other.write_text("new")
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)
    assert digests([path], memory)[str(path)] == file_digest(path)
    assert len(read) == 2


def test_files_that_are_gone_are_forgotten_and_a_damaged_memory_is_made_anew(tmp_path: Path) -> None:
    path, memory = tmp_path / "a.jsonl", tmp_path / "memory.json"
    path.write_text("1")
    memory.write_text("{")
    assert digests([path], memory) == {str(path): file_digest(path)}
    assert digests([], memory) == {}
    memory.write_text("[]")
    assert digests([path], memory) == {str(path): file_digest(path)}


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone\.jsonl: cannot be read .* Restore the file"):
        digests([tmp_path / "gone.jsonl"], tmp_path / "memory.json")
