"""Fan-out over languages: only what changed is remade, and whatever stops a stage costs no finished language."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from compass_ops.errors import DataFault, StorageError
from compass_ops.fanout import RECEIPT, fan_out, memo_key
from compass_ops.storage import read_json, tree_digest, write_bytes

Make = Callable[[str, Path], None]
INPUTS = {"ca": "1", "sw": "1", "tr": "1"}


class Stage:
    """A stage whose runs are counted; its files say what they were made from."""

    def __init__(self, folder: Path) -> None:
        self.out, self.memo = folder / "build" / "stage", folder / "memo"
        self.made: list[str] = []

    def run(self, inputs: Mapping[str, str], make: Make | None = None, version: int = 1) -> list[str]:
        """Return the languages that were made, in order."""
        self.made = []

        def counted(language: str, folder: Path) -> None:
            self.made.append(language)
            if make is not None:
                make(language, folder)
            write_bytes(folder / "sub" / "file", f"{language} {inputs[language]}".encode())

        fan_out(("stage", version), inputs, counted, self.out, self.memo)
        return self.made

    def files(self) -> dict[str, str]:
        """Return {relative path: text} of the output."""
        found = sorted(path for path in self.out.rglob("*") if path.is_file())
        return {path.relative_to(self.out).as_posix(): path.read_text() for path in found}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_every_language_gets_its_folder(stage: Stage) -> None:
    assert stage.run(INPUTS) == ["ca", "sw", "tr"]
    assert stage.files() == {"ca/sub/file": "ca 1", "sw/sub/file": "sw 1", "tr/sub/file": "tr 1"}


def test_a_second_run_makes_nothing_and_gives_equal_bytes(stage: Stage) -> None:
    stage.run(INPUTS)
    first = tree_digest(stage.out)
    assert stage.run(INPUTS) == []
    assert tree_digest(stage.out) == first


def test_a_lost_output_is_assembled_again_without_work(stage: Stage) -> None:
    stage.run(INPUTS)
    first = tree_digest(stage.out)
    (stage.out / "ca" / "sub" / "file").write_text("spoilt")
    (stage.out / "left over").write_text("from something else")
    assert stage.run(INPUTS) == []
    assert tree_digest(stage.out) == first


def test_only_the_changed_language_is_remade(stage: Stage) -> None:
    stage.run(INPUTS)
    assert stage.run(INPUTS | {"sw": "2"}) == ["sw"]
    assert stage.files() == {"ca/sub/file": "ca 1", "sw/sub/file": "sw 2", "tr/sub/file": "tr 1"}


def test_going_back_to_earlier_inputs_makes_nothing(stage: Stage) -> None:
    stage.run(INPUTS)
    first = tree_digest(stage.out)
    assert stage.run(INPUTS | {"sw": "2"}) == ["sw"]
    assert stage.run(INPUTS) == []
    assert tree_digest(stage.out) == first


def test_a_removed_language_vanishes_and_comes_back_without_work(stage: Stage) -> None:
    stage.run(INPUTS)
    assert stage.run({"ca": "1"}) == []
    assert list(stage.files()) == ["ca/sub/file"]
    assert stage.run({"ca": "1", "sw": "1", "zu": "1"}) == ["zu"]
    assert list(stage.files()) == ["ca/sub/file", "sw/sub/file", "zu/sub/file"]


def test_languages_in_another_order_are_the_same_bytes_without_work(stage: Stage) -> None:
    stage.run(INPUTS)
    first = tree_digest(stage.out)
    assert stage.run(dict(reversed(INPUTS.items()))) == []
    assert tree_digest(stage.out) == first


def test_a_language_under_another_name_is_another_language(stage: Stage) -> None:
    stage.run(INPUTS)
    assert stage.run({"ca": "1", "swc": "1", "tr": "1"}) == ["swc"]
    assert list(stage.files()) == ["ca/sub/file", "swc/sub/file", "tr/sub/file"]


def test_no_languages_leave_an_empty_folder(stage: Stage) -> None:
    stage.run(INPUTS)
    assert stage.run({}) == []
    assert stage.out.is_dir()
    assert stage.files() == {}


def test_another_format_version_remakes_all(stage: Stage) -> None:
    stage.run(INPUTS)
    assert stage.run(INPUTS, version=2) == ["ca", "sw", "tr"]
    assert stage.run(INPUTS, version=1) == []


def test_the_memo_key_tells_every_part_apart() -> None:
    parts = [("stage", 1, "ca", "x"), ("stages", 1, "ca", "x"), ("stage", 2, "ca", "x"), ("stage", 1, "c", "ax")]
    assert len({memo_key(*part) for part in parts}) == 4


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_an_interrupted_stage_keeps_what_is_done_and_goes_on_inside_the_language(
    stop: type[BaseException], stage: Stage
) -> None:
    stage.run({"ca": "0"})
    before = stage.files()

    def interrupted(language: str, folder: Path) -> None:
        if language == "sw":
            write_bytes(folder / "checkpoint", b"half way")
            raise stop

    with pytest.raises(stop):
        stage.run(INPUTS, interrupted)
    assert stage.made == ["ca", "sw"]
    assert stage.files() == before

    found: dict[str, bool] = {}

    def resumed(language: str, folder: Path) -> None:
        found[language] = (folder / "checkpoint").exists()

    assert stage.run(INPUTS, resumed) == ["sw", "tr"]
    assert found == {"sw": True, "tr": False}
    assert stage.files()["sw/checkpoint"] == "half way"


def test_a_change_of_inputs_does_not_resume_from_what_others_left(stage: Stage) -> None:
    def interrupted(language: str, folder: Path) -> None:
        write_bytes(folder / "checkpoint", b"of input 1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stage.run({"ca": "1"}, interrupted)
    assert stage.run({"ca": "2"}) == ["ca"]
    assert stage.files() == {"ca/sub/file": "ca 2"}


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from compass_ops import fanout, storage

def make(language, folder):
    storage.write_bytes(folder / "whole", b"whole")
    with storage._written_aside(folder / "file") as aside:
        aside.write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)

folder = Path(sys.argv[1])
fanout.fan_out(("stage", 1), {"ca": "1"}, make, folder / "build" / "stage", folder / "memo")
"""


def test_a_killed_write_leaves_nothing_in_the_finished_language(stage: Stage, tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, tmp_path], capture_output=True, check=False)
    assert killed.returncode == -9
    assert len(list(stage.memo.rglob(".file.*"))) == 1
    assert stage.run({"ca": "1"}) == ["ca"]
    assert stage.files() == {"ca/sub/file": "ca 1", "ca/whole": "whole"}


def test_a_fault_of_the_data_leaves_a_receipt_and_the_others_go_on(stage: Stage) -> None:
    def faulty(language: str, folder: Path) -> None:
        if language == "sw":
            write_bytes(folder / "half", b"half")
            raise DataFault(language, "no own rows. Add some.")

    assert stage.run(INPUTS, faulty) == ["ca", "sw", "tr"]
    assert list(stage.files()) == ["ca/sub/file", f"sw/{RECEIPT}", "tr/sub/file"]
    assert read_json(stage.out / "sw" / RECEIPT) == {
        "language": "sw",
        "reason": "no own rows. Add some.",
        "stage": "stage",
        "status": "failed",
    }
    assert stage.run(INPUTS, faulty) == ["sw"]
    assert stage.run(INPUTS) == ["sw"]
    assert list(stage.files()) == ["ca/sub/file", "sw/sub/file", "tr/sub/file"]


def test_a_fault_of_the_disk_ends_the_stage_and_keeps_what_is_done(stage: Stage) -> None:
    stage.run({"ca": "0"})
    before = stage.files()

    def full(language: str, folder: Path) -> None:
        if language == "sw":
            (folder / "file").mkdir()
            (folder / "file").write_bytes(b"a folder takes no bytes")

    with pytest.raises(StorageError, match=r"sw could not be written \(.+\)\. Free space .+languages are kept"):
        stage.run(INPUTS, full)
    assert stage.made == ["ca", "sw"]
    assert stage.files() == before
    assert stage.run(INPUTS) == ["sw", "tr"]


@pytest.mark.parametrize(
    "message",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
    ],
)
def test_a_full_disk_that_a_library_tells_in_its_own_way(stage: Stage, message: str) -> None:
    def full(language: str, folder: Path) -> None:
        raise RuntimeError(message)

    with pytest.raises(StorageError, match=r"ca could not be written .* Free space"):
        stage.run(INPUTS, full)


def test_another_error_stays_what_it_is(stage: Stage) -> None:
    def wrong(language: str, folder: Path) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        stage.run(INPUTS, wrong)


def test_a_memo_that_cannot_be_written_is_said(stage: Stage) -> None:
    stage.memo.write_text("a file")
    with pytest.raises(StorageError, match=r"ca could not be written .*Not a directory"):
        stage.run(INPUTS)
    assert not stage.out.exists()


def texts(language: str, folder: Path) -> None:
    """What worker processes make: they find it by name."""
    if language == "sw":
        raise DataFault(language, "no own rows. Add some.")
    write_bytes(folder / "file", language.encode())


def full_disk(language: str, folder: Path) -> None:
    if language == "tr":
        raise OSError("No space left on device")
    write_bytes(folder / "file", language.encode())


def test_processes_share_the_languages_and_the_output_is_the_same(tmp_path: Path) -> None:
    inputs = {name: "1" for name in ("tr", "sw", "ca", "zu", "et")}
    for processes in (1, 2):
        place = tmp_path / str(processes)
        fan_out(("stage", 1), inputs, texts, place / "out", place / "memo", processes)
    assert tree_digest(tmp_path / "1") == tree_digest(tmp_path / "2")
    assert read_json(tmp_path / "2" / "out" / "sw" / RECEIPT)["reason"] == "no own rows. Add some."
    fan_out(("stage", 1), inputs, texts, tmp_path / "again", tmp_path / "2" / "memo", 2)
    assert tree_digest(tmp_path / "again") == tree_digest(tmp_path / "1" / "out")


def test_a_fault_of_the_disk_in_a_process_ends_the_stage(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="tr could not be written"):
        fan_out(("stage", 1), {"ca": "1", "tr": "1"}, full_disk, tmp_path / "out", tmp_path / "memo", 2)
    assert not (tmp_path / "out").exists()


SLOW = """
import os, sys, time
from pathlib import Path
from compass_ops.fanout import fan_out

def make(language, folder):
    Path(sys.argv[1], f"{os.getpid()}.worker").touch()
    time.sleep(600)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    fan_out(("stage", 1), {"ca": "1", "sw": "1", "tr": "1"}, make, folder / "out", folder / "memo", 2)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_with_the_one_that_started_them(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(tmp_path / "slow.py"), str(tmp_path)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as started:
        wait_until(lambda: len(list(tmp_path.glob("*.worker"))) == 2)
        started.send_signal(number)
    workers = [int(path.stem) for path in tmp_path.glob("*.worker")]
    wait_until(lambda: not any(runs(worker) for worker in workers))


def runs(process: int) -> bool:
    try:
        state = Path("/proc", str(process), "stat").read_text("utf-8").rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(true: Callable[[], bool]) -> None:
    for _ in range(600):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("still not after a minute")
