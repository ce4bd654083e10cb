"""How far a window lies from a reference: four statistics on one set of permutations (METHOD.md 4.1, 4.4).

Whatever is fitted (centroids, bandwidth, novelty radius) comes from rows that are compared with nothing. Fitted on
the reference itself, the novelty test alarmed in most rounds without drift (DESIGN.md 6).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compass_ops.monitoring.permutation import DECIMALS, FloatArray, window_sums

DIVERGENCE, MMD, NOVELTY, MIX = STATISTICS = ("divergence", "mmd", "novelty", "mix")
_FITTED_ON = 1000  # rows whose pairwise distances give the bandwidth


@dataclass(frozen=True)
class Lens:
    """What rows are seen through.

    Attributes
    ----------
    centroids : float32 (K, d), unit rows
    frequencies : float32 (d, m)
        Random frequencies of a Gaussian kernel (Rahimi and Recht 2007); each gives a cosine and a sine.
    radius : float
        Distance to the nearest centroid beyond which a row is new.
    """

    centroids: NDArray[np.float32]
    frequencies: NDArray[np.float32]
    radius: float


@dataclass(frozen=True)
class Sample:
    """Rows of one language.

    Attributes
    ----------
    vectors : float32 (n, d), unit rows
    scripts : str (n,)
        Script of each text.
    blocks : int64 (n,)
        Equal for rows that were asked in one session; they are permuted together.
    """

    vectors: NDArray[np.float32]
    scripts: NDArray[np.str_]
    blocks: NDArray[np.int64]

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return len(np.unique(self.blocks))

    @property
    def has_sessions(self) -> bool:
        """Whether any session has more than one row."""
        return self.sessions < len(self.blocks)


@dataclass(frozen=True)
class Measured:
    """One language's statistics, in the order of ``STATISTICS``; column 0 is observed, the others are permuted.

    Attributes
    ----------
    values : float64 (4, permutations + 1)
        Divergence and mix: Jensen-Shannon divergence of the shares of clusters and of scripts, in nats. MMD: the
        squared maximum mean discrepancy, in [0, 2]. Novelty: the window's share of rows beyond the radius.
    scores : float64 (4, permutations + 1)
        What is tested: square roots, and for novelty the difference of both samples' arcsines of roots. Their
        tails are near the normal's, so that no statistic sets the threshold of all others in a max-T.
    effects : float64 (4,)
        Value less its mean under permutation (can be negative); novelty: ratio of the window's share to the
        reference's, half of one row in both samples' rows added to each, so that none in either is a ratio of 1.
    """

    values: FloatArray
    scores: FloatArray
    effects: FloatArray


def fit_lens(
    centroids: NDArray[np.float32],
    fitting: NDArray[np.float32],
    shape: tuple[int, float],
    rng: np.random.Generator,
) -> Lens:
    """Fit what is to be fitted on rows that take no part in the comparison.

    Parameters
    ----------
    centroids : float32 (K, d), unit rows
    fitting : float32 (n, d), unit rows, n >= 1
    shape : (features, quantile)
        Random features, an even number: half of them cosines. Quantile in (0, 1) of the distances to the nearest
        centroid that is the radius.
    rng : numpy.random.Generator

    Returns
    -------
    Lens
        Kernel exp(-|x - y|^2 / (2 s^2)), s the median distance between two different rows; s = 1, the order of
        any distance between unit rows, if all are equal.
    """
    features, quantile = shape
    chosen = fitting[rng.permutation(len(fitting))[:_FITTED_ON]].astype(np.float64)
    squared = np.maximum(2 - 2 * chosen @ chosen.T, 0.0)
    apart = squared[squared > 10.0**-6]
    scale = float(np.sqrt(np.median(apart))) if apart.size else 1.0
    frequencies = rng.standard_normal((fitting.shape[1], features // 2)) / scale
    radius = float(np.quantile(_distances(fitting, centroids)[0], quantile))
    return Lens(centroids, frequencies.astype(np.float32), radius)


def comparable(reference: Sample, window: Sample, rng: np.random.Generator) -> tuple[Sample, Sample]:
    """Return what of both samples can be permuted between them.

    Whole sessions and single rows are not exchangeable: a permuted window of as many of either has another number of
    rows than the observed one, and the test sees next to nothing. So where one sample alone has sessions, or those of
    one are more than twice as long on average, one row of each, chosen at random, stands for it. Otherwise both samples
    are returned as they are. Lengths of sessions alone decide, which the permutations leave as they are.

    Parameters
    ----------
    reference, window : Sample
    rng : numpy.random.Generator
    """
    lengths = [len(sample.blocks) / max(1, sample.sessions) for sample in (reference, window)]
    if reference.has_sessions == window.has_sessions and max(lengths) <= 2 * min(lengths):
        return reference, window
    return _one_per_session(reference, rng), _one_per_session(window, rng)


def _one_per_session(sample: Sample, rng: np.random.Generator) -> Sample:
    if not sample.has_sessions:
        return sample
    order = rng.permutation(len(sample.blocks))
    _, first = np.unique(sample.blocks[order], return_index=True)
    chosen = np.sort(order[first])
    return Sample(sample.vectors[chosen], sample.scripts[chosen], sample.blocks[chosen])


def measure(reference: Sample, window: Sample, lens: Lens, permutations: int, rng: np.random.Generator) -> Measured:
    """Compare a window with a reference, as they are and with their blocks permuted.

    Parameters
    ----------
    reference, window : Sample
        With at least one row each; their block numbers are their own.
    lens : Lens
    permutations : int
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If a sample is empty or a vector not finite.
    """
    names, codes = np.unique(np.concatenate([reference.scripts, window.scripts]), return_inverse=True)
    split = len(reference.scripts)
    parts = [
        _block_features(sample, lens, np.eye(len(names))[own])
        for sample, own in ((reference, codes[:split]), (window, codes[split:]))
    ]
    features = np.concatenate(parts)
    after = window_sums(features, (len(parts[0]), len(parts[1])), permutations, rng)
    widths = np.cumsum([1, 1, len(lens.centroids), 2 * lens.frequencies.shape[1]])
    return _measured(np.split(after, widths, axis=1), np.split(features.sum(0) - after, widths, axis=1))


def jensen_shannon(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the Jensen-Shannon divergence of histograms along the last axis.

    Parameters
    ----------
    first, second : float64 or int64 (..., K), >= 0, every histogram with a positive sum
        Shapes may broadcast.

    Returns
    -------
    float64 (...)
        In nats, in [0, ln 2]. Not the square root, which SciPy and Evidently call by the same name.

    Raises
    ------
    ValueError
        If a count is negative or a histogram empty.
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape[-1:] != second.shape[-1:] or not first.shape[-1]:
        raise ValueError(f"histograms must have the same clusters; got shapes {first.shape} and {second.shape}.")
    if min(first.min(), second.min()) < 0 or min(first.sum(-1).min(), second.sum(-1).min()) == 0:
        raise ValueError("a histogram must have counts >= 0 and at least one row.")
    p, q = (counts / counts.sum(axis=-1, keepdims=True) for counts in (first, second))
    return np.clip(_entropy((p + q) / 2) - (_entropy(p) + _entropy(q)) / 2, 0.0, np.log(2.0))


def _entropy(p: FloatArray) -> FloatArray:
    return np.asarray(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1))


def _distances(vectors: NDArray[np.float32], centroids: NDArray[np.float32]) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return for each row the distance to its nearest centroid, float64 (n,), and that centroid's number."""
    cosines = vectors @ centroids.T
    nearest = np.argmax(cosines, axis=1)
    largest = np.take_along_axis(cosines, nearest[:, None], axis=1)[:, 0].astype(np.float64)
    return np.sqrt(np.maximum(2 - 2 * largest, 0.0)), nearest


def _block_features(sample: Sample, lens: Lens, scripts: FloatArray) -> FloatArray:
    """Return what is summed per block: rows, rows beyond the radius, rows per cluster, random features, scripts."""
    if not len(sample.vectors) or not np.isfinite(sample.vectors).all():
        raise ValueError(f"a sample must have finite vectors and at least one; got shape {sample.vectors.shape}.")
    distances, nearest = _distances(sample.vectors, lens.centroids)
    angles = (sample.vectors @ lens.frequencies).astype(np.float64)
    rows = np.hstack(
        [
            np.ones((len(distances), 1)),
            (distances > lens.radius)[:, None],
            np.eye(len(lens.centroids))[nearest],
            np.cos(angles),
            np.sin(angles),
            scripts,
        ]
    )
    blocks, numbers = np.unique(sample.blocks, return_inverse=True)
    if len(blocks) == len(rows):
        return rows
    summed = np.zeros((len(blocks), rows.shape[1]))
    np.add.at(summed, numbers, rows)
    return summed


def _measured(after: list[FloatArray], before: list[FloatArray]) -> Measured:
    """Turn sums over the window and over the reference into statistics, permutation by permutation."""
    sizes = after[0], before[0]
    shares = [part[1] / size for part, size in zip((after, before), sizes, strict=True)]
    means = after[3] / sizes[0] - before[3] / sizes[1]
    kernels = after[3].shape[1] // 2
    values = np.array(
        [
            jensen_shannon(after[2], before[2]),
            (means**2).sum(axis=1) / kernels,
            shares[0][:, 0],
            jensen_shannon(after[4], before[4]),
        ]
    ).round(DECIMALS)
    scores = np.sqrt(values)
    scores[2] = (np.arcsin(np.sqrt(shares[0])) - np.arcsin(np.sqrt(shares[1])))[:, 0].round(DECIMALS)
    effects = values[:, 0] - values[:, 1:].mean(axis=1)
    new, old = shares[0][0, 0], shares[1][0, 0]
    half_a_row = 0.5 / (sizes[0][0, 0] + sizes[1][0, 0])
    effects[2] = (new + half_a_row) / (old + half_a_row)
    return Measured(values, scores, effects)
