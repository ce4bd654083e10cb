"""Run the variants that strengths are chosen from: other languages and seeds than are reported."""

from pathlib import Path

from benchmarks.continual.run import Cells
from benchmarks.options import processes_option
from compass_ops.evaluation.items import HALVES
from pipelines._stage import path_option, stage


@stage
@path_option("--records")
@path_option("--assignments")
@path_option("--base")
@path_option("--out")
@processes_option
def main(records: Path, assignments: Path, base: Path, out: Path, processes: int) -> None:
    """Run every variant of ``tuning``; the gate half of its languages chooses between them, and is never reported."""
    cells = Cells(records, assignments, base, HALVES)
    tuning = cells.comparison.tuning
    cells.run(tuning.variants, (tuning.languages, tuning.seeds), out, processes)


if __name__ == "__main__":
    main()
