from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from compass_ops.errors import DataFault
from compass_ops.monitoring.windows import Embedding, Window, read_window
from compass_ops.storage import write_array, write_json, write_table


def _embedding(value: float = 1.0) -> Embedding:
    return Embedding("e" * 64, "", lambda texts: np.full((len(texts), 2), value, np.float32))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "0002" / "sw.parquet"
    write_table(path, pa.table({"prompt": ["a", "b", "c"], "session": ["x", None, "x"]}))
    return path


def test_text_is_embedded(file: Path) -> None:
    window = read_window("sw", file, _embedding())
    assert (window.name, window.vectors.tolist()) == ("0002", [[1.0, 1.0]] * 3)
    assert window.sessions().tolist() == [0, 1, 0]


def test_kept_vectors_are_read_and_not_made(file: Path) -> None:
    write_array(file.with_suffix(".npy"), np.zeros((3, 2), np.float32))
    write_json(file.parent.parent / "embedder.json", {"digest": "e" * 64, "prefix": ""})
    assert read_window("sw", file, _embedding()).vectors.tolist() == [[0.0, 0.0]] * 3


def test_vectors_of_another_embedder_are_refused_with_both_digests(file: Path) -> None:
    write_array(file.with_suffix(".npy"), np.zeros((3, 2), np.float32))
    write_json(file.parent.parent / "embedder.json", {"digest": "f" * 64, "prefix": ""})
    with pytest.raises(DataFault, match=f"{'f' * 64}.*{'e' * 64}"):
        read_window("sw", file, _embedding())


def test_vectors_that_are_not_finite_are_a_fault_of_the_language(file: Path) -> None:
    with pytest.raises(DataFault, match="no vector for some prompts of window 0002"):
        read_window("sw", file, _embedding(float("nan")))


def test_too_few_vectors_are_a_fault_of_the_language(file: Path) -> None:
    short = Embedding("e" * 64, "", lambda texts: np.zeros((1, 2), np.float32))
    with pytest.raises(DataFault, match=r"shape \(1, 2\)"):
        read_window("sw", file, short)


def test_vectors_kept_with_another_prefix_are_refused_with_both(file: Path) -> None:
    write_array(file.with_suffix(".npy"), np.zeros((3, 2), np.float32))
    write_json(file.parent.parent / "embedder.json", {"digest": "e" * 64, "prefix": "query: "})
    with pytest.raises(DataFault, match=r"prefix 'query: ', windows are now .* with ''.*Restore .* embed.prefix"):
        read_window("sw", file, _embedding())


def test_a_period_is_from_the_earliest_to_the_latest_known_time() -> None:
    """In UTC: the second lies two hours before its clock says."""

    def period(*times: str | None) -> str | None:
        table = pa.table({"time": pa.array(times, pa.string())})
        return Window("0001", table, np.zeros((len(times), 2), np.float32)).period()

    times = ["2026-10-03T12:00:00.5+00:00", "2026-10-02T01:30:00+02:00", None, "2026-10-03T12:00:00+00:00"]
    assert period(*times) == "2026-10-01 23:30 to 2026-10-03 12:00 UTC"
    assert period(None, None) is None
