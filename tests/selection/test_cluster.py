"""Centroids find what is there; assignment against a loop; health figures by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from compass_ops.selection import cluster
from compass_ops.selection.cluster import assign, fit_centroids, health


def blobs(rows: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three tight directions on the unit sphere of eight dimensions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    vectors = np.eye(8)[labels] + 0.05 * rng.standard_normal((rows, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def test_centroids_are_unit_and_find_the_blobs() -> None:
    vectors, labels = blobs(300)
    centroids = fit_centroids(vectors, 3, 200, np.random.default_rng(0))
    assert np.allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-6)
    found = assign(vectors, centroids)
    assert len({(label, own) for label, own in zip(labels.tolist(), found.tolist(), strict=True)}) == 3


def test_assignment_equals_the_loop_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = blobs(50)
    centroids = vectors[:4]
    monkeypatch.setattr(cluster, "_BLOCK", 7)
    slow = [int(np.argmax([float(row @ centroid) for centroid in centroids])) for row in vectors]
    assert assign(vectors, centroids).tolist() == slow


def test_nothing_to_assign_is_nothing() -> None:
    assert assign(np.zeros((0, 8), np.float32), np.eye(8, dtype=np.float32)).shape == (0,)


def test_fewer_different_rows_than_clusters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"cluster\.clusters is 3, but only 1 rows differ"):
        fit_centroids(np.ones((10, 2), np.float32), 3, 10, np.random.default_rng(0))


def test_same_stream_same_centroids() -> None:
    vectors, _ = blobs(300)
    one, two = (fit_centroids(vectors, 3, 100, np.random.default_rng(2)) for _ in range(2))
    assert np.array_equal(one, two)


def test_health_tells_topics_from_languages() -> None:
    vectors, labels = blobs(300)
    clusters = labels.astype(np.int32)
    by_topic = health(vectors, clusters, np.array(["sw", "id"] * 150), np.random.default_rng(0))
    by_language = health(vectors, clusters, np.array(["sw", "id", "tr"])[labels], np.random.default_rng(0))
    assert by_topic.silhouette > 0.8
    assert by_topic.language_information < 0.05
    assert by_language.language_information == pytest.approx(1.0)
    assert by_topic.smallest + by_topic.largest <= 300


def test_one_cluster_has_no_silhouette() -> None:
    vectors, _ = blobs(30)
    assert health(vectors, np.zeros(30, np.int32), np.array(["sw"] * 30), np.random.default_rng(0)).silhouette == 0.0
