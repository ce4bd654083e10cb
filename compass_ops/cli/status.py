"""The command that shows the fleet."""

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from compass_ops.cli.options import json_option, print_json, print_table
from compass_ops.cli.project import Project

if TYPE_CHECKING:
    from pathlib import Path

    from compass_ops.registry.mirror import LanguageView

_SHOWN = ("language", "production", "age", "gain", "drift", "staging", "hold", "last decision")
_GAIN = "better on new"  # the test of the gate whose estimate is the gain on what is asked


@click.command()
@json_option
@click.pass_obj
def status(project: Project, as_json: bool) -> None:
    """Show the fleet: every language's Production version and age, its metrics, drift, hold and last decision.

    \b
      compass status
      compass status --json

    gain is the accuracy on what is asked that the version gained over what it was judged against; drift is the verdict
    on the newest window of this project's last run. --json has every metric, and the windows that were adopted.
    """
    from compass_ops.registry.location import now

    views = project.store.read()
    drift = _last_drift(project.root)
    at = now()
    rows = [_row(language, view, drift.get(language), at) for language, view in views.items()]
    if as_json:
        print_json(rows)
    elif rows:
        shown = [
            row
            | {
                "age": None if row["age days"] is None else f"{row['age days']:.0f} d",
                "gain": _signed(row["metrics"].get(_GAIN)),
            }
            for row in rows
        ]
        print_table(_SHOWN, shown)
    else:
        click.echo("Nothing is registered yet. `make repro` trains and registers.")


def _row(language: str, view: "LanguageView", drift: dict[str, Any] | None, at: str) -> dict[str, Any]:
    state = view.state
    last = state.entries[-1] if state.entries else None
    version = view.versions.get(state.production or "")
    arrived = next((e.when for e in reversed(state.entries) if e.version == state.production and e.target), None)
    return {
        "language": language,
        "production": state.production,
        "since": arrived if state.production else None,
        "age days": _days(arrived, at) if state.production and arrived else None,
        "metrics": json.loads(version.tags.get("metrics", "{}")) if version else {},
        "drift": None if drift is None else f"{drift['verdict']} {drift['window'] or ''}".strip(),
        "staging": state.staging,
        "adopted window": state.adopted[-1] if state.adopted else None,
        "hold": f"{state.hold.who}: {state.hold.why}" if state.hold else None,
        "last decision": f"{last.kind} {last.when[:10]} by {last.who}" if last else None,
    }


def _days(since: str, at: str) -> float:
    return round((datetime.fromisoformat(at) - datetime.fromisoformat(since)).total_seconds() / 86400, 2)


def _signed(value: float | None) -> str | None:
    return None if value is None else f"{value:+.3f}"


def _last_drift(root: "Path") -> dict[str, Any]:
    """Return the last run's drift verdicts; empty if the project has not looked at traffic."""
    from compass_ops.storage import read_json

    summary = root / "build" / "drift" / "summary.json"
    return read_json(summary) if summary.is_file() else {}


COMMANDS = (status,)
