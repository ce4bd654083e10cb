"""Train and score every cell of the comparison; what is finished is kept, so that a stopped run goes on."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from benchmarks.options import processes_option
from benchmarks.selection.settings import WITHOUT_BUDGET, Comparison, cells, load_comparison
from benchmarks.selection.train import Workshop
from compass_ops.errors import DataFault
from compass_ops.evaluation.items import HALVES
from compass_ops.fanout import RECEIPT, fan_out
from compass_ops.params import load_params
from compass_ops.seeding import derived_seed
from compass_ops.storage import read_json, read_table, tree_digest, value_digest, write_json, write_table
from pipelines._stage import MEMO, path_option, stage

FORMAT = 2


@dataclass(frozen=True)
class Runs:
    """All cells: what each depends on, and how it is made; ``choices`` and ``records`` are what stages before left."""

    comparison: Comparison
    workshop: Workshop
    choices: Path
    records: Path

    def tests(self, language: str) -> dict[str, pa.Table]:
        """Return the halves of a language's test."""
        return {half: read_table(self.records / half / f"{language}.parquet") for half in HALVES}

    def digests(self) -> dict[str, str]:
        """Digest what each cell depends on: the texts that are trained on, not why they were chosen."""
        languages, shared = self.workshop.params.project.languages, self.workshop.digests()
        own = {tag: read_table(self.records / "own" / f"{tag}.parquet").num_rows for tag in languages}
        tests = {tag: [tree_digest(self.records / half / f"{tag}.parquet") for half in HALVES] for tag in languages}

        def digest(cell: str) -> str:
            _, language, seed = cell.split("/")
            length = self._length(cell, own[language])
            return value_digest([self._texts(cell), tests[language], length, seed, language, shared])

        return {cell: digest(cell) for cell in cells(self.comparison, languages)}

    def make(self, cell: str, folder: Path) -> None:
        """Write ``items.parquet`` and ``cost.json`` of a cell."""
        _, language, seed = cell.split("/")
        if (self.choices / cell / RECEIPT).exists():
            raise DataFault(cell, read_json(self.choices / cell / RECEIPT)["reason"])
        rows = read_table(self.choices / cell / "subset.parquet")
        own = read_table(self.records / "own" / f"{language}.parquet").num_rows
        seed_of_cell = derived_seed(int(seed), "comparison", language)
        trained = self.workshop.run(rows, *self._length(cell, own), seed_of_cell, self.tests(language))
        write_table(folder / "items.parquet", trained.items)
        write_json(folder / "cost.json", {"tokens": trained.tokens, "rows": trained.rows, "seconds": trained.seconds})

    def _length(self, cell: str, own: int) -> tuple[int, int]:
        """Return (epochs, rows at least) of a cell whose language has so many rows of its own."""
        if self.comparison.variants[cell.split("/")[0]].strategy == WITHOUT_BUDGET:
            return self.comparison.all_epochs, 0
        return self.workshop.params.train.schedule.epochs, own + self.comparison.budget

    def _texts(self, cell: str) -> str:
        file = self.choices / cell / "subset.parquet"
        if not file.exists():
            return cell
        rows = read_table(file)
        return value_digest([rows["prompt"].to_pylist(), rows["completion"].to_pylist()])


@stage
@path_option("--choices")
@path_option("--records")
@path_option("--base")
@path_option("--out")
@processes_option
def main(choices: Path, records: Path, base: Path, out: Path, processes: int) -> None:
    """Train on every choice with the same settings; a choice that is not new is not trained on again."""
    workshop = Workshop(load_params(), read_json(base))
    runs = Runs(load_comparison(), workshop, choices, records)
    fan_out(("compare-run", FORMAT), runs.digests(), runs.make, out, MEMO, processes)
    for language in workshop.params.project.languages:
        items = workshop.score(workshop.base.model, "base", runs.tests(language))
        write_table(out / "zero_shot" / language / "items.parquet", items)


if __name__ == "__main__":
    main()
