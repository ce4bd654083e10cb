"""Commands that keep the registry in order."""

from typing import TYPE_CHECKING

import click

from compass_ops.cli.options import (
    FOUND_WRONG,
    all_option,
    json_option,
    language_and_version,
    print_json,
    reason,
    versions_argument,
    why_option,
)
from compass_ops.cli.project import Project

if TYPE_CHECKING:
    from compass_ops.registry.retention import Leftover


@click.command()
@click.option("--repair", "mend", is_flag=True, help="Mend what was found: the history is the truth.")
@click.option(
    "--why",
    default="doctor",
    show_default=True,
    callback=reason,
    help="For the history, where a mend is written to it.",
)
@json_option
@click.pass_obj
def doctor(project: Project, mend: bool, why: str, as_json: bool) -> None:
    """Find what is wrong with the registry, and with --repair mend it.

    \b
      compass doctor
      compass doctor --repair --why "the server was restarted"

    \b
    Found and mended
      a stage or an alias that disagrees with the history (an interrupted write, a promotion past compass)
      files of a champion, a candidate or the former champion that are missing: restored from a copy
      a champion that was deleted: registered anew from a copy
      a claim on writing stages that a dead process left
    Told only
      a version that was never decided on, a language that params.yaml does not name

    Ends with exit code 4 if a fault is left. `compass verify` reads every file besides.
    """
    from compass_ops.registry.checkup import examine, repair

    findings = examine(project.store, project.params.project.languages)
    if mend:
        findings = repair(project.store, findings, why)
    if as_json:
        print_json([vars(finding) | {"fault": finding.is_fault} for finding in findings])
    else:
        for finding in findings:
            click.echo(f"{finding.text}{f' {finding.mended}' if finding.mended else ''}")
        left = sum(finding.is_fault for finding in findings)
        click.echo(f"{len(findings)} findings, {left} faults left.")
    if any(finding.is_fault for finding in findings):
        raise SystemExit(FOUND_WRONG)


@click.command()
@versions_argument
@all_option
@why_option
@json_option
@click.pass_obj
def restore(project: Project, languages: tuple[str, ...], everything: bool, why: str, as_json: bool) -> None:
    """Bring back the files of a champion, or of sw/3, that were deleted or altered: bit for bit, or not at all.

    \b
      compass restore sw --why "mlflow gc took them"
      compass restore --all --why "disk replaced"

    Copies are looked for in .memo, build and DVC's cache of this project. Of several languages, those that have one
    come back, and the others are named. If the champion's version itself was deleted (its number never comes back),
    the same files become a new version in Production.
    """
    from compass_ops.errors import ConflictError, RegistryError
    from compass_ops.registry.names import known_language
    from compass_ops.registry.restore import restore as bring_back

    views = project.store.read()
    asked = []
    for name in project.chosen(languages, everything, lambda view: view.state.production is not None):
        language, version = language_and_version(name)
        view = views[known_language(language, views)]
        number = version or view.state.production
        if number is None:
            raise click.UsageError(f"{language}: no version is in Production. Name one, such as {language}/3.")
        asked.append((view, number))
    done: list[str] = []
    faults: list[RegistryError] = []
    for view, number in asked:
        try:
            done.append(bring_back(project.store, view, number, why))
        except RegistryError as error:
            faults.append(error)
    if as_json:
        print_json(done)
    elif done:
        click.echo("\n".join(done))
    if faults:
        kind = ConflictError if any(isinstance(fault, ConflictError) for fault in faults) else RegistryError
        raise kind("\n".join(map(str, faults)))


@click.command("gc")
@click.option("--yes", is_flag=True, help="Do it; without this, only show what would go.")
@json_option
@click.pass_obj
def collect(project: Project, yes: bool, as_json: bool) -> None:
    """Delete versions whose retention is over, with their files. The history keeps what was decided on them.

    \b
      compass gc          shows what would go
      compass gc --yes

    registry.retention_days in params.yaml says how long every version is kept. What is in Production or Staging, what
    a rollback would bring back, and what was in Production within that time is never deleted.
    """
    from dataclasses import asdict

    from compass_ops.registry.collect import discard_leftovers, found_leftovers

    days = project.policies.retention_days
    found = found_leftovers(project.store, days)
    if yes:
        discard_leftovers(project.store, found, days)
    if as_json:
        print_json([asdict(one) | {"deleted": yes} for one in found])
    else:
        _tell(found, yes)


def _tell(found: "list[Leftover]", done: bool) -> None:
    for one in found:
        click.echo(f"{one.language}: version {one.version}: {one.reason}")
    ends = "deleted." if done else "would be deleted; --yes does it."
    click.echo(f"{len(found)} versions {ends}")


@click.command()
@click.option("--yes", is_flag=True, help="Do it; without this, only show what would be archived.")
@click.option(
    "--why", default="removed from project.languages", show_default=True, callback=reason, help="For the history."
)
@json_option
@click.pass_obj
def prune(project: Project, yes: bool, why: str, as_json: bool) -> None:
    """Archive what languages have that params.yaml names no longer: they then have no champion.

    \b
      compass prune       shows what would be archived
      compass prune --yes

    Files and history stay; `compass promote sw/3` brings a version back.
    """
    from compass_ops.registry.collect import archive_unlisted, unlisted

    found = unlisted(project.store.read(), project.params.project.languages)
    if yes and found:
        archive_unlisted(project.store, found, why)
    if as_json:
        print_json(
            [{"language": language, "versions": versions, "archived": yes} for language, versions in found.items()]
        )
        return
    for language, versions in found.items():
        click.echo(f"{language}: version {', '.join(versions)} {'archived' if yes else 'would be archived'}")
    click.echo(f"{len(found)} languages{'' if yes else '; --yes does it'}.")


COMMANDS = (doctor, restore, collect, prune)
