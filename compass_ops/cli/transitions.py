"""Commands that change which version of a language stands where."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from compass_ops.cli.options import (
    all_option,
    expect_option,
    json_option,
    language_and_version,
    languages_argument,
    print_json,
    reason,
    several,
    versions_argument,
    why_option,
)
from compass_ops.cli.project import Project

if TYPE_CHECKING:
    from compass_ops.registry.history import Entry
    from compass_ops.registry.mirror import LanguageView

_Given = dict[str, Any]


def _do(
    project: Project, kind: str, given: _Given, fits: "Callable[[LanguageView], bool] | None", *, versions: bool = True
) -> None:
    """Ask for a move of every language that was named, and say what was done.

    Parameters
    ----------
    given : dict
        What the command line gave: ``languages``, ``why``, ``as_json``, perhaps ``everything`` and ``expect``.
    fits : callable or None
        Which languages --all means; None for a command without it.
    versions : bool
        Whether versions may be named.
    """
    from compass_ops.registry.location import author, now
    from compass_ops.registry.transact import transact
    from compass_ops.registry.transitions import Ask

    who, when = author(), now()
    asks = []
    everything = fits is not None and given["everything"]
    for name in project.chosen(given["languages"], everything, fits, versions=versions):
        language, version = language_and_version(name)
        asks.append(Ask(language, kind, who, when, given["why"], version, given.get("expect")))
    entries = transact(project.store, asks, project.policies.required_evidence if kind == "promoted" else ())
    if given["as_json"]:
        print_json([entry.as_json() | {"hash": entry.hash} for entry in entries])
    else:
        click.echo("\n".join(map(_told, entries)))


def _told(entry: "Entry") -> str:
    language = entry.language
    if entry.version is None:
        ends = f" `compass release {language}` ends the hold." if entry.kind == "held" else ""
        return f"{language}: {entry.kind}.{ends}"
    instead = f", in place of version {entry.replaces}" if entry.target == "Production" and entry.replaces else ""
    held = f" and held. `compass release {language}` ends the hold." if entry.kind == "rolled back" else "."
    return f"{language}: version {entry.version} is in {entry.target}{instead}{held}"


@click.command()
@versions_argument
@several
@click.pass_obj
def promote(project: Project, /, **given: Any) -> None:
    """Bring a version to Production, in place of the champion.

    \b
      compass promote sw/4 --why "better on currencies" --expect 3
      compass promote sw/4 tr/2 --why "new base"

    Without a version, the one in Staging. The files are verified, and the version must hold what
    registry.required_evidence in params.yaml lists. A language that is held must be released first.
    """
    _do(project, "promoted", given, lambda view: view.state.staging is not None)


@click.command()
@versions_argument
@why_option
@expect_option
@json_option
@click.pass_obj
def stage(project: Project, /, **given: Any) -> None:
    """Put a version into Staging, for `compass approve` or `compass reject`.

    \b
      compass stage sw/4 --why "please listen to it"

    What was in Staging before is archived.
    """
    _do(project, "staged", given, None)


@click.command()
@languages_argument
@several
@click.pass_obj
def approve(project: Project, /, **given: Any) -> None:
    """Bring the version in Staging to Production.

    \b
      compass approve sw --why "listened to fifty answers"
      compass approve --all --why "release 12"

    With registry.promotion: manual, what passes the gate waits in Staging. If another champion came since the
    version was put there, nothing is done.
    """
    _do(project, "promoted", given, lambda view: view.state.staging is not None, versions=False)


@click.command()
@languages_argument
@several
@click.pass_obj
def reject(project: Project, /, **given: Any) -> None:
    """Archive the version in Staging.

    \b
      compass reject sw --why "sounds odd"

    The pipeline does not propose it again.
    """
    _do(project, "rejected", given, lambda view: view.state.staging is not None, versions=False)


@click.command()
@versions_argument
@click.option("--to", metavar="VERSION", help="A former champion of the one LANGUAGE; the predecessor if not given.")
@several
@click.pass_obj
def rollback(project: Project, /, to: str | None, **given: Any) -> None:
    """Bring the former champion back to Production, and hold the language.

    \b
      compass rollback sw --why "wrong answers about currencies"
      compass rollback sw --to 3 --why "..."
      compass rollback --all --why "the new base is broken"

    Rolling back twice goes two champions back. No stage promotes anything for a held language until
    `compass release`; a hold that is there already stays.
    """
    if to is not None:
        (named,) = _one(given["languages"])
        given["languages"] = (f"{named}/{to}",)
    _do(project, "rolled back", given, lambda view: view.state.production is not None)


def _one(languages: Sequence[str]) -> Sequence[str]:
    if len(languages) != 1 or "/" in languages[0]:
        raise click.UsageError("--to goes with one language. Write sw/3 tr/2 for several.")
    return languages


@click.command()
@versions_argument
@why_option
@expect_option
@json_option
@click.pass_obj
def archive(project: Project, /, **given: Any) -> None:
    """Archive a version; if it is the champion, the language has none until the next promotion.

    \b
      compass archive sw/4 --why "trained on the wrong data"

    A champion that was deleted from the registry, and has no copy to restore it from, can be archived too.
    """
    _do(project, "retired", given, None)


@click.command()
@languages_argument
@all_option
@why_option
@json_option
@click.pass_obj
def hold(project: Project, /, **given: Any) -> None:
    """Keep the pipeline from promoting anything for a language until it is released.

    \b
      compass hold sw --why "the data are being corrected"
      compass hold --all --why "holiday"

    A language that is held already keeps the hold it has, and --all passes over it.
    """
    _do(project, "held", given, lambda view: view.state.hold is None, versions=False)


@click.command()
@languages_argument
@all_option
@click.option("--why", default="no reason given", show_default=True, callback=reason, help="For the history.")
@expect_option
@json_option
@click.pass_obj
def release(project: Project, /, **given: Any) -> None:
    """Let the pipeline promote adapters of a language again.

    \b
      compass release sw --why "data corrected"
      compass release --all

    A rollback holds a language too.
    """
    _do(project, "released", given, lambda view: view.state.hold is not None, versions=False)


COMMANDS = (promote, stage, approve, reject, rollback, archive, hold, release)
