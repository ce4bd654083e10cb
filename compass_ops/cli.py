"""The command line: what a person asks of the registry and of the last run. Stages are `dvc repro`'s business.

Exit codes: 0 done, 1 an error with a remedy, 2 a wrong call.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from compass_ops.cli_export import export_command
from compass_ops.errors import CompassError

if TYPE_CHECKING:
    from compass_ops.registry.mirror import LanguageView
    from compass_ops.registry.store import RegistryStore

_COLUMNS = ("language", "production", "staging", "adopted window", "hold", "last decision")


class _Compass(click.Group):
    """A group whose commands end with one clear line and exit code 1 for an error that has a remedy."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CompassError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Compass)
@click.version_option(package_name="compass_ops")
@click.option("--uri", envvar="MLFLOW_TRACKING_URI", help="The registry; that of params.yaml if not given.")
@click.pass_context
def main(context: click.Context, uri: str | None) -> None:
    """Look at and correct what the pipeline registered: one champion per language, and how it came to be."""
    context.obj = uri


@main.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def status(uri: str | None, as_json: bool) -> None:
    """Show every language's Production version, hold and last decision."""
    views = _store(uri).read()
    rows = [_row(language, view) for language, view in views.items()]
    if as_json:
        click.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    elif rows:
        _print_table(rows)
    else:
        click.echo("Nothing is registered yet. `make repro` trains and registers.")


@main.command()
@click.argument("language")
@click.option("--to", metavar="VERSION", help="A former champion; the present one's predecessor if not given.")
@click.option("--why", required=True, help="For the history and for whoever wonders later.")
@click.pass_obj
def rollback(uri: str | None, language: str, to: str | None, why: str) -> None:
    """Bring a former champion of LANGUAGE back to Production.

    The language is held: no stage promotes anything for it until `compass release LANGUAGE`.
    """
    from compass_ops.registry.rollback import rollback as roll_back

    version = roll_back(_store(uri), language, why, to=to)
    click.echo(f"{language}: version {version} is in Production and held. `compass release {language}` ends the hold.")


@main.command()
@click.argument("language")
@click.option("--why", default="no reason given", show_default=True, help="For the history.")
@click.pass_obj
def release(uri: str | None, language: str, why: str) -> None:
    """Let the pipeline promote adapters of LANGUAGE again."""
    from compass_ops.registry.rollback import release as let_go

    let_go(_store(uri), language, why)
    click.echo(f"{language}: released. The next `dvc repro` may promote again.")


@main.command()
def tick() -> None:
    """Look at one more window of traffic, then run the pipeline: the weekly job."""
    from compass_ops.monitoring.tick import advance, available_windows, run_pipeline
    from compass_ops.params import PARAMS_FILE, load_params
    from compass_ops.registry.location import project_root

    root = project_root()
    params = load_params(root / PARAMS_FILE)
    window = advance(root / PARAMS_FILE, available_windows(params, root))
    click.echo(f"traffic.until is {window} now; running the pipeline.")
    run_pipeline(root)


@main.command()
@click.argument("language")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the plan with every cluster.")
def plan(language: str, as_json: bool) -> None:
    """Show what was chosen for LANGUAGE in the last run and why: clusters by gap, languages drawn, examples."""
    from compass_ops.monitoring.coverage import plan_text, read_plan
    from compass_ops.registry.location import project_root

    found = read_plan(project_root(), language)
    click.echo(json.dumps(found, indent=1, ensure_ascii=False) if as_json else plan_text(found))


@main.command()
@click.option(
    "--write",
    "file",
    type=click.Path(path_type=Path),
    help="Put the table between the two marker lines of this file, such as README.md, instead of printing it.",
)
def table(file: Path | None) -> None:
    """Show zero-shot and adapter accuracy per language, as a Markdown table.

    Accuracy is that of the last evaluation, on the gate half of each language's test, with 95 % limits: weighted
    by what is asked of the language, and with all items counted alike.
    """
    from compass_ops.evaluation.table import accuracy_table, with_table
    from compass_ops.storage import write_bytes

    made = accuracy_table(_evaluated())
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


def _evaluated() -> dict[str, Any]:
    """Return the last evaluation's metrics, None for a language that left a receipt in their place."""
    from compass_ops.fanout import RECEIPT
    from compass_ops.registry.location import project_root
    from compass_ops.storage import read_json

    folder = project_root() / "build" / "evaluate"
    failed = [path.parent.name for path in folder.glob(f"*/{RECEIPT}")]
    return dict.fromkeys(failed) | read_json(folder / "metrics.json")


def _store(uri: str | None) -> "RegistryStore":
    from compass_ops.registry.location import project_root, registry_location
    from compass_ops.registry.store import RegistryStore

    if uri is None:
        from compass_ops.params import PARAMS_FILE, load_params

        registry = load_params(project_root() / PARAMS_FILE).registry
        return RegistryStore(registry_location(registry.uri, registry.experiment))
    return RegistryStore(registry_location(uri, "compass"))


def _row(language: str, view: "LanguageView") -> dict[str, str | None]:
    state = view.state
    last = state.entries[-1] if state.entries else None
    told = (
        language,
        state.production,
        state.staging,
        state.adopted[-1] if state.adopted else None,
        f"{state.hold.who}: {state.hold.why}" if state.hold else None,
        f"{last.kind} {last.when[:10]} by {last.who}" if last else None,
    )
    return dict(zip(_COLUMNS, told, strict=True))


def _print_table(rows: list[dict[str, str | None]]) -> None:
    lines = [_COLUMNS, *(tuple(row[column] or "-" for column in _COLUMNS) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


main.add_command(export_command(_store))


if __name__ == "__main__":
    main()
