"""Language means are the pool's; what is removed is the language, not what it asks."""

import numpy as np
import pytest

from compass_ops.errors import ModelError
from compass_ops.selection import centring
from compass_ops.selection.centring import centred, language_means
from compass_ops.selection.cluster import fit_centroids, health
from compass_ops.selection_sections import KMeansParams


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_means_by_hand_and_for_languages_with_few_rows() -> None:
    pool = {"id": np.array([[1, 0], [0, 1]], np.float32), "tr": np.array([[1, 0], [1, 0]], np.float32)}
    pool["sw"] = np.array([[0, 1]], np.float32)
    means = language_means(pool, least=2)
    assert {name: mean.tolist() for name, mean in means.items()} == {"id": [0.5, 0.5], "tr": [1, 0], "": [0.75, 0.25]}
    for language in ("sw", "zu"):
        assert centred(pool["sw"], means, language)[0] == pytest.approx(unit(np.array([[-0.75, 0.75]]))[0])


def test_a_vector_that_is_its_mean_stays() -> None:
    means = {"": np.array([1, 0], np.float32)}
    assert centred(np.array([[1, 0]], np.float32), means, "sw").tolist() == [[1, 0]]


@pytest.mark.parametrize("rows", [3_000, 200_000])
def test_many_vectors_that_are_all_alike_stay_and_are_no_noise(rows: int) -> None:
    """As where an embedder knows nothing of a script: one token, one vector."""
    vectors = np.repeat(unit(np.random.default_rng(0).standard_normal((1, 12))), rows, axis=0)
    assert centred(vectors, language_means({"am": vectors}), "am")[::1000].tolist() == vectors[::1000].tolist()


def test_vectors_that_are_not_finite_are_refused_with_their_language() -> None:
    bad = np.full((1, 2), np.nan, np.float32)
    with pytest.raises(ModelError, match=r"the pool's vectors of am are not all finite\. Run `dvc repro -f embed`"):
        language_means({"am": bad, "id": np.ones((1, 2), np.float32)}, least=1)


def test_without_a_mean_nothing_changes() -> None:
    pool = {"id": unit(np.random.default_rng(0).standard_normal((40, 12)))}
    assert language_means(pool, least=50) == {}
    assert centred(pool["id"], {}, "id") is pool["id"]


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((40, 12)))
    means = language_means({"id": vectors}, least=1)
    whole = centred(vectors, means, "id")
    monkeypatch.setattr(centring, "_BLOCK", 7)
    assert centred(vectors, means, "id").tobytes() == whole.tobytes()
    assert np.linalg.norm(whole, axis=1) == pytest.approx(np.ones(40))


def test_clusters_of_languages_become_clusters_of_topics() -> None:
    rng = np.random.default_rng(0)
    topics, tongues = np.eye(12)[:3], np.eye(12)[3:6] * 2
    labels = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    vectors = unit(topics[labels[0]] + tongues[labels[1]] + 0.1 * rng.standard_normal((300, 12)))
    names = np.array(["id", "sw", "tr"])[labels[1]]
    pool = {name: vectors[names == name] for name in ("id", "sw", "tr")}
    means = language_means(pool, least=5)
    moved = np.zeros_like(vectors)
    for name in pool:
        moved[names == name] = centred(pool[name], means, name)
    found = []
    for each in (vectors, moved):
        settings = KMeansParams(kind="kmeans", clusters=3, fit_rows=300)
        centroids = fit_centroids(each, settings, np.random.default_rng(0))
        judged = health(each, centroids, names, np.random.default_rng(0), settings=settings, centred=False)
        found.append(judged.language_ami)
    assert found[0] > 0.9
    assert found[1] < 0.05
