"""Options that the stages of several benchmarks have in common."""

import click

processes_option = click.option(
    "--processes",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many cells are made at the same time; set OMP_NUM_THREADS to the cores of each.",
)
