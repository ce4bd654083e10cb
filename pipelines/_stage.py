"""What every stage script shares: one clear line and exit code 1 for an error that has a remedy."""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import click

from compass_ops.errors import CompassError

MEMO = Path(".memo")

# Libraries neither phone home nor draw bars of their own across the stage's.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}


def stage(function: Callable[..., None]) -> Callable[..., None]:
    """Make a stage's main function a command; every option it declares is a path."""
    os.environ.update(_QUIET)
    warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        try:
            function(**arguments)
        except CompassError as error:
            _end(str(error))
        except KeyboardInterrupt:
            _end("interrupted. What is finished is kept; `dvc repro` goes on from there.")

    return click.command()(run)


def _end(message: str) -> NoReturn:
    click.echo(f"{Path(sys.argv[0]).stem}: {message}", err=True)
    sys.exit(1)


def path_option(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Declare a required path option; dvc.yaml names every path that a stage reads or writes."""
    return click.option(name, type=click.Path(path_type=Path), required=True)
