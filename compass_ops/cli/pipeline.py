"""Commands about the last run of the pipeline."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from compass_ops.cli.options import json_option, print_json
from compass_ops.cli.project import Project
from compass_ops.errors import CompassError


@click.command()
@json_option
@click.pass_obj
def tick(project: Project, as_json: bool) -> None:
    """Look at new traffic, then run the pipeline: the weekly job.

    \b
      compass tick

    Under a request log the newest complete window is looked at, each language's own; under simulated traffic the next.
    With --json what the pipeline prints goes to the standard error.
    """
    from compass_ops.monitoring.tick import advance, available_windows, run_pipeline
    from compass_ops.params import PARAMS_FILE

    root = project.root
    logged = project.params.traffic.origin.kind == "log"
    step = advance(root / PARAMS_FILE, available_windows(project.params, root), newest=logged)
    if as_json:
        print_json({"until": step.window, "passed_over": step.passed_over})
    else:
        click.echo(f"traffic.until is {step.window} now{_passed(step.passed_over)}; running the pipeline.")
    run_pipeline(root, uri=project.uri, aside=as_json)


def _passed(windows: Sequence[str]) -> str:
    if len(windows) < 2:
        return f", window {windows[0]} was passed over" if windows else ""
    return f", windows {windows[0]} to {windows[-1]} were passed over"


@click.command()
@click.option(
    "--write",
    "file",
    type=click.Path(path_type=Path),
    help="Put the table between the two marker lines of this file, such as README.md, instead of printing it.",
)
@json_option
@click.pass_obj
def table(project: Project, file: Path | None, as_json: bool) -> None:
    """Show zero-shot and adapter accuracy per language, as a Markdown table.

    \b
      compass table
      compass table --write README.md

    Accuracy is that of the last evaluation, on the gate half of each language's test, with 95 % limits: weighted
    by what is asked of the language, and with all items counted alike.
    """
    from compass_ops.evaluation.table import accuracy_table, with_table
    from compass_ops.storage import write_bytes

    metrics = _evaluated(project.root)
    if as_json:
        print_json(metrics)
        return
    made = accuracy_table(metrics)
    if file is None:
        click.echo(made)
        return
    target = file.resolve()  # a link stays a link
    try:
        text = target.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CompassError(f"{file}: cannot be read as UTF-8 text ({error}). Name an existing file.") from error
    try:
        changed = with_table(text, made)
    except CompassError as error:
        raise CompassError(f"{file}: {error}") from error
    write_bytes(target, changed.encode())
    click.echo(f"{file}: the table stands between its markers.")


def _evaluated(root: Path) -> dict[str, Any]:
    """Return the last evaluation's metrics, None for a language that left a receipt in their place."""
    from compass_ops.fanout import RECEIPT
    from compass_ops.storage import read_json

    folder = root / "build" / "evaluate"
    failed = [path.parent.name for path in folder.glob(f"*/{RECEIPT}")]
    return dict.fromkeys(failed) | read_json(folder / "metrics.json")


COMMANDS = (tick, table)
