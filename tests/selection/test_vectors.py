"""Vectors and means as the stage embed leaves them."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from compass_ops.errors import ModelError
from compass_ops.selection.vectors import read_means, read_pool_vectors, read_vectors, vectors_file, write_means
from compass_ops.storage import write_array


def test_means_come_back_to_the_last_bit(tmp_path: Path) -> None:
    means = {
        name: np.random.default_rng(len(name)).standard_normal(7).astype(np.float32) for name in ("", "sw", "zh-Hant")
    }
    write_means(tmp_path, means)
    found = read_means(tmp_path)
    assert list(found) == list(means)
    assert all(found[name].tobytes() == means[name].tobytes() for name in means)


def test_without_means_vectors_are_read_as_they_are(tmp_path: Path) -> None:
    vectors = np.eye(3, dtype=np.float32)
    write_array(vectors_file(tmp_path, "own", "sw"), vectors)
    assert read_means(tmp_path) == {}
    write_means(tmp_path, {})
    assert read_means(tmp_path) == {}
    assert read_vectors(tmp_path, "own", "sw", {}).tobytes() == vectors.tobytes()


def test_vectors_are_read_without_their_languages_mean(tmp_path: Path) -> None:
    write_array(vectors_file(tmp_path, "own", "sw"), np.array([[0.6, 0.8]], np.float32))
    means = {"sw": np.array([0.6, 0.0], np.float32), "": np.array([0.0, 0.8], np.float32)}
    assert read_vectors(tmp_path, "own", "sw", means)[0] == pytest.approx([0, 1])
    write_array(vectors_file(tmp_path, "own", "zu"), np.array([[0.6, 0.8]], np.float32))
    assert read_vectors(tmp_path, "own", "zu", means)[0] == pytest.approx([1, 0])


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, -np.inf]])
def test_vectors_that_are_not_finite_are_told_with_their_role_and_language(tmp_path: Path, bad: list[float]) -> None:
    for role in ("own", "auxiliary"):
        write_array(vectors_file(tmp_path, role, "sw"), np.array([[0.6, 0.8], bad], np.float32))
    write_array(vectors_file(tmp_path, "auxiliary", "id"), np.eye(2, dtype=np.float32))
    told = r"sw/vectors\.npy: 1 of 2 vectors of role {}, language sw are not finite, .* Run `dvc repro -f embed`"
    with pytest.raises(ModelError, match=told.format("own")):
        read_vectors(tmp_path, "own", "sw", {})
    with pytest.raises(ModelError, match=told.format("auxiliary")):
        read_pool_vectors(tmp_path, ["id", "sw"], {"": np.zeros(2, np.float32)})


@pytest.mark.parametrize("freed", [True, False])
def test_the_pool_is_all_languages_one_below_the_other_and_held_once(tmp_path: Path, freed: bool) -> None:
    rng, names = np.random.default_rng(0), [f"l{n:02}" for n in range(20)]
    for place, name in enumerate(names):
        write_array(vectors_file(tmp_path, "auxiliary", name), rng.random((400 + place, 64), np.float32))
    means = {"l03": np.ones(64, np.float32), "": np.full(64, 0.5, np.float32)} if freed else {}
    tracemalloc.start()
    vectors, languages = read_pool_vectors(tmp_path, names, means)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    parts = [read_vectors(tmp_path, "auxiliary", name, means) for name in names]
    assert vectors.tobytes() == np.concatenate(parts).tobytes()
    assert languages.tolist() == [name for name, part in zip(names, parts, strict=True) for _ in part]
    assert peak < 1.4 * vectors.nbytes, "two languages' more is a tenth, and names are a few bytes a row"
