"""The command that shows what was chosen to train on."""

import click

from compass_ops.cli.options import json_option, language_argument, print_json
from compass_ops.cli.project import Project


@click.command()
@language_argument
@json_option
@click.pass_obj
def plan(project: Project, language: str, as_json: bool) -> None:
    """Show what was chosen for LANGUAGE in the last run and why: clusters by gap, languages drawn, examples.

    \b
      compass plan sw

    --json has the plan with every cluster.
    """
    from compass_ops.monitoring.coverage import plan_text, read_plan

    found = read_plan(project.root, language)
    if as_json:
        print_json(found)
    else:
        click.echo(plan_text(found))


COMMANDS = (plan,)
