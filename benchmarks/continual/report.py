"""Tables of the comparison, from what the runs left: `python -m benchmarks.continual.report --help`.

The tuning runs are for choices: other languages and seeds, judged on their gate half, since on dev `ecda` chooses for
itself. The gate half of the languages that are reported is looked at once per data set, by `--half gate`, which writes
down that it was.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.continual.matrix import accuracy_matrix
from benchmarks.continual.settings import Comparison, load_comparison
from benchmarks.continual.summary import Chain, summary
from benchmarks.continual.tables import tables
from benchmarks.reporting import note_look, with_tables
from compass_ops.errors import CompassError
from compass_ops.fanout import RECEIPT
from compass_ops.storage import read_json, read_table, write_bytes, write_json

HERE = Path(__file__).parent
RESULTS, TUNING, LOOKS = HERE / "results.json", HERE / "tuning.json", HERE / "looks.json"


@click.command()
@click.option("--dataset", help="Sum up the runs of this data set first: worldfacts or masakhanews.")
@click.option("--half", type=click.Choice(["tuning", "gate"]), default="tuning", show_default=True)
@click.option("--why", help="Needed to look at a gate half again: what made the first look void.")
@click.option("--part", type=click.Path(path_type=Path), help="Print a part's table on dev, write nothing.")
def main(dataset: str | None, half: str, why: str | None, part: Path | None) -> None:
    """Sum up a data set's runs in tuning.json or results.json, then write the tables of README.md anew."""
    try:
        if dataset is not None and part is not None:
            click.echo(tables({dataset: summary(read_chains(HERE / dataset, part, "dev"))}, {}))
            return
        if dataset is not None:
            _sum_up(dataset, half, why)
        write_report()
    except CompassError as error:
        raise click.ClickException(str(error)) from error


def write_report() -> None:
    """Write the tables between the marks of README.md, from tuning.json and results.json alone."""
    tuning, results = (read_json(file) if file.exists() else {} for file in (TUNING, RESULTS))
    readme = (HERE / "README.md").read_text("utf-8")
    write_bytes(HERE / "README.md", with_tables(readme, tables(tuning, results)).encode())


def _sum_up(dataset: str, half: str, why: str | None) -> None:
    build = HERE / dataset / "build"
    if half == "gate":
        file, found = RESULTS, summary(read_chains(HERE / dataset, build / "runs", "gate"))
        note_look(LOOKS, dataset, build / "runs", why)
    else:
        file, found = TUNING, summary(read_chains(HERE / dataset, build / "tuning", "gate"))
    known: dict[str, Any] = read_json(file) if file.exists() else {}
    write_json(file, known | {dataset: found})


def read_chains(dataset: Path, runs: Path, half: str) -> dict[tuple[str, str], list[Chain]]:
    """Read one half of what the runs in a folder left.

    Raises
    ------
    CompassError
        If a cell failed, since a table without it would be another comparison, or none is there.
    """
    comparison = load_comparison(dataset / "comparison.yaml")
    failed = sorted(runs.glob(f"**/{RECEIPT}"))
    if failed:
        raise CompassError(f"{len(failed)} cells failed, the first {failed[0]}: {read_json(failed[0])['reason']}")
    found: dict[tuple[str, str], list[Chain]] = {}
    for file in sorted((runs / "methods").glob("*/*/*/cost.json")):
        method, language, seed = file.parts[-4:-1]
        folders = runs / "start" / language / seed, file.parent
        found.setdefault((method, language), []).append(_chain(folders, comparison, language, half))
    if not found:
        raise CompassError(f"{runs}: expected the results of runs, found none. Let dvc repro end first, see README.md.")
    return found


def _chain(folders: tuple[Path, Path], comparison: Comparison, language: str, half: str) -> Chain:
    """Read the first version's results and those of the steps after it."""
    items = pa.concat_tables([read_table(folder / "items.parquet") for folder in folders])
    costs = [cost for folder in folders for cost in read_json(folder / "cost.json")]
    asked = comparison.topics(language)
    matrix = accuracy_matrix(by_topic(items, half, len(asked)), asked)
    tokens = [cost["tokens"] + cost["replay"] + cost["fisher"] for cost in costs]
    teacher = sum(cost["teacher"] for cost in costs)
    return Chain(matrix, tokens, teacher, sum(cost["seconds"] for cost in costs))


def by_topic(items: pa.Table, half: str, steps: int) -> Sequence[Mapping[str, float]]:
    """Return the accuracy on each topic of one half after each step."""
    rows = items.filter(pc.equal(items["half"], half))
    rows = rows.append_column("hit", pc.cast(rows["correct"], pa.float64()))
    means = rows.group_by(["step", "topic"]).aggregate([("hit", "mean")]).to_pylist()
    return [{row["topic"]: row["hit_mean"] for row in means if row["step"] == step} for step in range(steps)]


if __name__ == "__main__":
    main()
