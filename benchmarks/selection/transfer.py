"""LangRank's transfer matrix: an adapter per language of the pool, scored on every target's dev half."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.selection.scores import asked_accuracy
from benchmarks.selection.settings import load_comparison
from benchmarks.selection.train import Workshop
from compass_ops.fanout import fan_out
from compass_ops.params import load_params
from compass_ops.seeding import derived_seed, generator
from compass_ops.selection.distances import transfer_features
from compass_ops.selection.langrank import TransferMatrix, matrix_as_json
from compass_ops.selection.subset import SelectionFiles
from compass_ops.storage import read_json, read_table, tree_digest, value_digest, write_json
from pipelines._stage import MEMO, path_option, stage

FORMAT = 1


@stage
@path_option("--records")
@path_option("--clusterings")
@path_option("--base")
@path_option("--out")
def main(records: Path, clusterings: Path, base: Path, out: Path) -> None:
    """Train on random rows of one language at a time; targets are seen on dev alone."""
    params, comparison, pins = load_params(), load_comparison(), read_json(base)
    workshop = Workshop(params, pins)
    dev = {tag: read_table(records / "dev" / f"{tag}.parquet") for tag in params.project.languages}
    asked = {tag: read_table(records / "target" / f"{tag}.parquet") for tag in params.project.languages}

    def make(language: str, folder: Path) -> None:
        rows = _some(read_table(records / "auxiliary" / f"{language}.parquet"), comparison.transfer_rows, language)
        seed = derived_seed(params.project.seed, "transfer", language)
        trained = workshop.run(rows, params.train.schedule.epochs, comparison.transfer_rows, seed, dev)
        scores = {tag: asked_accuracy(trained.items, tag, asked[tag]) for tag in dev}
        write_json(folder / "scores.json", scores)

    shared = [pins["model"], params.train.model_dump(), params.base.separator, comparison.transfer_rows]
    shared += [tree_digest(records / half / f"{tag}.parquet") for half in ("dev", "target") for tag in dev]
    files = {file.stem: file for file in sorted((records / "auxiliary").glob("*.parquet"))}
    inputs = {name: value_digest([tree_digest(file), shared, params.project.seed]) for name, file in files.items()}
    fan_out(("compare-transfer", FORMAT), inputs, make, out, MEMO)
    _write_matrix(out, records, clusterings / next(iter(comparison.clusterings)), list(dev))


def _some(table: pa.Table, rows: int, language: str) -> pa.Table:
    order = generator(0, "transfer", language).permutation(table.num_rows)[:rows]
    return table.take(pa.array(np.sort(order)))


def _write_matrix(out: Path, records: Path, clustering: Path, targets: list[str]) -> None:
    files = SelectionFiles(records, clustering / "vectors", clustering)
    pool = files.pool[1]
    texts = {
        tag: [
            text
            for role in ("target", "own")
            for text in read_table(records / role / f"{tag}.parquet")["prompt"].to_pylist()
        ]
        for tag in targets
    }
    scores = [[read_json(out / name / "scores.json")[tag] for name in pool.names] for tag in targets]
    features = np.stack([transfer_features(tag, texts[tag], pool) for tag in targets])
    matrix = TransferMatrix(tuple(targets), pool.names, np.array(scores), features)
    write_json(out / "matrix.json", matrix_as_json(matrix))


if __name__ == "__main__":
    main()
