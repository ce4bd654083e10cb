"""One stage over many languages: only what changed is remade, and a killed stage goes on where it was.

Finished languages lie in a memo folder keyed by the digest of their inputs. The stage's output is assembled
from it, so a removed language vanishes, and going back to earlier inputs costs a copy.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from tqdm import tqdm

from compass_ops.errors import CompassError, DataFault, StorageError
from compass_ops.storage import fresh_folder, remove_leftovers, replace_folder, write_json

RECEIPT = "receipt.json"
_DISK_MARKS = ("No space left", "Read-only file system", "quota exceeded", "inline_container", "iostream error")


def memo_key(stage: str, version: int, language: str, inputs: str) -> str:
    """Name a finished piece of work: the stage, the version of its output format, the language, its inputs."""
    named = "\x1f".join((stage, str(version), language, inputs)).encode()
    return hashlib.sha256(named).hexdigest()


def fan_out(
    stage: tuple[str, int],
    inputs: Mapping[str, str],
    make: Callable[[str, Path], None],
    out: Path,
    memo: Path,
) -> None:
    """Make ``out/<language>/`` for every language of ``inputs``.

    Parameters
    ----------
    stage : (str, int)
        Name of the stage and version of its output format. Raise the version when the same inputs must
        give other files.
    inputs : mapping of language to digest
        Everything the language's files depend on, as one digest.
    make : callable (language, folder) -> None
        Writes one language's files. What an interrupted call left in the folder is still there at the next.
        It may raise ``DataFault``: the language then leaves a receipt with the reason, and the others go on.
    out, memo : Path
        The stage's output folder (replaced as a whole) and the memo folder.

    Raises
    ------
    StorageError
        If the disk fails; finished languages stay in the memo.
    """
    name, version = stage
    finished: dict[str, Path] = {}
    faults: dict[str, str] = {}
    for language in _with_progress(name, inputs):
        done = memo / name / memo_key(name, version, language, inputs[language])
        try:
            if not done.exists():
                _make_in(done, language, make)
            finished[language] = done
        except DataFault as fault:
            faults[language] = fault.reason
    with fresh_folder(out) as aside:
        for language, done in finished.items():
            shutil.copytree(done, aside / language)
        for language, reason in faults.items():
            receipt = {"language": language, "status": "failed", "stage": name, "reason": reason}
            write_json(aside / language / RECEIPT, receipt)


def _make_in(done: Path, language: str, make: Callable[[str, Path], None]) -> None:
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


def _with_progress(name: str, inputs: Mapping[str, str]) -> Iterator[str]:
    with tqdm(sorted(inputs), desc=name, unit="language", disable=None) as bar:
        for language in bar:
            bar.set_postfix_str(language)
            yield language
