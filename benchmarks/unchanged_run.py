"""How long `dvc repro` takes when nothing has changed: `python -m benchmarks.unchanged_run --languages 200`.

Makes a project of so many languages in a temporary folder, on made-up data and a model of a few thousand weights, runs
it until nothing is left to do, and times the runs after that. What is timed is what grows with the number of languages:
DVC's look at the files, the registry, the stages that always run.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import click

from benchmarks.languages import known_languages
from tests.pipelines.project import ALWAYS, Ended, Project
from tests.pipelines.questions import TOPICS, schedule, small, write_lines

ROWS = {"target": 40, "own": 8, "test": 60, "auxiliary": 240, "pretrain": 20}
POOL = ("es", "fr", "pt")


@click.command()
@click.option("--languages", default=200, show_default=True, help="Target languages of the project.")
@click.option("--runs", default=5, show_default=True, help="Unchanged runs to time; the median is told.")
def main(languages: int, runs: int) -> None:
    """Print the seconds of an unchanged run."""
    targets = _targets(languages)
    with tempfile.TemporaryDirectory(prefix="compass.") as folder:
        project = Project.create(Path(folder) / "project", partial(_params, targets), partial(_write, targets))
        click.echo(f"{languages} languages, first run: {_seconds(project):.0f} s")
        while set((ended := _run(project)).stages) != ALWAYS:
            click.echo(f"settling: {', '.join(ended.stages)}")
        taken = [_seconds(project) for _ in range(runs)]
        shown = ", ".join(f"{seconds:.1f}" for seconds in taken)
        click.echo(f"{languages} languages, unchanged: {statistics.median(taken):.1f} s (median of {shown})")
        click.echo(f"stages that ran: {', '.join(ended.stages)}")


def _seconds(project: Project) -> float:
    start = time.perf_counter()
    _run(project)
    return time.perf_counter() - start


def _run(project: Project) -> Ended:
    ended = project.repro()
    if ended.returncode:
        raise click.ClickException(ended.stdout)
    return ended


def _targets(number: int) -> list[str]:
    return [name for name in known_languages() if name not in POOL][:number]


def _params(targets: list[str], params: dict[str, Any]) -> None:
    small(params)
    params["project"]["languages"] = targets
    params["train"]["schedule"] = schedule(epochs=6, batch_rows=8, learning_rate=0.01, checkpoint_steps=100)
    params["sample"]["budget"] = 30
    params["traffic"]["until"] = "0001"


def _write(targets: list[str], folder: Path) -> None:
    numbers = count()
    write_lines(folder / "records.jsonl", [row for role in ROWS for row in _records(role, targets, numbers)])
    asked = [_row("target", language, number) for language in targets for number in range(100)]
    log = [{"time": time_, "language": row["language"], "prompt": row["prompt"]} for time_, row in enumerate(asked)]
    write_lines(folder / "log.jsonl", log)


def _records(role: str, targets: list[str], numbers: Iterator[int]) -> Iterator[dict[str, Any]]:
    languages = {"auxiliary": POOL, "pretrain": POOL}.get(role, targets)
    for _ in range(ROWS[role]):
        number = next(numbers)
        for language in languages:
            yield _row(role, language, number)


def _row(role: str, language: str, number: int) -> dict[str, Any]:
    topics, answers = list(TOPICS), list(TOPICS.values())
    topic = topics[number % len(topics)]
    row: dict[str, Any] = {"language": language, "role": role, "topic": topic}
    row["prompt"] = f"{language} {role} {number} {topic} {topic}?"
    row["parallel_id"] = json.dumps([role, number]) if role in ("test", "pretrain") else None
    if role != "target":
        # The base learns answers that say nothing of the topic, so that adapters beat it and there are champions.
        right = answers[number // len(topics) % len(topics)] if role == "pretrain" else TOPICS[topic]
        row |= {"completion": right, "choices": answers, "answer": answers.index(right)}
    return row


if __name__ == "__main__":
    main()
