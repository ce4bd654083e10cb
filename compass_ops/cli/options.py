"""Arguments that commands share, and how they print."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from compass_ops.errors import CompassError

NOTHING = "-"
FOUND_WRONG = 4  # the exit code of a check that found something

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
all_option = click.option("--all", "everything", is_flag=True, help="Every language that this applies to.")
why_option = click.option("--why", required=True, help="For the history and for whoever wonders later.")
expect_option = click.option(
    "--expect",
    metavar="VERSION",
    help="The champion that you saw (none if there was none): if another is there by now, nothing is done.",
)


def _complete(context: click.Context, _: click.Parameter, typed: str) -> list[CompletionItem]:
    """Offer the languages of params.yaml."""
    from compass_ops.cli.project import Project

    try:
        languages = Project(None).params.project.languages
    except CompassError:
        return []
    return [CompletionItem(language) for language in languages if language.startswith(typed)]


language_argument = click.argument("language", shell_complete=_complete)
languages_argument = click.argument("languages", nargs=-1, metavar="LANGUAGE...", shell_complete=_complete)
versions_argument = click.argument("languages", nargs=-1, metavar="LANGUAGE[/VERSION]...", shell_complete=_complete)


def several(function: Callable[..., None]) -> Callable[..., None]:
    """Add what every command on several languages takes: their names or --all, a reason, --expect, --json."""
    for option in (json_option, expect_option, why_option, all_option):
        function = option(function)
    return function


def print_json(value: object) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, indent=1, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows under a header, columns as wide as they must be."""
    lines = [tuple(columns), *(tuple(_cell(row[column]) for column in columns) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: object) -> str:
    return NOTHING if value is None else str(value)
