"""The weekly job: look at new windows, then run the pipeline."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from compass_ops.corpus.languages import language_tag
from compass_ops.errors import CompassError, ParamsError
from compass_ops.monitoring.request_log import LogSettings, read_log
from compass_ops.monitoring.traffic import NO_WINDOW, window_name
from compass_ops.params import Params
from compass_ops.registry.location import TRACKING_URI
from compass_ops.storage import write_bytes

_SECTION = re.compile(rb"^traffic:[ \t]*(#.*)?\r?$", re.MULTILINE)
_NEXT_SECTION = re.compile(rb"^[^\s#]", re.MULTILINE)
_UNTIL = re.compile(rb"""^([ \t]+until:[ \t]*(["']))(\d{4})(\2[ \t]*(?:#.*)?\r?)$""", re.MULTILINE)
_STANDARD_ERROR = 2


@dataclass(frozen=True)
class Step:
    """How far a tick went: to which window, and past which ones."""

    window: str
    passed_over: tuple[str, ...]


def advance(params_path: Path, available: int, *, newest: bool = False) -> Step:
    """Set ``traffic.until`` in a params file to a later window; nothing else in the file changes.

    Parameters
    ----------
    params_path : Path
        ``traffic:`` must be a block with ``until: "0001"`` on a line of its own, in quotes.
    available : int
        Number of the last window that there is.
    newest : bool
        Whether to go to the last window, as for a log: each language is then judged on its newest one. One by one, a
        busy language would be judged ever further in the past. Otherwise to the next.

    Raises
    ------
    ParamsError
        If the line is not there, or there is no further window.
    """
    file = params_path.resolve()  # a link stays a link
    try:
        content = file.read_bytes()
    except OSError as error:
        raise ParamsError(f"{params_path}: cannot be read ({error}). Run in the project's folder.") from error
    start, line = _until_line(content, params_path)
    following = int(line[3]) + 1
    if following > available:
        last = window_name(available) if available else f"{NO_WINDOW}, there is none yet"
        raise ParamsError(
            f"{params_path}: traffic.until is {line[3].decode()} and the last window is {last}. "
            "Wait until there is more traffic."
        )
    number = available if newest else following
    name = window_name(number)
    changed = content[: start + line.start(3)] + name.encode() + content[start + line.end(3) :]
    write_bytes(file, changed)
    return Step(name, tuple(map(window_name, range(following, number))))


def available_windows(params: Params, root: Path) -> int:
    """Return the number of the last window that there is; the whole request log is read for it."""
    origin = params.traffic.origin
    if origin.kind == "none":
        return 0
    if origin.kind == "simulated":
        return origin.windows
    languages = [language_tag(language) for language in params.project.languages]
    return read_log(LogSettings(**origin.settings(params.traffic.window_rows)), languages, 0, root).complete


def run_pipeline(root: Path, *, uri: str | None, aside: bool = False) -> None:
    """Run ``dvc repro`` in a project; ``CompassError`` if it ends with a fault, which it has told itself.

    Parameters
    ----------
    uri : str or None
        Of the registry, in place of that of params.yaml.
    aside : bool
        Whether its output goes to the standard error, because the standard output is for programs.
    """
    out = _STANDARD_ERROR if aside else None
    environment = os.environ | ({} if uri is None else {TRACKING_URI: uri})
    command = [sys.executable, "-m", "dvc", "repro"]
    ended = subprocess.run(command, cwd=root, stdout=out, env=environment, check=False)
    if ended.returncode:
        raise CompassError(
            f"dvc repro ended with {ended.returncode}. Its message stands above; then run `dvc repro` again, not "
            "`compass tick`, which would go on to a later window."
        )


def _until_line(content: bytes, params_path: Path) -> tuple[int, re.Match[bytes]]:
    """Return where the section's body starts, and the match of its ``until`` line within it."""
    section = _SECTION.search(content)
    if section is not None:
        following = _NEXT_SECTION.search(content, section.end())
        body = content[section.end() : following.start() if following else len(content)]
        lines = list(_UNTIL.finditer(body))
        if len(lines) == 1:
            return section.end(), lines[0]
    raise ParamsError(
        f'{params_path}: traffic must be a block with one line `until: "0001"`, four digits in quotes; there is '
        "none. Write it so, then tick again."
    )
