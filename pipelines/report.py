"""Stage report: one page over all languages; ends with exit code 1 if a language failed, naming it."""

from pathlib import Path

import click

from compass_ops.errors import CompassError
from compass_ops.monitoring.coverage import write_coverage_pages
from compass_ops.monitoring.fleet import summary_table, write_fleet_page
from compass_ops.monitoring.gather import failures, fleet_rows
from pipelines._stage import path_option, stage


@stage
@path_option("--languages")
@path_option("--embed")
@path_option("--sample")
@path_option("--train")
@path_option("--evaluate")
@path_option("--admit")
@path_option("--register")
@path_option("--drift")
@path_option("--update")
@path_option("--gate")
@path_option("--promote")
@path_option("--out")
def main(out: Path, **inputs: Path) -> None:
    """Write the fleet's page, print its table, and say what failed."""
    rows = fleet_rows(inputs, out)
    page = out / "index.html"
    write_fleet_page(rows, Path.cwd().name, page)
    write_coverage_pages(inputs["sample"], out / "plans")
    click.echo(f"{summary_table(rows)}\n\nOpen {page}")
    failed = failures(rows)
    if failed:
        told = "\n  ".join(failed)
        raise CompassError(
            f"{len(failed)} of {len(rows)} languages failed, the others went on:\n  {told}\n"
            "Correct their data or settings, then run `dvc repro`."
        )


if __name__ == "__main__":
    main()
