"""Stage sample: per language the chosen training rows and the plan behind them."""

from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from compass_ops.errors import DataFault
from compass_ops.fanout import fan_out
from compass_ops.params import load_params
from compass_ops.seeding import generator
from compass_ops.selection.choose import Rows, choose, plan_record, with_reasons
from compass_ops.storage import (
    read_array,
    read_json,
    read_table,
    tree_digest,
    value_digest,
    write_json,
    write_table,
)
from pipelines._stage import MEMO, path_option, stage

FORMAT = 1


@stage
@path_option("--records")
@path_option("--clusters")
@path_option("--out")
def main(records: Path, clusters: Path, out: Path) -> None:
    """Choose auxiliary rows for every target language."""
    params = load_params()
    seed, settings = params.project.seed, params.sample
    count = len(read_array(clusters / "centroids.npy", mapped=True))
    states = read_json(records / "languages.json")

    @cache
    def rows(role: str, language: str) -> Rows:
        table = read_table(records / role / f"{language}.parquet")
        return Rows(table, read_array(clusters / "assignments" / role / f"{language}.npy"))

    pool_languages = sorted(file.stem for file in (records / "auxiliary").glob("*.parquet"))

    def budget_of(language: str) -> int:
        return settings.overrides[language].budget if language in settings.overrides else settings.budget

    def make(language: str, folder: Path) -> None:
        if states[language]["status"] == "failed":
            raise DataFault(language, states[language]["reason"])
        parts = [rows("auxiliary", name) for name in pool_languages if name != language]
        pool = Rows(pa.concat_tables([p.table for p in parts]), np.concatenate([p.clusters for p in parts]))
        budget = budget_of(language)
        if settings.strategy != "own_only" and budget > len(pool.clusters):
            raise DataFault(
                language,
                f"sample.budget is {budget}, but the pool has {len(pool.clusters)} rows. Lower the budget.",
            )
        target, own = rows("target", language), rows("own", language)
        rng = generator(seed, "sample", language)
        chosen, plan = choose(settings.strategy, target, own.clusters, pool, (count, budget), rng)
        subset = pa.concat_tables([with_reasons(own, ["own data"] * len(own.clusters)), chosen])
        write_table(folder / "subset.parquet", subset)
        write_json(folder / "plan.json", plan_record(language, settings.strategy, budget, plan, target, pool))

    shared = [tree_digest(records / "auxiliary"), tree_digest(clusters / "assignments" / "auxiliary")]
    inputs = {
        language: value_digest(
            [_private(records, clusters, language), shared, settings.strategy, budget_of(language), seed]
        )
        for language in params.project.languages
    }
    fan_out(("sample", FORMAT), inputs, make, out, MEMO)


def _private(records: Path, clusters: Path, language: str) -> list[str]:
    files = [
        path
        for role in ("target", "own")
        for path in (records / role / f"{language}.parquet", clusters / "assignments" / role / f"{language}.npy")
    ]
    return [tree_digest(path) if path.exists() else "none" for path in files]


if __name__ == "__main__":
    main()
