"""The stages cluster and sample on a large pool: `python -m benchmarks.stage_speed --rows 200000`.

As `selection_speed`, but the stages as the road runs them, with what they read, digest, judge and write: a project of
made vectors and texts in a temporary folder, the languages of params.yaml as targets. Each stage is a process of its
own, so that its peak memory is its own; `sample` runs once more when all is remembered.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from benchmarks.selection_speed import PARAMS, apart, make_pool
from compass_ops.corpus.records import SCHEMA
from compass_ops.selection.centring import language_means
from compass_ops.selection.vectors import vectors_file, write_means
from compass_ops.storage import write_array, write_json, write_table

STAGES = {
    "cluster": "--vectors build/embed --out build/cluster",
    "sample": "--records build/ingest --vectors build/embed --clusters build/cluster --base build/base.json "
    "--out build/sample",
}


@click.command()
@click.option("--rows", default=1_000_000, show_default=True)
@click.option("--clusters", default=100, show_default=True)
@click.option("--budget", default=10_000, show_default=True)
def main(rows: int, clusters: int, budget: int) -> None:
    """Print seconds and peak memory of each stage."""
    with tempfile.TemporaryDirectory(prefix="compass.") as work:
        targets = apart(make_project, Path(work), rows, clusters, budget)
        click.echo(f"{rows} rows x 384, {clusters} clusters, {len(targets)} targets, {budget} rows each")
        for name, stage in (("cluster", "cluster"), ("sample", "sample"), ("sample, remembered", "sample")):
            seconds, peak = timed(stage, Path(work))
            click.echo(f"{name:20} {seconds:6.1f} s  peak {peak:.2f} GiB")


def make_project(root: Path, rows: int, clusters: int, budget: int) -> list[str]:
    """Write params.yaml and what the stages before would have left; return the target languages."""
    params = yaml.safe_load(PARAMS.read_text("utf-8"))
    params["cluster"]["clusters"], params["sample"]["budget"] = clusters, budget
    (root / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")
    make_pool(root / "pool", rows)
    vectors, codes = np.load(root / "pool/pool.npy", mmap_mode="r"), np.load(root / "pool/languages.npy")
    texts = pq.read_table(root / "pool/texts.parquet")["prompt"]
    targets: list[str] = params["project"]["languages"]
    names = targets + [f"qa{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]  # tags for private use
    pool = {name: vectors[codes == code] for code, name in enumerate(names) if code <= codes.max()}
    write_means(root / "build/embed", language_means(pool))
    for code, (name, own) in enumerate(pool.items()):
        mine = np.flatnonzero(codes == code)
        _write(root, f"auxiliary/{name}", texts.take(pa.array(mine)), own)
        for role, file in (("target", "asked"), ("own", "own")) if name in targets else ():
            there = np.load(root / f"pool/{file}.npy")[code]
            _write(root, f"{role}/{name}", texts.take(pa.array(np.resize(mine, len(there)))), there)
    write_json(root / "build/ingest/languages.json", {name: {"status": "ok", "reason": None} for name in targets})
    write_json(root / "build/base.json", {})
    return targets


def _write(root: Path, place: str, texts: pa.ChunkedArray, vectors: NDArray[np.float32]) -> None:
    role, name = place.split("/")
    told = {"language": name, "role": role, "completion": "yes", "source": "made", "weight": 1.0}
    columns = {field.name: pa.array([told.get(field.name)] * len(texts), field.type) for field in SCHEMA}
    columns |= {"id": pa.array([f"{place}/{n}" for n in range(len(texts))]), "prompt": texts}
    write_table(root / "build/ingest" / f"{place}.parquet", pa.table(columns, schema=SCHEMA))
    write_array(vectors_file(root / "build/embed", role, name), vectors)


def timed(stage: str, root: Path) -> tuple[float, float]:
    """Run a stage in a process of its own; return its seconds and its peak memory in GiB."""
    command = [sys.executable, "-m", f"pipelines.{stage}", *STAGES[stage].split()]
    start = time.perf_counter()
    with subprocess.Popen(command, cwd=root, env=os.environ | {"PYTHONPATH": str(PARAMS.parent)}) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"Stage {stage} ended with {process.returncode}.")
    return time.perf_counter() - start, usage.ru_maxrss / 2**20


if __name__ == "__main__":
    main()
