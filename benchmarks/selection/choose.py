"""What each variant chooses for each language and seed, with what can be said of it before training."""

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.options import processes_option
from benchmarks.reporting import code_digest
from benchmarks.selection.measures import duplicate_share, energy_distance, held_out
from benchmarks.selection.settings import Comparison, cells, load_comparison
from compass_ops.fanout import fan_out
from compass_ops.params import load_params
from compass_ops.seeding import generator
from compass_ops.selection.choose import choose, plan_record, with_reasons
from compass_ops.selection.problem import Items
from compass_ops.selection.subset import SelectionFiles
from compass_ops.selection.vectors import read_vectors
from compass_ops.storage import file_digest, value_digest, write_json, write_table
from pipelines._stage import MEMO, path_option, stage

FORMAT = 1
_HERE = Path(__file__)
CODE = (_HERE.parents[2] / "compass_ops" / "selection", _HERE, _HERE.with_name("measures.py"))


@dataclass(frozen=True)
class Chooser:
    """What all choices have in common.

    Attributes
    ----------
    comparison : Comparison
    records, vectors, clusterings, matrix : Path
        What the stages before left; ``vectors`` are the embedder's own, which distances are measured on.
    """

    comparison: Comparison
    records: Path
    vectors: Path
    clusterings: Path
    matrix: Path

    @cached_property
    def files(self) -> dict[str, SelectionFiles]:
        """The selection's files under each clustering."""
        return {
            name: SelectionFiles(self.records, self.clusterings / name / "vectors", self.clusterings / name)
            for name in self.comparison.clusterings
        }

    @cached_property
    def pool_vectors(self) -> NDArray[np.float32]:
        """The embedder's vectors of the pool, in the order of its rows."""
        names = sorted(folder.name for folder in (self.vectors / "auxiliary").iterdir())
        return np.concatenate([read_vectors(self.vectors, "auxiliary", name, {}) for name in names])

    def files_of(self, name: str) -> SelectionFiles:
        """Return the files that a variant chooses from."""
        return self.files[self.comparison.variants[name].clustering]

    def digests(self, languages: list[str]) -> dict[str, str]:
        """Digest what each cell's choice and its measures depend on, the code too."""
        code = [code_digest(place) if place.is_dir() else file_digest(place) for place in CODE]
        held = self.comparison.held_out
        found = {
            f"{name}/{tag}": self.files_of(name).digest(tag, self.comparison.sample(name, self.matrix))
            for name in self.comparison.variants
            for tag in languages
        }
        named = [cell.rpartition("/") for cell in cells(self.comparison, languages)]
        return {f"{own}/{seed}": value_digest([value_digest([found[own], code, held]), seed]) for own, _, seed in named}

    def make(self, cell: str, folder: Path) -> None:
        """Write ``subset.parquet``, ``plan.json`` and ``measures.json`` of a cell."""
        name, language, seed = cell.split("/")
        settings, files = self.comparison.sample(name, self.matrix), self.files_of(name)
        table, _ = files.pool  # read once for all cells: its time is no choice's
        start = time.perf_counter()
        whole = files.problem(language, settings)  # distances between languages are a part of a choice
        unseen = held_out(whole.target.texts, self.comparison.held_out)
        problem = replace(whole, target=_taken(whole.target, ~unseen))
        chosen, plan = choose(settings, problem, table, generator(int(seed), "comparison", language))
        seconds = time.perf_counter() - start
        own = files.rows("own", language)
        subset = pa.concat_tables([with_reasons(own, ["own data"] * len(own.clusters)), chosen])
        write_table(folder / "subset.parquet", subset)
        write_json(folder / "plan.json", plan_record(settings, problem, plan))
        write_json(folder / "measures.json", {"seconds": seconds} | self._measures(language, unseen, plan.rows))

    def _measures(self, language: str, unseen: NDArray[np.bool_], rows: NDArray[np.int64]) -> dict[str, float]:
        """Measure what would be trained on against the prompts that no strategy saw."""
        asked = read_vectors(self.vectors, "target", language, {})[unseen]
        chosen = self.pool_vectors[rows]
        trained = np.concatenate([read_vectors(self.vectors, "own", language, {}), chosen])
        return {"energy_distance": energy_distance(trained, asked), "duplicates": duplicate_share(chosen)}


@stage
@path_option("--records")
@path_option("--vectors")
@path_option("--clusterings")
@path_option("--matrix")
@path_option("--out")
@processes_option
def main(out: Path, processes: int, **inputs: Path) -> None:
    """Choose for every cell; a cell is remembered under its inputs and the code of selection."""
    chooser = Chooser(load_comparison(), **inputs)
    digests = chooser.digests(load_params().project.languages)
    fan_out(("compare-choose", FORMAT), digests, chooser.make, out, MEMO, processes)


def _taken(items: Items, mask: NDArray[np.bool_]) -> Items:
    texts = [text for text, kept in zip(items.texts, mask, strict=True) if kept]
    return Items(items.clusters[mask], texts, items.vectors[mask])


if __name__ == "__main__":
    main()
