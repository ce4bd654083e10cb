"""Clusterings of a data set's pool, one folder each: `vectors/` as clustered, `assignments/`, `centroids.npy`."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.selection.settings import Clustering, load_comparison
from compass_ops.params import load_params
from compass_ops.seeding import generator
from compass_ops.selection.centring import centred, language_means
from compass_ops.selection.cluster import assign, fit_centroids, health
from compass_ops.storage import fresh_folder, read_array, write_array, write_json
from pipelines._stage import path_option, stage


@stage
@path_option("--vectors")
@path_option("--out")
def main(vectors: Path, out: Path) -> None:
    """Fit every clustering on the pool alone."""
    seed, comparison = load_params().project.seed, load_comparison()
    with fresh_folder(out) as aside:
        for name, settings in comparison.clusterings.items():
            _write(vectors, settings, generator(seed, "cluster"), aside / name)


def _write(vectors: Path, settings: Clustering, rng: np.random.Generator, out: Path) -> None:
    pool = {file.stem: read_array(file) for file in sorted((vectors / "auxiliary").glob("*.npy"))}
    files = sorted(vectors.glob("*/*.npy"))
    means = language_means(pool, {file.stem for file in files})
    for file in files:
        raw = read_array(file)
        moved = centred(raw, means[file.stem]) if settings.centred else raw
        write_array(out / "vectors" / file.parent.name / file.name, moved)
    joined = np.concatenate([read_array(out / "vectors" / "auxiliary" / f"{name}.npy") for name in pool])
    centroids = fit_centroids(joined, settings.method, rng)
    write_array(out / "centroids.npy", centroids)
    for file in sorted((out / "vectors").glob("*/*.npy")):
        write_array(out / "assignments" / file.parent.name / file.name, assign(read_array(file), centroids))
    languages = np.concatenate([np.full(len(own), name) for name, own in pool.items()])
    write_json(out / "health.json", asdict(health(joined, centroids, languages, rng)))


if __name__ == "__main__":
    main()
