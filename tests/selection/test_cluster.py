"""Centroids find what is there; assignment against a loop; health figures by hand."""

import re

import numpy as np
import pytest
from numpy.typing import NDArray

from compass_ops.errors import ModelError, ParamsError
from compass_ops.selection import cluster
from compass_ops.selection.cluster import Health, assign, fit_centroids, health
from compass_ops.selection_sections import HdbscanParams, KMeansParams


def k_means(clusters: int | list[int], rows: int = 1000) -> KMeansParams:
    return KMeansParams(kind="kmeans", clusters=clusters, fit_rows=rows)


def blobs(rows: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Three tight directions on the unit sphere of eight dimensions."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    vectors = np.eye(8)[labels] + 0.05 * rng.standard_normal((rows, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def judged(
    vectors: NDArray[np.float32],
    centroids: NDArray[np.float32],
    languages: NDArray[np.str_],
    *,
    fit_rows: int = 1000,
    dense: bool = False,
    centred: bool = False,
) -> Health:
    made = HdbscanParams(kind="hdbscan", smallest=2, fit_rows=fit_rows) if dense else k_means(2, fit_rows)
    return health(vectors, centroids, languages, np.random.default_rng(0), settings=made, centred=centred)


def directions(labels: NDArray[np.int64], columns: int) -> NDArray[np.float32]:
    """A unit vector a label, with a little noise: where labels are clusters, those are found."""
    rng = np.random.default_rng(1)
    centres = unit(rng.standard_normal((int(labels.max()) + 1, columns)))
    return unit(centres[labels] + 0.01 * rng.standard_normal((len(labels), columns)))


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def test_centroids_are_unit_and_find_the_blobs() -> None:
    vectors, labels = blobs(300)
    centroids = fit_centroids(vectors, k_means(3, 200), np.random.default_rng(0))
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
    with pytest.raises(
        ParamsError, match=r"cluster\.clusters is 3, but of the 10 rows that are fitted on only 1 differ\. Lower it"
    ):
        fit_centroids(np.ones((10, 2), np.float32), k_means(3), np.random.default_rng(0))


def test_vectors_that_are_not_finite_are_refused() -> None:
    vectors, _ = blobs(30)
    vectors[4, 2] = np.nan
    with pytest.raises(ModelError, match="1 vectors of the pool are not finite"):
        fit_centroids(vectors, k_means(3), np.random.default_rng(0))


def test_among_several_the_number_of_the_largest_silhouette_is_taken() -> None:
    vectors, _ = blobs(300)
    assert len(fit_centroids(vectors, k_means([2, 3, 9]), np.random.default_rng(0))) == 3


def test_hdbscan_finds_how_many_there_are_and_leaves_no_row_out() -> None:
    vectors, labels = blobs(300)
    centroids = fit_centroids(
        vectors, HdbscanParams(kind="hdbscan", smallest=10, fit_rows=200), np.random.default_rng(0)
    )
    assert len(centroids) == 3
    found = assign(vectors, centroids)
    assert len({(label, own) for label, own in zip(labels.tolist(), found.tolist(), strict=True)}) == 3


def test_hdbscan_of_fewer_rows_than_its_smallest_cluster_says_so() -> None:
    vectors = np.eye(4, 8, dtype=np.float32)
    with pytest.raises(ParamsError, match=r"cluster\.smallest is 5, but the pool has 4 rows"):
        fit_centroids(vectors, HdbscanParams(kind="hdbscan", smallest=5, fit_rows=60), np.random.default_rng(0))


def test_a_vector_that_is_not_finite_has_no_nearest_centroid() -> None:
    vectors = np.eye(3, 8, dtype=np.float32)
    vectors[1, 2] = np.nan
    with pytest.raises(ModelError, match="1 vectors are not finite"):
        assign(vectors, np.eye(2, 8, dtype=np.float32))


def test_hdbscan_without_clusters_says_what_to_change() -> None:
    vectors, _ = blobs(60)
    with pytest.raises(ParamsError, match=r"cluster\.smallest is 50, and HDBSCAN finds 0 clusters .* Lower it"):
        fit_centroids(vectors, HdbscanParams(kind="hdbscan", smallest=50, fit_rows=60), np.random.default_rng(0))


def test_same_stream_same_centroids() -> None:
    vectors, _ = blobs(300)
    one, two = (fit_centroids(vectors, k_means(3, 100), np.random.default_rng(2)) for _ in range(2))
    assert np.array_equal(one, two)


def test_health_tells_topics_from_languages() -> None:
    vectors, labels = blobs(300)
    centroids = np.eye(3, 8, dtype=np.float32)
    by_topic = judged(vectors, centroids, np.array(["sw", "id"] * 150))
    by_language = judged(vectors, centroids, np.array(["sw", "id", "tr"])[labels])
    assert by_topic.silhouette > 0.8
    assert by_topic.density_validity > 0.5
    assert by_topic.stability == pytest.approx(1.0)
    assert by_topic.language_ami == pytest.approx(0.0, abs=0.02)
    assert by_language.language_ami == pytest.approx(1.0)
    assert by_topic.smallest + by_topic.largest <= 300
    assert by_topic.warnings == ()
    assert [sentence.split(":")[0] for sentence in by_language.warnings] == [
        "Clusters follow languages (adjusted mutual information 1.00)"
    ]


def test_many_clusters_and_languages_share_nothing_by_chance() -> None:
    """Without a correction for chance 100 clusters and 200 languages share .31."""
    rng = np.random.default_rng(0)
    topics, languages = rng.integers(0, 100, 5000), rng.integers(0, 200, 5000).astype(str)
    vectors = directions(topics, 16)
    found = judged(vectors, np.stack([vectors[topics == one].mean(axis=0) for one in range(100)]), languages)
    assert found.language_ami == pytest.approx(0.0, abs=0.01)
    assert [warning for warning in found.warnings if "languages" in warning] == []


@pytest.mark.parametrize(("languages", "clusters"), [(2, 100), (40, 40), (200, 100)])
def test_clusters_that_are_of_one_language_each_are_told(languages: int, clusters: int) -> None:
    """Whether a language has many clusters, one, or shares one with another language."""
    rng = np.random.default_rng(0)
    parts = rng.integers(0, max(languages, clusters), 3000)
    tags, topics = parts * languages // max(languages, clusters), parts * clusters // max(languages, clusters)
    vectors = directions(topics, 16)
    centroids = np.stack([vectors[topics == one].mean(axis=0) for one in range(clusters)])
    found = judged(vectors, centroids, tags.astype(str))
    assert found.language_ami == pytest.approx(1.0)
    [told] = [warning for warning in found.warnings if "follow languages" in warning]
    assert told.endswith("Set embed.centred: true, or use an embedder that knows these languages.")
    [told] = [
        warning
        for warning in judged(vectors, centroids, tags.astype(str), centred=True).warnings
        if "follow languages" in warning
    ]
    assert told.endswith("not of topics. Use an embedder that knows these languages.")


@pytest.mark.parametrize("clusters", [1, 3])
def test_one_language_tells_nothing(clusters: int) -> None:
    vectors, _ = blobs(60)
    assert judged(vectors, np.eye(clusters, 8, dtype=np.float32), np.array(["sw"] * 60)).language_ami == 0.0


def test_stability_is_that_of_as_many_rows_as_are_fitted_on() -> None:
    """Overlapping topics: a few rows make other clusters each time, many rows the same ones."""
    rng = np.random.default_rng(0)
    vectors = unit(0.7 * np.eye(16)[rng.integers(0, 8, 8000)] + 0.4 * rng.standard_normal((8000, 16)))
    centroids = fit_centroids(vectors, k_means(8, 8000), np.random.default_rng(0))
    languages = np.array(["sw", "id"] * 4000)
    few, many = (judged(vectors, centroids, languages, fit_rows=rows) for rows in (60, 8000))
    assert few.stability < 0.3
    assert many.stability > 0.6
    [told] = [warning for warning in few.warnings if "Clusters change" in warning]
    assert told.endswith("Ask for fewer clusters, or raise cluster.fit_rows.")


def test_density_validity_sees_the_end_of_the_pool_as_well_as_its_beginning() -> None:
    """The last fifth of a pool, which lies in the order of its languages, overlaps completely."""
    apart, labels = blobs(4000)
    mixed = np.random.default_rng(1).normal(size=(1000, apart.shape[1])).astype(np.float32)
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    centroids = np.stack([apart[labels == own].mean(axis=0) for own in range(3)])
    languages = np.repeat(["aa", "zz"], [4000, 1000])

    clean, worse = (
        judged(pool, centroids, languages[: len(pool)], fit_rows=500, centred=True)
        for pool in (apart, np.concatenate([apart, mixed]))
    )
    assert worse.density_validity < clean.density_validity - 0.1


def badly_clustered() -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.str_]]:
    """Vectors that all look the same way, centroids of which most look away, and the languages."""
    noise = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    noise[:, 0] = 3.0
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return noise, np.concatenate([np.eye(1, 8), -np.eye(8)]).astype(np.float32), np.array(["sw", "id"] * 200)


def test_bad_clusterings_are_told_in_words() -> None:
    found = judged(*badly_clustered())
    empty, changing, mixed, one = found.warnings
    assert empty.endswith("of 9 clusters hold no row of the pool: nothing can be drawn there. Ask for fewer clusters.")
    assert changing.startswith("Clusters change with the rows they are fitted on (adjusted Rand index 0.")
    assert changing.endswith("Ask for fewer clusters, or add auxiliary data."), "all rows are fitted on already"
    assert mixed.startswith("Rows are no nearer to their own cluster than to others (silhouette -0.")
    assert re.match(r"One cluster holds \d\d% of the pool: the plan says little\. Raise cluster\.clusters\.$", one)


def test_advice_about_hdbscan_names_its_own_settings_and_whose_stability_it_is() -> None:
    vectors, centroids, languages = badly_clustered()
    _, changing, mixed, one = judged(vectors, centroids, languages, fit_rows=300, dense=True).warnings
    assert changing.startswith("K-Means of as many clusters changes with the rows it is fitted on (adjusted Rand")
    assert changing.endswith("Raise cluster.smallest, or raise cluster.fit_rows.")
    assert mixed.endswith("Try another cluster.smallest.")
    assert one.endswith("Lower cluster.smallest.")


def test_one_cluster_of_identical_rows_is_judged_without_dividing_by_nothing() -> None:
    same = np.tile(np.eye(1, 8, dtype=np.float32), (30, 1))
    found = judged(same, same[:1], np.array(["sw"] * 30))
    assert (found.silhouette, found.density_validity) == (0.0, 0.0)
