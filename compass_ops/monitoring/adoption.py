"""Which windows versions were made for. A window's name says little: cut otherwise, other rows bear it."""

from collections.abc import Iterable
from pathlib import Path

from compass_ops.corpus.traits import TRAITS
from compass_ops.storage import read_table, value_digest

# (name of a window, digest of its rows; None: of a version that does not say)
Named = tuple[str, str | None]


def window_name_of(file: Path) -> str:
    """Return the name of a window's file, ``<windows>/<name>/<language>.parquet``."""
    return file.parent.name


def window_digest(file: Path) -> str:
    """Return the SHA-256 of a window's rows: their prompts, where text is kept, and their traits, in order."""
    return value_digest(read_table(file).select(["prompt", *TRAITS.names]).to_pydict())


def is_among(file: Path, windows: Iterable[Named]) -> bool:
    """Tell whether a window is one of those named: of that name and, where a digest is known, of those rows."""
    digests = {digest for name, digest in windows if name == window_name_of(file)}
    return None in digests or (bool(digests) and window_digest(file) in digests)
