"""Commands that look at single versions: what they are, how they came to be, whether their files are whole."""

from typing import TYPE_CHECKING, Any

import click

from compass_ops.cli.options import (
    FOUND_WRONG,
    json_option,
    language_and_version,
    language_argument,
    print_json,
    print_table,
    versions_argument,
)
from compass_ops.cli.project import Project
from compass_ops.terminal import plain

if TYPE_CHECKING:
    from compass_ops.registry.mirror import LanguageView

_HISTORY_COLUMNS = ("when", "what", "version", "from", "to", "replaces", "who", "evidence", "why")


def _view(project: Project, language: str) -> "LanguageView":
    from compass_ops.registry.names import known_language

    view = project.store.read_language(language)
    if not view.versions and not view.state.entries:
        known_language(language, project.store.read())
    return view


def _described(project: Project, view: "LanguageView", version: str | None) -> dict[str, Any]:
    from compass_ops.errors import RegistryError
    from compass_ops.registry.describe import describe
    from compass_ops.registry.transitions import existing_version

    language = view.state.language
    version = version or view.state.production
    if version is None:
        raise RegistryError(f"{language}: no version is in Production. Name one, such as {language}/3.")
    with project.store.opened(view.versions[existing_version(version, view)]) as folder:
        return describe(folder, view, version)


@click.command()
@click.argument("name", metavar="LANGUAGE[/VERSION]")
@json_option
@click.pass_obj
def show(project: Project, name: str, as_json: bool) -> None:
    """Show a version: lineage, data, params, metrics, decision, files, history; the champion if none is named.

    \b
      compass show sw
      compass show sw/3 --json
    """
    language, version = language_and_version(name)
    told = _described(project, _view(project, language), version)
    if as_json:
        print_json(told)
        return
    click.echo(f"{told['language']} version {told['version']}, {told['stage']}")
    for part in ("lineage", "data", "params"):
        click.echo(f"\n{part}")
        for key, value in told[part].items():
            click.echo(f"  {key}: {_shown(value)}")
    if told["decision"]:
        click.echo(f"\ndecision: {told['decision']['verdict']}")
        click.echo("\n".join(f"  {plain(reason)}" for reason in told["decision"]["reasons"]))
    for name_, figures in told["metrics"].items():
        click.echo(f"  {name_}: {', '.join(f'{key} {_shown(value)}' for key, value in figures.items())}")
    click.echo("\nfiles")
    for path, digest in told["files"].items():
        click.echo(f"  {digest[:12]}  {path}")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    return "-" if value is None else plain(str(value))


@click.command()
@language_argument
@json_option
@click.pass_obj
def history(project: Project, language: str, as_json: bool) -> None:
    """Show who moved which version of LANGUAGE where, when and why, oldest first.

    \b
      compass history sw

    Every line is linked to the one before by its hash; a line that was altered or taken away is an error.
    """
    entries = _view(project, language).state.entries
    if as_json:
        print_json([entry.as_json() | {"hash": entry.hash} for entry in entries])
        return
    rows = [
        {
            "when": entry.when[:16],
            "what": entry.kind,
            "version": entry.version,
            "from": entry.source,
            "to": entry.target,
            "replaces": entry.replaces,
            "who": entry.who,
            "evidence": (entry.record or "")[:12] or None,
            "why": entry.why,
        }
        for entry in entries
    ]
    print_table(_HISTORY_COLUMNS, rows)


@click.command()
@language_argument
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@json_option
@click.pass_obj
def diff(project: Project, language: str, first: str, second: str, as_json: bool) -> None:
    """Show in what versions A and B of LANGUAGE differ: metrics, data, params, lineage, files.

    \b
      compass diff sw 2 3
    """
    from dataclasses import asdict

    from compass_ops.registry.describe import differences

    view = _view(project, language)
    found = differences(_described(project, view, first), _described(project, view, second))
    if as_json:
        print_json([asdict(difference) for difference in found])
    elif found:
        rows = [
            {"": one.part, "what": one.what, first: _short(one.first), f"{second} ": _short(one.second)}
            for one in found
        ]
        print_table(("", "what", first, f"{second} "), rows)
    else:
        click.echo(f"{language}: versions {first} and {second} do not differ.")


def _short(value: object) -> str:
    text = _shown(value)
    return f"{text[:12]}..." if len(text) == 64 else text


@click.command()
@versions_argument
@click.option("--all", "everything", is_flag=True, help="Every language.")
@click.option("--every-version", is_flag=True, help="Every version, not the champion alone.")
@json_option
@click.pass_obj
def verify(project: Project, languages: tuple[str, ...], everything: bool, every_version: bool, as_json: bool) -> None:
    """Read every file of the champions, compare its digest, and name what was altered, is missing or was added.

    \b
      compass verify --all
      compass verify sw tr/4
      compass verify --all --every-version

    The history's chain is followed too. Ends with exit code 4 if anything is wrong.
    """
    from compass_ops.registry.checkup import verify_versions

    names = project.chosen(languages, everything, lambda _: True, once=False)
    checked = verify_versions(project.store, names, every_version=every_version)
    faults = [fault for faults in checked.values() for fault in faults]
    if as_json:
        print_json({"checked": sorted(checked), "faults": faults})
    else:
        click.echo("\n".join([*faults, f"{len(checked)} versions checked, {len(faults)} faults."]))
    if faults:
        raise SystemExit(FOUND_WRONG)


COMMANDS = (show, history, diff, verify)
