"""Train and score every cell of the comparison; what is finished is kept, so that a stopped run goes on."""

from pathlib import Path

from benchmarks.selection.settings import WITHOUT_BUDGET, cells, load_comparison
from benchmarks.selection.train import Trained, Workshop
from compass_ops.errors import DataFault
from compass_ops.fanout import RECEIPT, fan_out
from compass_ops.params import load_params
from compass_ops.seeding import derived_seed
from compass_ops.storage import file_digest, read_json, read_table, tree_digest, value_digest, write_json, write_table
from pipelines._stage import MEMO, path_option, stage

FORMAT = 1
HALVES = ("dev", "gate")


@stage
@path_option("--choices")
@path_option("--records")
@path_option("--base")
@path_option("--out")
def main(choices: Path, records: Path, base: Path, out: Path) -> None:
    """Train on every choice with the same settings; a choice that is not new is not trained on again."""
    params, comparison, pins = load_params(), load_comparison(), read_json(base)
    workshop = Workshop(params, pins)
    own = {tag: read_table(records / "own" / f"{tag}.parquet").num_rows for tag in params.project.languages}

    def plan(cell: str) -> tuple[int, int]:
        """Return (epochs, rows) of a cell."""
        name, language, _ = cell.split("/")
        if comparison.variants[name].strategy == WITHOUT_BUDGET:
            return comparison.all_epochs, 0
        return params.train.schedule.epochs, own[language] + comparison.budget

    def make(cell: str, folder: Path) -> None:
        _, language, seed = cell.split("/")
        if (choices / cell / RECEIPT).exists():
            raise DataFault(cell, read_json(choices / cell / RECEIPT)["reason"])
        rows = read_table(choices / cell / "subset.parquet")
        tests = {half: read_table(records / half / f"{language}.parquet") for half in HALVES}
        _write(workshop.run(rows, *plan(cell), derived_seed(int(seed), "comparison", language), tests), folder)

    shared = [pins["model"], params.base.separator, params.base.max_tokens, params.train.model_dump()]

    def digest(cell: str) -> str:
        _, language, seed = cell.split("/")
        file = choices / cell / "subset.parquet"
        tests = [tree_digest(records / half / f"{language}.parquet") for half in HALVES]
        return value_digest([file_digest(file) if file.exists() else cell, tests, plan(cell), seed, language, shared])

    fan_out(
        ("compare-run", FORMAT),
        {cell: digest(cell) for cell in cells(comparison, params.project.languages)},
        make,
        out,
        MEMO,
    )
    for language in params.project.languages:
        tests = {half: read_table(records / half / f"{language}.parquet") for half in HALVES}
        write_table(out / "zero_shot" / language / "items.parquet", workshop.score(workshop.base.model, "base", tests))


def _write(trained: Trained, folder: Path) -> None:
    write_table(folder / "items.parquet", trained.items)
    write_json(folder / "cost.json", {"tokens": trained.tokens, "rows": trained.rows, "seconds": trained.seconds})


if __name__ == "__main__":
    main()
