"""The only door to scikit-learn's clustering: centroids of the pool, assignments, health figures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score, silhouette_score

_BLOCK = 65_536  # rows assigned at once: bounds memory, keeps the matrix product large


@dataclass(frozen=True)
class Health:
    """How good a clustering is.

    Attributes
    ----------
    silhouette : float
        Mean silhouette of a sample of rows, in [-1, 1]; higher is better separated.
    language_information : float
        Normalised mutual information of cluster and language, in [0, 1]; at 0 clusters are topics, not languages.
    smallest, largest : int
        Rows in the smallest and the largest cluster of the sample.
    """

    silhouette: float
    language_information: float
    smallest: int
    largest: int


def fit_centroids(
    vectors: NDArray[np.float32], clusters: int, rows: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Fit spherical centroids by K-Means on a sample of the pool.

    Parameters
    ----------
    vectors : float32 (n, d), unit rows
    clusters : int, in [1, n]
    rows : int
        Rows sampled for the fit; the rest is only assigned.
    rng : numpy.random.Generator

    Returns
    -------
    float32 (clusters, d), unit rows.

    Raises
    ------
    ValueError
        If there are fewer distinct rows than clusters.
    """
    sample = vectors if len(vectors) <= rows else vectors[np.sort(rng.choice(len(vectors), rows, replace=False))]
    if len(np.unique(sample, axis=0)) < clusters:
        raise ValueError(f"cluster.clusters is {clusters}, but only {len(np.unique(sample, axis=0))} rows differ.")
    fitted = KMeans(clusters, n_init=3, random_state=int(rng.integers(2**31))).fit(sample)
    centroids = fitted.cluster_centers_.astype(np.float32)
    return centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)


def assign(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return int32 (n,): the centroid with the largest cosine for each unit row."""
    parts = [
        np.argmax(vectors[start : start + _BLOCK] @ centroids.T, axis=1) for start in range(0, len(vectors), _BLOCK)
    ]
    return np.concatenate([np.zeros(0, int), *parts]).astype(np.int32)


def health(
    vectors: NDArray[np.float32],
    clusters: NDArray[np.int32],
    languages: NDArray[np.str_],
    rng: np.random.Generator,
) -> Health:
    """Judge a clustering on at most 5,000 rows (the silhouette is quadratic in them)."""
    rows = np.sort(rng.choice(len(vectors), min(5_000, len(vectors)), replace=False))
    sizes = np.bincount(clusters[rows])
    separated = 1 < np.count_nonzero(sizes) < len(rows)
    return Health(
        silhouette=float(silhouette_score(vectors[rows], clusters[rows])) if separated else 0.0,
        language_information=float(normalized_mutual_info_score(languages[rows], clusters[rows])),
        smallest=int(sizes.min()),
        largest=int(sizes.max()),
    )
