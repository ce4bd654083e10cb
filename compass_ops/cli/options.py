"""Arguments that commands share, and how they print."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.shell_completion import CompletionItem

from compass_ops.errors import CompassError
from compass_ops.terminal import is_plain, plain

NOTHING = "-"
FOUND_WRONG = 4  # the exit code of a check that found something
_LONGEST_REASON, _WIDEST = 2000, 200  # characters; the second in a cell of a table, --json has it whole
_VERSION = re.compile(r"[1-9][0-9]{0,8}")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
all_option = click.option("--all", "everything", is_flag=True, help="Every language that this applies to.")


def reason(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """Return a text that the history can keep and a table can show; an option's callback."""
    if not value.strip():
        raise click.BadParameter("say why, in a few words.")
    if len(value) > _LONGEST_REASON:
        raise click.BadParameter(f"{len(value)} characters; {_LONGEST_REASON} at most.")
    if not is_plain(value):
        raise click.BadParameter("must be one line of readable text, without control characters.")
    return value


def _expected(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value in (None, "none") or _VERSION.fullmatch(str(value)):
        return value
    raise click.BadParameter(f"{value!r} is no version. Give a number such as 3, or none.")


why_option = click.option(
    "--why", required=True, callback=reason, help="For the history and for whoever wonders later; one line."
)
expect_option = click.option(
    "--expect",
    metavar="VERSION",
    callback=_expected,
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


def language_and_version(name: str) -> tuple[str, str | None]:
    """Divide ``sw/3``, or ``sw`` without a version; ``UsageError`` for ``sw/``: a script may have lost the number."""
    language, slash, version = name.partition("/")
    if slash and not version:
        raise click.UsageError(f"{name[:80]!r}: name a version after the slash, or leave the slash out.")
    return language, version or None


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
    """Return what fits into one line: a name or reason may come from a registry that anybody writes to."""
    if value is None:
        return NOTHING
    text = plain(str(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 3]}..."
