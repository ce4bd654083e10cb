"""What every stage script shares: one clear line and exit code 1 for an error that has a remedy."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from compass_ops.errors import CompassError

MEMO = Path(".memo")


def stage(function: Callable[..., None]) -> Callable[..., None]:
    """Make a stage's main function a command; every option it declares is a path."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        try:
            function(**arguments)
        except CompassError as error:
            click.echo(f"{function.__module__.rpartition('.')[2]}: {error}", err=True)
            sys.exit(1)

    return click.command()(run)


def path_option(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare a required path option; dvc.yaml names every path that a stage reads or writes."""
    return click.option(name, type=click.Path(path_type=Path), required=True)
