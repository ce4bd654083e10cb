"""Rows of the log that users labelled, of one window and of those before it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from compass_ops.corpus.traits import session_numbers
from compass_ops.storage import read_table

_COLUMNS = ("prompt", "completion", "session", "cluster")


def labelled(window: pa.Table) -> pa.Table:
    """Return ``prompt``, ``completion``, ``session`` and, where it has them, ``cluster`` of a window's labelled rows.

    There are none where no text is kept.
    """
    columns = [name for name in _COLUMNS if name in window.column_names]
    return window.select(columns).filter(pc.not_equal(window["completion"], ""))


def with_groups(rows: pa.Table) -> pa.Table:
    """Append ``group``, int64: equal for rows of one session."""
    return rows.append_column("group", pa.array(session_numbers(rows["session"].to_pylist())))


def earlier_feedback(
    files: Sequence[Path],
    clusters: Callable[[Sequence[str]], NDArray[np.int32]],
    enough: Callable[[pa.Table], bool],
) -> pa.Table | None:
    """Take labelled rows of whole windows, from the oldest on, until they are enough.

    The oldest ones stay the same from week to week: so a slow rise is not compared with itself a week ago, and what
    was embedded and scored once is remembered.

    Parameters
    ----------
    files : sequence of Path
        Of the windows, oldest first.
    clusters : prompts -> int32 (n,)
    enough : table -> bool
        Is shown all that was taken so far, which is not empty.

    Returns
    -------
    pyarrow.Table or None
        ``prompt``, ``completion``, ``session``, ``cluster`` and ``group``; all there is where it never is enough;
        None where nothing is labelled.
    """
    taken: list[pa.Table] = []
    for file in files:
        rows = labelled(read_table(file))
        if not rows.num_rows:
            continue
        taken.append(rows.append_column("cluster", pa.array(clusters(rows["prompt"].to_pylist()))))
        if enough(with_groups(pa.concat_tables(taken))):
            break
    return with_groups(pa.concat_tables(taken)) if taken else None
