"""The only door to scikit-learn: centroids of the pool, assignments, and how good they are."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import HDBSCAN, KMeans
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, silhouette_score

from compass_ops.errors import ModelError, ParamsError
from compass_ops.selection.problem import spread
from compass_ops.selection.validity import density_validity
from compass_ops.selection_sections import HdbscanParams, KMeansParams

_BLOCK = 65_536  # rows assigned at once: bounds memory, keeps the matrix product large
_COLUMNS = 20  # HDBSCAN and DBCV compare densities, which mean little in more dimensions
_JUDGED = 5_000  # rows: the silhouette is quadratic in them
_DENSE = 2_000  # rows: DBCV keeps all their distances
_RESAMPLES = 3

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Health:
    """How good a clustering is.

    Attributes
    ----------
    clusters : int
        K.
    silhouette : float
        Mean silhouette of a sample of rows, in [-1, 1]; higher is better separated.
    density_validity : float
        DBCV of a sample of rows, in [-1, 1]; like the silhouette for clusters that are not round.
    stability : float
        Mean adjusted Rand index of pairs of K-Means of as many clusters, each fitted on a half of as many rows as the
        centroids were, at most 1; 0 is chance. With HDBSCAN a figure of the vectors, not of its own clusters.
    language_ami : float
        Adjusted mutual information of cluster and language over the lesser entropy, at most 1: a cluster tells the
        language, or the language the cluster. About 0 is chance: clusters are topics. 0 for a single language.
    smallest, largest : int
        Rows in the smallest and the largest cluster of the pool.
    warnings : tuple of str
        What of this is bad, in words, and what to do.
    """

    clusters: int
    silhouette: float
    density_validity: float
    stability: float
    language_ami: float
    smallest: int
    largest: int
    warnings: tuple[str, ...]


def fit_centroids(vectors: Vectors, settings: KMeansParams | HdbscanParams, rng: np.random.Generator) -> Vectors:
    """Fit spherical centroids on a sample of the pool.

    Parameters
    ----------
    vectors : float32 (n, d), unit rows
    settings : KMeansParams or HdbscanParams
        Where K-Means has several numbers of clusters, that of the largest silhouette is taken, as in the paper.
    rng : numpy.random.Generator

    Returns
    -------
    float32 (K, d), unit rows.

    Raises
    ------
    ParamsError
        If there are fewer distinct rows than clusters, or HDBSCAN finds fewer than two clusters.
    ModelError
        If a vector is not finite.
    """
    rows = settings.fit_rows
    sample = np.asarray(vectors if len(vectors) <= rows else vectors[_some(len(vectors), rows, rng)])
    if bad := int((~np.isfinite(sample).all(axis=1)).sum()):
        raise ModelError(f"{bad} vectors of the pool are not finite. Run `dvc repro -f embed`, or change the embedder.")
    seed = int(rng.integers(2**31))
    if isinstance(settings, HdbscanParams):
        return _dense_centroids(sample, settings)
    choices = [settings.clusters] if isinstance(settings.clusters, int) else settings.clusters
    distinct = _distinct(sample, max(choices))
    if distinct < max(choices):
        raise ParamsError(
            f"params.yaml: cluster.clusters is {max(choices)}, but of the {len(sample)} rows that are fitted on only "
            f"{distinct} differ. Lower it, or add auxiliary data."
        )
    fitted = [_k_means(sample, count, seed) for count in choices]
    return (
        fitted[0] if len(fitted) == 1 else max(fitted, key=lambda own: _silhouette(sample, assign(sample, own), seed))
    )


def assign(vectors: Vectors, centroids: Vectors) -> NDArray[np.int32]:
    """Return int32 (n,): the centroid with the largest cosine for each unit row.

    Raises
    ------
    ModelError
        If a vector is not finite.
    """
    nearest = np.zeros(len(vectors), np.int32)
    for start in range(0, len(vectors), _BLOCK):
        cosines = vectors[start : start + _BLOCK] @ centroids.T
        part = np.argmax(cosines, axis=1)  # NaN is the largest to argmax
        if bad := int((~np.isfinite(cosines[np.arange(len(part)), part])).sum()):
            raise ModelError(f"{bad} vectors are not finite. Run `dvc repro -f embed`, or change the embedder.")
        nearest[start : start + _BLOCK] = part
    return nearest


def health(
    vectors: Vectors,
    centroids: Vectors,
    languages: NDArray[np.str_],
    rng: np.random.Generator,
    *,
    settings: KMeansParams | HdbscanParams,
    centred: bool,
) -> Health:
    """Judge a clustering of the pool on samples of it.

    Parameters
    ----------
    vectors : float32 (n, d), unit rows
    centroids : float32 (K, d)
    languages : str (n,)
    rng : numpy.random.Generator
    settings : KMeansParams or HdbscanParams
        Of the centroids: the stability is that of as many rows, and what to do about a warning differs by kind.
    centred : bool
        Whether vectors are without their language's mean: what to do about clusters of languages depends on it.
    """
    clusters, count = assign(vectors, centroids), len(centroids)
    rows = _some(len(vectors), _JUDGED, rng)
    sizes = np.bincount(clusters, minlength=count)
    few = spread(rows, _DENSE)
    figures = {
        "silhouette": _silhouette(vectors[rows], clusters[rows], int(rng.integers(2**31))),
        "density_validity": density_validity(_reduced(vectors[few]), clusters[few]),
        "stability": _stability(vectors[_some(len(vectors), settings.fit_rows, rng)], count, rng),
        "language_ami": _shared(languages[rows], clusters[rows]),
    }
    warnings = _warnings(sizes, figures, settings, centred=centred)
    return Health(count, **figures, smallest=int(sizes.min()), largest=int(sizes.max()), warnings=warnings)


def _some(count: int, most: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return np.sort(rng.choice(count, min(count, most), replace=False))


def _distinct(vectors: Vectors, enough: int) -> int:
    """Count the rows that differ, up to ``enough``."""
    seen: set[bytes] = set()
    for row in vectors:
        seen.add(row.tobytes())
        if len(seen) == enough:
            break
    return len(seen)


def _unit(centroids: NDArray[np.floating]) -> Vectors:
    return (centroids / np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def _k_means(sample: Vectors, count: int, seed: int) -> Vectors:
    return _unit(KMeans(count, random_state=seed).fit(sample).cluster_centers_)


def _dense_centroids(sample: Vectors, settings: HdbscanParams) -> Vectors:
    """Return the means of HDBSCAN's clusters; what it calls noise is assigned to the nearest, as all rows are."""
    if len(sample) < settings.smallest:
        raise ParamsError(
            f"params.yaml: cluster.smallest is {settings.smallest}, but the pool has {len(sample)} rows. Lower it, or "
            "add auxiliary data."
        )
    found = HDBSCAN(min_cluster_size=settings.smallest, copy=True).fit_predict(_reduced(sample))
    count = int(found.max()) + 1
    if count < 2:
        raise ParamsError(
            f"params.yaml: cluster.smallest is {settings.smallest}, and HDBSCAN finds {count} clusters of that size "
            f"among {len(sample)} rows. Lower it, or choose kind kmeans."
        )
    return _unit(np.stack([sample[found == cluster].mean(axis=0) for cluster in range(count)]))


def _reduced(vectors: Vectors) -> NDArray[np.float64]:
    """Return the first principal components, float64 (n, at most 20)."""
    moved = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, axes = np.linalg.eigh(moved.T @ moved)  # by rising variance
    return np.asarray(moved @ axes[:, -_COLUMNS:])


def _silhouette(vectors: Vectors, clusters: NDArray[np.int32], seed: int) -> float:
    """Return the mean silhouette of at most 5,000 rows, 0 where one cluster holds all of them or each holds one."""
    rows = _some(len(vectors), _JUDGED, np.random.default_rng(seed))
    if not 1 < len(np.unique(clusters[rows])) < len(rows):
        return 0.0
    return float(silhouette_score(vectors[rows], clusters[rows]))


def _stability(vectors: Vectors, count: int, rng: np.random.Generator) -> float:
    """Return the mean adjusted Rand index, over all rows, of K-Means fitted on one half and on the other."""
    scores = []
    for _ in range(_RESAMPLES):
        order = rng.permutation(len(vectors))
        halves = [vectors[part] for part in np.array_split(order, 2)]
        if min(_distinct(half, count) for half in halves) < count:
            return 0.0
        seed = int(rng.integers(2**31))
        first, second = (assign(vectors, _k_means(half, count, seed)) for half in halves)
        scores.append(adjusted_rand_score(first, second))
    return float(np.mean(scores))


def _shared(languages: NDArray[np.str_], clusters: NDArray[np.int32]) -> float:
    """Return the adjusted mutual information over the lesser entropy.

    The mean of both, as is usual, would hide that each of a hundred clusters holds one of two languages: .26.
    """
    if len(np.unique(languages)) == 1:
        return 0.0
    return float(adjusted_mutual_info_score(languages, clusters, average_method="min"))


def _warnings(
    sizes: NDArray[np.int64], figures: Mapping[str, float], settings: KMeansParams | HdbscanParams, *, centred: bool
) -> tuple[str, ...]:
    if isinstance(settings, HdbscanParams):  # whose number of clusters follows from the rows of the smallest
        changing, fewer = "K-Means of as many clusters changes with the rows it is", "Raise cluster.smallest"
        other, more = "cluster.smallest", "Lower cluster.smallest"
    else:
        changing, fewer = "Clusters change with the rows they are", "Ask for fewer clusters"
        other, more = "K", "Raise cluster.clusters"
    empty, stability, language_ami = int((sizes == 0).sum()), figures["stability"], figures["language_ami"]
    or_else = "raise cluster.fit_rows" if settings.fit_rows < sizes.sum() else "add auxiliary data"
    first = "Use" if centred else "Set embed.centred: true, or use"
    told = (
        (empty > 0, f"{empty} of {len(sizes)} clusters hold no row of the pool: nothing can be drawn there. {fewer}."),
        (
            stability < 0.3,
            f"{changing} fitted on (adjusted Rand index {stability:.2f}): quotas follow chance. {fewer}, or {or_else}.",
        ),
        (
            max(figures["silhouette"], figures["density_validity"]) < 0,
            f"Rows are no nearer to their own cluster than to others (silhouette {figures['silhouette']:.2f}, DBCV "
            f"{figures['density_validity']:.2f}): what a cluster asks for is hardly told apart. Try another {other}.",
        ),
        (
            language_ami > 0.3,
            f"Clusters follow languages (adjusted mutual information {language_ami:.2f}): a gap there is a gap of "
            f"languages, not of topics. {first} an embedder that knows these languages.",
        ),
        (
            sizes.max() > 0.5 * sizes.sum(),
            f"One cluster holds {sizes.max() / sizes.sum():.0%} of the pool: the plan says little. {more}.",
        ),
    )
    return tuple(sentence for bad, sentence in told if bad)
