"""One stage over many languages: only what changed is remade, and a killed stage goes on where it was.

Finished languages lie in a memo folder keyed by the digest of their inputs. The stage's output is assembled
from it, so a removed language vanishes, and going back to earlier inputs costs a copy.
"""

import hashlib
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from compass_ops.errors import CompassError, DataFault, StorageError
from compass_ops.storage import fresh_folder, remove_leftovers, replace_folder, write_json

RECEIPT = "receipt.json"
Make = Callable[[str, Path], None]
_DISK_MARKS = ("No space left", "Read-only file system", "quota exceeded", "inline_container", "iostream error")


def memo_key(stage: str, version: int, language: str, inputs: str) -> str:
    """Name a finished piece of work: the stage, the version of its output format, the language, its inputs."""
    named = "\x1f".join((stage, str(version), language, inputs)).encode()
    return hashlib.sha256(named).hexdigest()


def fan_out(
    stage: tuple[str, int],
    inputs: Mapping[str, str],
    make: Make,
    out: Path,
    memo: Path,
    processes: int = 1,
) -> None:
    """Make ``out/<language>/`` for every language of ``inputs``, in its order.

    Parameters
    ----------
    stage : (str, int)
        Name of the stage and version of its output format. Raise the version when the same inputs must
        give other files.
    inputs : mapping of language to digest
        Everything the language's files depend on, as one digest. With several processes, put the longest first.
    make : callable (language, folder) -> None
        Writes one language's files. What an interrupted call left in the folder is still there at the next.
        It may raise ``DataFault``: the language then leaves a receipt with the reason, and the others go on.
        Several processes get a pickled copy each.
    out, memo : Path
        The stage's output folder (replaced as a whole) and the memo folder.
    processes : int
        How many make languages at the same time. The output is the same for any number, if ``make`` does not
        depend on what was made before.

    Raises
    ------
    StorageError
        If the disk fails; finished languages stay in the memo.
    """
    name, version = stage
    places = {language: memo / name / memo_key(name, version, language, own) for language, own in inputs.items()}
    faults: dict[str, DataFault] = {}
    with tqdm(total=len(places), desc=name, unit="language", disable=None) as bar:
        for language, fault in _here(places, make) if processes == 1 else _shared_out(places, make, processes):
            if fault is not None:
                faults[language] = fault
            bar.set_postfix_str(language, refresh=False)
            bar.update()
    with fresh_folder(out) as aside:
        for language, done in places.items():
            if language not in faults:
                shutil.copytree(done, aside / language)
        for language, fault in faults.items():
            receipt = {"language": fault.language, "status": "failed", "stage": name, "reason": fault.reason}
            write_json(aside / language / RECEIPT, receipt)


def _here(places: Mapping[str, Path], make: Make) -> Iterator[tuple[str, DataFault | None]]:
    """Yield each language when it is there, with the fault if its data have one."""
    for language, done in places.items():
        yield language, _finish(language, done, make)


def _shared_out(places: Mapping[str, Path], make: Make, processes: int) -> Iterator[tuple[str, DataFault | None]]:
    """Do the same in several processes, each taking the next language of the queue; they end with this one."""
    missing = [language for language, done in places.items() if not done.exists()]
    yield from ((language, None) for language in places if language not in set(missing))
    workers = min(processes, max(1, len(missing)))
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (make,)) as pool:
        waiting = {pool.submit(_finish_in_worker, language, places[language]): language for language in missing}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise


_MAKE: list[Make] = []  # of a worker process


def _begin(make: Make) -> None:
    """Set up a worker: the process that started it decides when it stops, and takes it along if it is killed."""
    _MAKE[:] = [make]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _finish_in_worker(language: str, done: Path) -> DataFault | None:
    return _finish(language, done, _MAKE[0])


def _finish(language: str, done: Path, make: Make) -> DataFault | None:
    """Have one language made unless it is there; return the fault if its data have one."""
    try:
        if not done.exists():
            _make_in(done, language, make)
    except DataFault as fault:
        return fault
    return None


def _make_in(done: Path, language: str, make: Make) -> None:
    """Have one language's files made beside ``done``, and move them there when they are complete."""
    partial = done.with_suffix(".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        remove_leftovers(partial)
        make(language, partial)
        replace_folder(partial, done)
    except DataFault:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except CompassError:
        raise
    except Exception as error:
        if not _of_the_disk(error):
            raise
        raise StorageError(
            f"{language} could not be written ({error}). Free space or fix permissions, then rerun; "
            "finished languages are kept."
        ) from error


def _of_the_disk(error: Exception) -> bool:
    """Tell a fault of the disk, which safetensors and torch's writers in C++ report as errors of their own."""
    return isinstance(error, OSError) or any(mark in str(error) for mark in _DISK_MARKS)
