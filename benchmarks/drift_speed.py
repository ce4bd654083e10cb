"""Time and memory of one drift round: 200 languages, 400 rows against 2,000, 999 permutations.

python -m benchmarks.drift_speed
"""

import os
import resource
import time

import numpy as np
from numpy.typing import NDArray

from compass_ops.monitoring.drift import Compared, DriftSettings, Histograms, judge
from compass_ops.monitoring.measures import Sample, fit_lens, measure
from compass_ops.params import load_params

LANGUAGES, WINDOW, REFERENCE, FITTING, DIMENSIONS, CLUSTERS = 200, 400, 2000, 500, 384, 30


def _unit(rng: np.random.Generator, rows: int) -> NDArray[np.float32]:
    vectors = rng.standard_normal((rows, DIMENSIONS), dtype=np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _sample(rng: np.random.Generator, rows: int) -> Sample:
    return Sample(_unit(rng, rows), rng.choice(["LATIN", "ARABIC"], rows, p=[0.95, 0.05]), np.arange(rows))


def main() -> None:
    """Print seconds and the largest memory; the making of the random rows does not count."""
    settings = DriftSettings(**load_params().drift.model_dump(exclude={"harm"}))
    rng = np.random.default_rng(0)
    centroids = _unit(rng, CLUSTERS)
    compared, seconds = {}, 0.0
    for number in range(LANGUAGES):
        reference, window, fitting = _sample(rng, REFERENCE), _sample(rng, WINDOW), _unit(rng, FITTING)
        start = time.perf_counter()
        lens = fit_lens(centroids, fitting, (settings.random_features, settings.novelty_quantile), rng)
        measured = measure(reference, window, lens, settings.permutations, rng)
        seconds += time.perf_counter() - start
        counts = Histograms(np.array([REFERENCE]), np.array([WINDOW]))
        compared[f"l{number}"] = Compared(counts, (WINDOW, REFERENCE), measured)
    start = time.perf_counter()
    found = judge(compared, settings)
    seconds += time.perf_counter() - start
    flagged = sum(one.verdict == "drift" for one in found.values())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"{LANGUAGES} languages, {WINDOW} rows against {REFERENCE}, {settings.permutations} permutations, "
        f"{DIMENSIONS} dimensions, {os.cpu_count()} cores: {seconds:.1f} s, {memory:.2f} GiB; {flagged} flagged"
    )


if __name__ == "__main__":
    main()
