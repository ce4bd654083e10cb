"""Run every cell, method x language x seed; what is finished is kept, so that a stopped run goes on."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa

from benchmarks.continual.chain import Stream, Workshop
from benchmarks.continual.settings import Comparison, load_comparison
from benchmarks.continual.stream import draw_stream
from benchmarks.options import processes_option
from benchmarks.reporting import code_digest
from compass_ops.evaluation.items import HALVES
from compass_ops.fanout import fan_out
from compass_ops.params import load_params
from compass_ops.seeding import generator
from compass_ops.selection.choose import Rows, with_reasons
from compass_ops.storage import read_array, read_json, read_table, tree_digest, value_digest
from pipelines._stage import MEMO, path_option, stage

FORMAT = 2
_HERE = Path(__file__).parent
_ROOMS = [_HERE.parents[1] / "compass_ops" / room for room in ("training", "evaluation")]


class Cells:
    """All cells: their inputs, and how each is made.

    ``records``, ``assignments`` and ``base`` are what the road's stages left; ``halves`` are the test halves scored.
    """

    def __init__(self, records: Path, assignments: Path, base: Path, halves: Sequence[str]) -> None:
        self.params, self.comparison, self.pins = load_params(), load_comparison(), read_json(base)
        self.workshop = Workshop(self.params, self.pins)
        self._records, self._assignments, self._halves = records, assignments, halves
        self._pool = self._rows("auxiliary", sorted(file.stem for file in (records / "auxiliary").glob("*.parquet")))

    def stream(self, language: str, seed: int) -> Stream:
        """Draw a language's stream under a seed."""
        own = self._rows("own", [language])
        others = self._pool.filter(pa.array([tag != language for tag in self._pool["language"].to_pylist()]))
        rows = pa.concat_tables([own, others])
        sizes = [self.comparison.first_rows] + [self.comparison.step_rows] * 9
        steps = list(zip(self.comparison.topics(language), sizes, strict=False))
        mine = np.arange(rows.num_rows) < own.num_rows
        rng = generator(seed, "continual", "stream", language)
        drawn = draw_stream(rows["topic"].to_pylist(), mine, steps, self.comparison.own_share, rng)
        tests = {half: self._test(half, language) for half in self._halves}
        clusters = 1 + max(int(self._clusters("auxiliary", tag).max()) for tag in set(others["language"].to_pylist()))
        return Stream(language, seed, [rows.take(pa.array(places)) for places in drawn], tests, clusters)

    def start_digest(self, language: str, seed: int) -> str:
        """Digest what a first version depends on."""
        shared = [self.pins["model"], self.params.base.separator, self.params.base.max_tokens]
        shared += [self.params.train.model_dump(), self.comparison.topics(language), self.comparison.own_share]
        shared += [self.comparison.first_rows, self.comparison.step_rows]
        shared += [code_digest(room) for room in _ROOMS]
        shared += [tree_digest(_HERE / file) for file in ("chain.py", "stream.py")]
        shared += [tree_digest(self._records / "auxiliary"), tree_digest(self._assignments / "auxiliary")]
        own = [
            folder / role / language for folder in (self._records, self._assignments) for role in ("own", *self._halves)
        ]
        files = [path.with_suffix(suffix) for path in own for suffix in (".parquet", ".npy")]
        return value_digest([shared, [tree_digest(file) for file in files if file.exists()], seed, list(self._halves)])

    def digest(self, changes: Mapping[str, Any], language: str, seed: int) -> str:
        """Digest what a chain depends on."""
        update = self.comparison.update(changes, self.params.update).model_dump()
        return value_digest([self.start_digest(language, seed), update, self.params.gate.margin])

    def run(
        self, methods: Mapping[str, Mapping[str, Any]], scope: tuple[list[str], list[int]], out: Path, processes: int
    ) -> None:
        """Make ``out/start/<language>/<seed>`` and ``out/methods/<method>/<language>/<seed>``."""
        languages, seeds = scope
        pairs = [(language, seed) for language in languages for seed in seeds]
        starts = {f"{language}/{seed}": self.start_digest(language, seed) for language, seed in pairs}
        fan_out(("continual-start", FORMAT), starts, self._start, out / "start", MEMO, processes)
        cells = {
            f"{name}/{language}/{seed}": self.digest(changes, language, seed)
            for name, changes in methods.items()
            for language, seed in pairs
        }
        make = partial(self._make, methods, out / "start")
        fan_out(("continual-run", FORMAT), cells, make, out / "methods", MEMO, processes)

    def _start(self, cell: str, folder: Path) -> None:
        language, seed = cell.split("/")
        self.workshop.start(self.stream(language, int(seed)), folder)

    def _make(self, methods: Mapping[str, Mapping[str, Any]], starts: Path, cell: str, folder: Path) -> None:
        name, language, seed = cell.rsplit("/", 2)
        update = self.comparison.update(methods[name], self.params.update)
        self.workshop.run(update, self.stream(language, int(seed)), starts / language / seed, folder)

    def _rows(self, role: str, languages: Sequence[str]) -> pa.Table:
        tables = []
        for tag in languages:
            table = read_table(self._records / role / f"{tag}.parquet")
            tables.append(with_reasons(Rows(table, self._clusters(role, tag)), [role] * table.num_rows))
        return pa.concat_tables(tables)

    def _clusters(self, role: str, language: str) -> Any:
        return read_array(self._assignments / role / f"{language}.npy")

    def _test(self, half: str, language: str) -> tuple[pa.Table, Any]:
        return read_table(self._records / half / f"{language}.parquet"), self._clusters(half, language)


def chosen(comparison: Comparison, part: str | None) -> tuple[dict[str, dict[str, Any]], tuple[list[str], list[int]]]:
    """Return (methods, (languages, seeds)) of the whole comparison, or of a part: ``naive,ecda/sw,tr/1``."""
    methods, languages, seeds = part.split("/") if part else ("", "", "")
    names = methods.split(",") if methods else list(comparison.methods)
    tags = languages.split(",") if languages else comparison.languages
    numbers = list(range(int(seeds) if seeds else comparison.seeds))
    return {name: comparison.methods[name] for name in names}, (tags, numbers)


@stage
@path_option("--records")
@path_option("--assignments")
@path_option("--base")
@path_option("--out")
@processes_option
@click.option("--part", help="Methods, languages and number of seeds to run, such as naive,ecda/sw,tr/1.")
def main(part: str | None, out: Path, processes: int, **inputs: Path) -> None:
    """Run the comparison, or a part of it into another folder: what is finished there is finished for the whole."""
    cells = Cells(**inputs, halves=HALVES)
    cells.run(*chosen(cells.comparison, part), out, processes)


if __name__ == "__main__":
    main()
