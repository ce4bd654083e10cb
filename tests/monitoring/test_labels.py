from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.monitoring.labels import earlier_feedback, labelled, with_groups
from compass_ops.storage import write_table


def window(folder: Path, name: str, *rows: tuple[str, str, str | None]) -> Path:
    """Rows are (prompt, label, session)."""
    columns = list(zip(*rows, strict=True))
    table = pa.table({key: pa.array(values, pa.string()) for key, values in zip(NAMES, columns, strict=True)})
    write_table(folder / name / "sw.parquet", table)
    return folder / name / "sw.parquet"


NAMES = ("prompt", "completion", "session")


def first_digit(prompts: Sequence[str]) -> NDArray[np.int32]:
    return np.array([int(prompt[0]) for prompt in prompts], np.int32)


def test_rows_without_a_label_are_left_out_and_sessions_are_numbered() -> None:
    rows = pa.table(
        {
            "prompt": ["a", "b", "c", "d", "e"],
            "completion": ["x", "", "y", "z", "x"],
            "session": ["s", "s", None, "s", None],
            "time": ["1", "2", "3", "4", "5"],
        }
    )
    found = with_groups(labelled(rows))
    assert found.column_names == ["prompt", "completion", "session", "group"]
    assert found["prompt"].to_pylist() == ["a", "c", "d", "e"]
    assert found["group"].to_pylist() == [0, 1, 0, 2]


def test_whole_windows_are_taken_from_the_oldest_on_until_they_are_enough(tmp_path: Path) -> None:
    files = [
        window(tmp_path, "0001", ("3 none", "", "s")),
        window(tmp_path, "0002", ("1 old", "x", "s"), ("2 old", "y", None)),
        window(tmp_path, "0003", ("0 later", "x", "s"), ("1 later", "", "t")),
        window(tmp_path, "0004", ("2 never", "x", None)),
    ]
    seen: list[int] = []

    def three(rows: pa.Table) -> bool:
        seen.append(rows.num_rows)
        return rows.num_rows >= 3

    found = earlier_feedback(files, first_digit, three)
    assert found is not None
    assert found["prompt"].to_pylist() == ["1 old", "2 old", "0 later"]
    assert found["cluster"].to_pylist() == [1, 2, 0]
    assert found["group"].to_pylist() == [0, 1, 0], "a session that goes on in the next window is one"
    assert seen == [2, 3]
    everything = earlier_feedback(files, first_digit, lambda rows: False)
    assert everything is not None
    assert everything.num_rows == 4


def test_windows_without_a_label_give_nothing(tmp_path: Path) -> None:
    file = window(tmp_path, "0001", ("1 a", "", None))
    assert earlier_feedback([file], first_digit, lambda rows: True) is None
    assert earlier_feedback([], first_digit, lambda rows: True) is None
