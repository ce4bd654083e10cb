"""The command line: what a person asks of the registry and of the last run. Stages are `dvc repro`'s business."""

import gc
from typing import Any

import click

from compass_ops.cli import export, pipeline, plan, status, transitions, upkeep, versions
from compass_ops.cli.project import Project
from compass_ops.errors import CompassError, ConflictError


class _Conflict(click.ClickException):
    """Somebody else got there first: looking and calling again makes sense."""

    exit_code = 3


_SECTIONS = {
    "Look": (*status.COMMANDS, *versions.COMMANDS),
    "Decide": transitions.COMMANDS,
    "Keep order": upkeep.COMMANDS,
    "Serve": export.COMMANDS,
    "The pipeline's last run": (*plan.COMMANDS, *pipeline.COMMANDS),
}


class _Compass(click.Group):
    """A group whose commands end with one clear message for an error that has a remedy."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under what they are for, each with its whole first sentence."""
        for title, commands in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(command.name), command.get_short_help_str(200)) for command in commands])

    def invoke(self, ctx: click.Context) -> Any:
        gc.disable()  # a command is short, and MLflow makes enough objects for seconds of looking for garbage
        try:
            return super().invoke(ctx)
        except ConflictError as error:
            raise _Conflict(str(error)) from error
        except CompassError as error:
            raise click.ClickException(str(error)) from error
        finally:
            gc.enable()


@click.group(cls=_Compass, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="compass_ops")
@click.option("--uri", envvar="MLFLOW_TRACKING_URI", help="The registry; that of params.yaml if not given.")
@click.pass_context
def main(context: click.Context, uri: str | None) -> None:
    """Look at and correct what the pipeline registered: one champion per language, and how it came to be.

    A language is named by its tag, a version of it as sw/3. Commands that decide on several languages do all of
    what is asked or nothing. Every command takes --json.

    \b
    Exit codes
      0  done
      1  not done; the message says why and what to do
      2  a wrong call
      3  not done: somebody else changed the registry first; look, then call again
      4  verify or doctor found something wrong

    \b
    A first look
      compass status                    the fleet
      compass history sw                who was in Production, when and why
      compass rollback sw --why "..."   the former champion again, held until `compass release sw`
      compass rollback --help           examples, as every command has them

    \b
    Completion of commands and languages (or zsh_source, fish_source)
      eval "$(_COMPASS_COMPLETE=bash_source compass)"
    """
    context.obj = Project(uri)


for _commands in _SECTIONS.values():
    for _command in _commands:
        main.add_command(_command)
