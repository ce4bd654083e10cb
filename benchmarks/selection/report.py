"""Tables and the figure of the comparison, from what the runs left: `python -m benchmarks.selection.report --help`.

The dev half is for choices: variants, settings, the default. The gate half is looked at once per data set, by
`--half gate`, which writes down that it was.
"""

from pathlib import Path
from typing import Any

import click

from benchmarks.reporting import note_look, with_tables
from benchmarks.selection.figure import figure
from benchmarks.selection.scores import asked_score
from benchmarks.selection.settings import Comparison, cells, load_comparison
from benchmarks.selection.statistics import MOST
from benchmarks.selection.summary import Cell, summary
from benchmarks.selection.tables import tables
from compass_ops.errors import CompassError
from compass_ops.fanout import RECEIPT
from compass_ops.params import load_params
from compass_ops.storage import read_json, read_table, write_bytes, write_json

HERE = Path(__file__).parent
RESULTS, DEV, LOOKS = HERE / "results.json", HERE / "dev.json", HERE / "looks.json"
DEV_ALONE = {"worldfacts_parts": "worldfacts", "masakhanews_other_base": "masakhanews"}  # whose items they are


@click.command()
@click.option("--dataset", help="Sum up the runs of this data set first, such as worldfacts.")
@click.option("--half", type=click.Choice(["dev", "gate"]), default="dev", show_default=True)
@click.option("--why", help="Needed to look at a gate half again: what made the first look void.")
def main(dataset: str | None, half: str, why: str | None) -> None:
    """Sum up a data set's runs in dev.json or results.json, then write the tables of README.md and figure.svg anew."""
    try:
        if dataset is not None:
            _sum_up(dataset, half, why)
        write_report()
    except CompassError as error:
        raise click.ClickException(str(error)) from error


def write_report() -> None:
    """Write the tables between the marks of README.md and the figure, from dev.json and results.json alone."""
    dev, results = (read_json(file) if file.exists() else {} for file in (DEV, RESULTS))
    readme = (HERE / "README.md").read_text("utf-8")
    write_bytes(HERE / "README.md", with_tables(readme, tables(dev, results)).encode())
    write_bytes(HERE / "figure.svg", figure(results or dev).encode())


def _sum_up(dataset: str, half: str, why: str | None) -> None:
    folder, file = HERE / dataset, DEV if half == "dev" else RESULTS
    if half == "gate" and dataset in DEV_ALONE:
        raise CompassError(
            f"{dataset} has the items of {DEV_ALONE[dataset]}, whose gate half is looked at there alone."
        )
    known: dict[str, Any] = read_json(file) if file.exists() else {}
    found = summary(read_cells(folder, half))
    if half == "gate":
        note_look(LOOKS, dataset, folder / "build/runs", why)
    write_json(file, known | {dataset: found})


def read_cells(folder: Path, half: str) -> dict[tuple[str, str], list[Cell]]:
    """Read one half of a data set's runs, the bare base included."""
    comparison = load_comparison(folder / "comparison.yaml")
    languages = load_params(folder / "params.yaml").project.languages
    if not 2 <= len(languages) <= MOST:
        raise CompassError(f"{folder.name}: tests over languages need 2 to {MOST} of them, it has {len(languages)}.")
    found: dict[tuple[str, str], list[Cell]] = {}
    targets = {tag: read_table(folder / "build/ingest/target" / f"{tag}.parquet") for tag in languages}
    for tag in languages:
        items = read_table(folder / "build/runs/zero_shot" / tag / "items.parquet")
        found["zero_shot", tag] = [Cell(asked_score(items, half, targets[tag]), 0.0, 0.0, 0, 0.0)]
    for cell in _finished(folder, comparison, languages):
        name, tag, _ = cell.split("/")
        cost, measures = (read_json(folder / "build" / file) for file in _files(cell))
        items = read_table(folder / "build/runs" / cell / "items.parquet")
        found.setdefault((name, tag), []).append(
            Cell(
                asked_score(items, half, targets[tag]),
                measures["energy_distance"],
                measures["duplicates"],
                cost["tokens"],
                cost["seconds"] + measures["seconds"],
            )
        )
    return found


def _files(cell: str) -> tuple[str, str]:
    return f"runs/{cell}/cost.json", f"choices/{cell}/measures.json"


def _finished(folder: Path, comparison: Comparison, languages: list[str]) -> list[str]:
    """Return all cells; ``CompassError`` if one failed, since a table without it would be another comparison."""
    named = cells(comparison, languages)
    failed = [cell for cell in named if (folder / "build/runs" / cell / RECEIPT).exists()]
    if failed:
        reason = read_json(folder / "build/runs" / failed[0] / RECEIPT)["reason"]
        raise CompassError(f"{len(failed)} cells failed, the first {failed[0]}: {reason}")
    return named


if __name__ == "__main__":
    main()
