"""Clustering and selection on a large pool: `python -m benchmarks.selection_speed`.

A pool of 1,000,000 x 384 unit vectors (memory-mapped), 100 clusters, 20 target languages, 10,000 rows each. The
project's way (K-Means on a sample, blocked assignment, the default strategy `compass_plus` for every language, with the
n-grams of texts that its affinity needs) against the obvious script (`KMeans` with scikit-learn's defaults on the whole
pool, and a loop over languages and clusters). Each runs in a process of its own, alternating, so that its peak memory
is its own; both end with the centroids, whose inertia over the whole pool is compared. Vectors are made, not embedded:
embedding is another job.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

COLUMNS, TARGETS, ASKED, OWN = 384, 20, 300, 500
TOPICS, WORDS = 150, 12
PARAMS = Path(__file__).parents[1] / "params.yaml"

Made = TypeVar("Made")


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--clusters", default=100, show_default=True)
@click.option("--budget", default=10_000, show_default=True)
@click.option(
    "--rounds", default=2, show_default=True, help="Runs of each way, alternating; the fastest of each counts."
)
def main(rows: int, clusters: int, budget: int, rounds: int) -> None:
    """Print seconds, peak memory and inertia of both ways, and how the project's time grows with the pool."""
    with tempfile.TemporaryDirectory(prefix="compass.") as work:
        whole, tenth = Path(work) / "whole", Path(work) / "tenth"
        apart(make_pool, whole, rows)
        apart(make_pool, tenth, rows // 10)
        found: dict[str, list[dict[str, float]]] = {"ours": [], "obvious": []}
        for _ in range(rounds):
            for name in ("ours", "obvious"):
                found[name].append(apart(_timed, name, whole, clusters, budget))
        small = apart(_timed, "ours", tenth, clusters, budget // 10)
    ours, obvious = (min(runs, key=lambda run: run["seconds"]) for runs in (found["ours"], found["obvious"]))
    for name, run in (("ours", ours), ("obvious", obvious)):
        figures = f"{run['seconds']:8.1f} s  peak {run['peak_gib']:.2f} GiB  inertia per row {run['inertia']:.4f}"
        click.echo(f"{name:8} {figures}")
    faster, worse = obvious["seconds"] / ours["seconds"], ours["inertia"] / obvious["inertia"] - 1
    click.echo(f"{faster:.1f} times faster; inertia {worse:+.2%}")
    click.echo(f"a tenth of the pool: {small['seconds']:.1f} s, a factor of {ours['seconds'] / small['seconds']:.1f}")


def apart(make: Callable[..., Made], *arguments: Any) -> Made:
    """Call a function in a process of its own: a process begins with the peak memory of the one that started it."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(make, *arguments).result()


def make_pool(folder: Path, rows: int) -> None:
    """Write vectors near random topic centres, their languages, and the targets' and own vectors."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((TOPICS, COLUMNS)).astype(np.float32)
    shape = (rows, COLUMNS)
    vectors = np.lib.format.open_memmap(folder / "pool.npy", "w+", np.float32, shape)
    for start in range(0, rows, 50_000):
        count = min(50_000, rows - start)
        vectors[start : start + count] = _near(centres, rng.integers(0, TOPICS, count), rng)
    vectors.flush()
    languages = rng.integers(0, TARGETS + 5, rows).astype(np.int32)
    np.save(folder / "languages.npy", languages)
    pq.write_table(pa.table({"prompt": _texts(languages, rng)}), folder / "texts.parquet")
    for name, count in (("asked", ASKED), ("own", OWN)):
        weights = rng.dirichlet(np.full(TOPICS, 0.1), TARGETS)
        topics = [rng.choice(TOPICS, count, p=own) for own in weights]
        np.save(folder / f"{name}.npy", np.stack([_near(centres, own, rng) for own in topics]))


def _texts(languages: NDArray[np.int32], rng: np.random.Generator) -> list[str]:
    """Return a text for each row: words out of a hundred of its language's own."""
    lexicons = [["".join(map(chr, rng.integers(97, 123, 6))) for _ in range(100)] for _ in range(TARGETS + 5)]
    words = rng.integers(0, 100, (len(languages), WORDS)).tolist()
    return [" ".join([lexicons[code][word] for word in row]) for code, row in zip(languages, words, strict=True)]


def _near(centres: NDArray[np.float32], topics: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.float32]:
    moved = centres[topics] + 2 * rng.standard_normal((len(topics), COLUMNS), dtype=np.float32)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)


def _timed(way: str, folder: Path, clusters: int, budget: int) -> dict[str, float]:
    if way == "ours":  # what a stage has imported is not what is timed
        from compass_ops import params as _params  # noqa: F401
        from compass_ops.selection import cluster as _cluster  # noqa: F401
        from compass_ops.selection import distances as _distances  # noqa: F401
    else:
        import sklearn.cluster as _sklearn  # noqa: F401
    start = time.perf_counter()
    centroids, chosen = (_ours if way == "ours" else _obvious)(folder, clusters, budget)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if any(len(rows) != budget for rows in chosen):
        raise click.ClickException(f"{way} did not draw the budget")
    return {"seconds": seconds, "peak_gib": peak, "inertia": _inertia(folder, centroids)}


def _ours(folder: Path, clusters: int, budget: int) -> tuple[NDArray[np.float32], list[Any]]:
    from compass_ops.params import load_params
    from compass_ops.selection.cluster import assign, fit_centroids
    from compass_ops.selection.compass_plus import compass_plus
    from compass_ops.selection.distances import language_distances
    from compass_ops.selection.problem import Held, Items, Pool, Problem

    vectors = np.load(folder / "pool.npy", mmap_mode="r")
    rng = np.random.default_rng(0)
    params = load_params(PARAMS)
    centroids = fit_centroids(vectors, params.cluster.model_copy(update={"clusters": clusters}), rng)
    costs = np.ones(len(vectors), np.int64)
    names = tuple(f"l{code}" for code in range(TARGETS + 5))
    languages = np.load(folder / "languages.npy")
    texts = pq.read_table(folder / "texts.parquet")["prompt"].to_pylist()
    pool = Pool(assign(vectors, centroids), texts, costs, vectors, languages, names)
    parts = params.sample.compass_plus
    choose = compass_plus(parts)
    chosen = []
    for code, (asked, own) in enumerate(zip(np.load(folder / "asked.npy"), np.load(folder / "own.npy"), strict=True)):
        target = Items(assign(asked, centroids), [], asked)
        held = Held(assign(own, centroids), [], costs[: len(own)])
        mine = [texts[row] for row in np.flatnonzero(languages == code)[:ASKED]]
        distances = language_distances(parts.distance, names[code], mine, pool)
        problem = Problem(names[code], target, held, pool, clusters, budget, distances)
        chosen.append(choose(problem, rng).rows)
    return centroids, chosen


def _obvious(folder: Path, clusters: int, budget: int) -> tuple[NDArray[np.float32], list[Any]]:
    from sklearn.cluster import KMeans

    vectors, languages = np.load(folder / "pool.npy"), np.load(folder / "languages.npy")
    fitted = KMeans(clusters, random_state=0).fit(vectors)
    rng = np.random.default_rng(0)
    chosen = []
    for code, (asked, own) in enumerate(zip(np.load(folder / "asked.npy"), np.load(folder / "own.npy"), strict=True)):
        p, q = (np.bincount(fitted.predict(x), minlength=clusters) / len(x) for x in (asked, own))
        gap = np.maximum(0, p - q)
        rows: list[Any] = []
        for cluster in range(clusters):
            there = np.where((fitted.labels_ == cluster) & (languages != code))[0]
            rows += list(rng.choice(there, min(len(there), int(budget * gap[cluster] / gap.sum())), replace=False))
        rest = np.setdiff1d(np.where(np.isin(fitted.labels_, np.where(gap > 0)[0]) & (languages != code))[0], rows)
        rows += list(rng.choice(rest, budget - len(rows), replace=False))
        chosen.append(rows)
    return fitted.cluster_centers_, chosen


def _inertia(folder: Path, centroids: NDArray[np.float32]) -> float:
    """Return the mean squared distance of the pool's rows to the means of their clusters, nearest by centroid.

    Both ways are measured alike: rows go to the nearest direction, and each cluster's own mean is its centre.
    """
    from compass_ops.selection.cluster import assign

    vectors = np.load(folder / "pool.npy", mmap_mode="r")
    unit = (centroids / np.linalg.norm(centroids, axis=1, keepdims=True)).astype(np.float32)
    clusters = assign(vectors, unit)
    sums = np.zeros((len(unit), vectors.shape[1]))
    for start in range(0, len(vectors), 50_000):
        block, own = vectors[start : start + 50_000], clusters[start : start + 50_000]
        for cluster in np.unique(own):
            sums[cluster] += block[own == cluster].sum(axis=0, dtype=np.float64)
    counts = np.maximum(1, np.bincount(clusters, minlength=len(unit)))
    return float(1 - (np.square(sums).sum(axis=1) / counts).sum() / len(vectors))


if __name__ == "__main__":
    main()
