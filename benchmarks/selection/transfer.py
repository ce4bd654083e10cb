"""LangRank's transfer matrix: an adapter per language of the pool, scored on every target's dev half."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from benchmarks.options import processes_option
from benchmarks.selection.scores import asked_accuracy
from benchmarks.selection.settings import Comparison, load_comparison
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
_CODE = (Path(__file__), Path(__file__).with_name("scores.py"))


@dataclass(frozen=True)
class Transfers:
    """An adapter per language of the pool: what each depends on, and how it is made; ``records`` are ingest's."""

    comparison: Comparison
    workshop: Workshop
    records: Path

    @cached_property
    def tests(self) -> dict[str, dict[str, pa.Table]]:
        """The dev half and the target prompts of every target language."""
        languages = self.workshop.params.project.languages
        return {
            role: {tag: read_table(self.records / role / f"{tag}.parquet") for tag in languages}
            for role in ("dev", "target")
        }

    def digests(self) -> dict[str, str]:
        """Digest what each adapter's scores depend on."""
        params, rows = self.workshop.params, self.comparison.transfer_rows
        shared = [*self.workshop.digests(), rows, *map(tree_digest, _CODE)]
        shared += [
            tree_digest(self.records / role / f"{tag}.parquet")
            for role in ("dev", "target")
            for tag in params.project.languages
        ]
        files = {file.stem: file for file in sorted((self.records / "auxiliary").glob("*.parquet"))}
        return {name: value_digest([tree_digest(file), shared, params.project.seed]) for name, file in files.items()}

    def make(self, language: str, folder: Path) -> None:
        """Write ``scores.json``: what an adapter trained on random rows of the language is worth on every target."""
        size, params = self.comparison.transfer_rows, self.workshop.params
        rows = _some(read_table(self.records / "auxiliary" / f"{language}.parquet"), size, language)
        seed = derived_seed(params.project.seed, "transfer", language)
        trained = self.workshop.run(rows, params.train.schedule.epochs, size, seed, self.tests["dev"])
        asked = self.tests["target"]
        write_json(folder / "scores.json", {tag: asked_accuracy(trained.items, tag, asked[tag]) for tag in asked})


@stage
@path_option("--records")
@path_option("--clusterings")
@path_option("--base")
@path_option("--out")
@processes_option
def main(records: Path, clusterings: Path, base: Path, out: Path, processes: int) -> None:
    """Train on random rows of one language at a time; targets are seen on dev alone."""
    comparison = load_comparison()
    if all(variant.strategy != "langrank" for variant in comparison.variants.values()):
        write_json(out / "matrix.json", None)  # nobody is trained on one
        return
    transfers = Transfers(comparison, Workshop(load_params(), read_json(base)), records)
    fan_out(("compare-transfer", FORMAT), transfers.digests(), transfers.make, out, MEMO, processes)
    clustering = clusterings / next(iter(transfers.comparison.clusterings))
    _write_matrix(out, records, clustering, list(transfers.tests["dev"]))


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
