"""Stage cluster: centroids of the pool, and every record's cluster."""

from dataclasses import asdict
from pathlib import Path

import click
import numpy as np

from compass_ops.params import load_params
from compass_ops.seeding import generator
from compass_ops.selection.cluster import assign, fit_centroids, health
from compass_ops.storage import fresh_folder, read_array, write_array, write_json
from pipelines._stage import path_option, stage


@stage
@path_option("--vectors")
@path_option("--out")
def main(vectors: Path, out: Path) -> None:
    """Fit on the pool alone, so that one language's own data or target moves no other language's clusters."""
    params = load_params()
    files = sorted((vectors / "auxiliary").glob("*.npy"))
    pool = np.concatenate([read_array(file, mapped=True) for file in files])
    rng = generator(params.project.seed, "cluster")
    centroids = fit_centroids(pool, params.cluster, rng)
    languages = np.concatenate([np.full(len(read_array(file, mapped=True)), file.stem) for file in files])
    with fresh_folder(out) as aside:
        write_array(aside / "centroids.npy", centroids)
        for file in sorted(vectors.glob("*/*.npy")):
            clusters = assign(read_array(file, mapped=True), centroids)
            write_array(aside / "assignments" / file.parent.name / file.name, clusters)
        found = health(pool, centroids, languages, rng)
        write_json(aside / "health.json", asdict(found))
    for warning in found.warnings:
        click.echo(f"Warning: {warning}", err=True)


if __name__ == "__main__":
    main()
