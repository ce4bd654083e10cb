"""Clusterings of a data set's pool, one folder each: `vectors/` as clustered, `assignments/`, `centroids.npy`."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.selection.settings import Clustering, load_comparison
from compass_ops.params import load_params
from compass_ops.seeding import generator
from compass_ops.selection.centring import language_means
from compass_ops.selection.cluster import assign, fit_centroids, health
from compass_ops.selection.vectors import embedded_cells, read_vectors, vectors_file
from compass_ops.storage import fresh_folder, write_array, write_json
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
    names = sorted(folder.name for folder in (vectors / "auxiliary").iterdir())
    raw = {name: read_vectors(vectors, "auxiliary", name, {}) for name in names}
    means = language_means(raw) if settings.centred else {}
    for role, language in embedded_cells(vectors):
        moved = read_vectors(vectors, role, language, means)
        write_array(vectors_file(out / "vectors", role, language), moved)
    joined = np.concatenate([read_vectors(out / "vectors", "auxiliary", name, {}) for name in names])
    centroids = fit_centroids(joined, settings.method, rng)
    write_array(out / "centroids.npy", centroids)
    for role, language in embedded_cells(out / "vectors"):
        clusters = assign(read_vectors(out / "vectors", role, language, {}), centroids)
        write_array(out / "assignments" / role / f"{language}.npy", clusters)
    languages = np.repeat(names, [len(raw[name]) for name in names])
    found = health(joined, centroids, languages, rng, settings=settings.method, centred=settings.centred)
    write_json(out / "health.json", asdict(found))


if __name__ == "__main__":
    main()
