"""Stage cluster: centroids of the pool, and every record's cluster."""

from dataclasses import asdict
from pathlib import Path

import click

from compass_ops.params import load_params
from compass_ops.seeding import generator
from compass_ops.selection.cluster import assign, fit_centroids, health
from compass_ops.selection.vectors import embedded_cells, read_means, read_pool_vectors, read_vectors
from compass_ops.storage import fresh_folder, write_array, write_json
from pipelines._stage import path_option, stage


@stage
@path_option("--vectors")
@path_option("--out")
def main(vectors: Path, out: Path) -> None:
    """Fit on the pool alone, so that one language's own data or target moves no other language's clusters."""
    params, means = load_params(), read_means(vectors)
    names = sorted(folder.name for folder in (vectors / "auxiliary").iterdir())
    pool, languages = read_pool_vectors(vectors, names, means)
    rng = generator(params.project.seed, "cluster")
    centroids = fit_centroids(pool, params.cluster, rng)
    with fresh_folder(out) as aside:
        write_array(aside / "centroids.npy", centroids)
        for role, language in embedded_cells(vectors):
            clusters = assign(read_vectors(vectors, role, language, means), centroids)
            write_array(aside / "assignments" / role / f"{language}.npy", clusters)
        found = health(pool, centroids, languages, rng, settings=params.cluster, centred=params.embed.centred)
        write_json(aside / "health.json", asdict(found))
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)


if __name__ == "__main__":
    main()
