"""How long a large registry takes: `python -m benchmarks.registry_scale --languages 200 --versions 20`.

Makes an SQLite registry where every version of every language was champion in turn, and times `compass` as a person
calls it: the whole process, imports included. The two newest versions of each language have files; older ones are rows
of the registry alone. Beside the seconds by the clock stand those of the processor: on a busy machine they say more.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import yaml

from benchmarks.languages import known_languages
from compass_ops.registry.history import Entry
from compass_ops.registry.location import RegistryLocation, now
from compass_ops.registry.mirroring import mirror
from compass_ops.registry.names import HISTORY, model_name
from compass_ops.registry.rows import TAG, decision_tags
from compass_ops.registry.stages import NONE, PRODUCTION, PROMOTED
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.registry.versions import DECISION, run_notes, stage_for_registration
from compass_ops.storage import value_digest
from pipelines._code import ROOT
from tests.registry.conftest import make_version

WITH_FILES = 2
RECORD: dict[str, Any] = {"verdict": "promote", "tests": [{"name": "better on new", "estimate": 0.04, "passed": True}]}


@click.command()
@click.option("--languages", default=200, show_default=True)
@click.option("--versions", default=20, show_default=True, help="Versions per language; at least two.")
@click.option("--runs", default=3, show_default=True, help="Calls of each command; the median is told.")
def main(languages: int, versions: int, runs: int) -> None:
    """Print the seconds of status, promote and rollback --all."""
    with tempfile.TemporaryDirectory(prefix="compass.") as folder:
        root = Path(folder).resolve()
        names = _names(languages)
        started = time.perf_counter()
        _write_params(root, names)
        _fill(root, names, versions)
        click.echo(f"{languages} languages x {versions} versions, made in {time.perf_counter() - started:.0f} s")
        looks, promotions = [], []
        for run in range(runs):
            looks.append(_seconds(root, "status"))
            promotions.append(_seconds(root, "promote", f"{names[run]}/{versions - 1}", "--why", "timed"))
        _tell("status", looks)
        _tell("promote of one language", promotions)
        for name in names[:runs]:  # as it was before
            _seconds(root, "promote", f"{name}/{versions}", "--why", "timed")
        _tell("rollback --all", [_seconds(root, "rollback", "--all", "--why", "timed")])


def _names(number: int) -> list[str]:
    """Return so many languages, those that params.yaml speaks of first."""
    return list(dict.fromkeys([*_params()["project"]["languages"], *known_languages()]))[:number]


def _params() -> Any:
    return yaml.safe_load((ROOT / "params.yaml").read_text("utf-8"))


def _write_params(root: Path, names: list[str]) -> None:
    params = _params()
    params["project"]["languages"] = names
    (root / "params.yaml").write_text(yaml.safe_dump(params), "utf-8")


def _fill(root: Path, names: list[str], versions: int) -> None:
    """Register the versions, write the history of their promotions, then stages and aliases."""
    store = RegistryStore(RegistryLocation(f"sqlite:///{root}/mlruns/mlflow.db", "compass", root))
    client = open_client(store.location)
    for name in (HISTORY, *map(model_name, names)):
        client.create_registered_model(name)
    heads: dict[str, Entry] = {}
    for number in range(1, versions + 1):
        for language in names:
            has_files = number > versions - WITH_FILES
            digest = _registered(store, language, number, root) if has_files else _row(client, language, number)
            heads[language] = _promoted(language, number, digest, heads.get(language))
            client.create_model_version(HISTORY, "compass:/history", tags=decision_tags([heads[language]]))
    mirror(store, names)


def _row(client: Any, language: str, number: int) -> str:
    digest = value_digest([language, number])
    client.create_model_version(model_name(language), "compass:/nowhere", tags={f"{TAG}digest": digest})
    return digest


def _registered(store: RegistryStore, language: str, number: int, root: Path) -> str:
    source, folder = root / "made" / language / str(number), root / "staged" / language / str(number)
    digest = make_version(source, language, number)
    record = {**RECORD, "candidate": digest, "window": None, "drift_digest": None}
    record["record_digest"] = value_digest(record)
    decision = json.dumps(record).encode()
    manifest = stage_for_registration(source, folder, {DECISION: decision}, None)
    store.add_version(language, folder, run_notes(manifest, record))
    return digest


def _promoted(language: str, number: int, digest: str, before: Entry | None) -> Entry:
    return Entry(
        language=language,
        kind=PROMOTED,
        who="ann",
        when=now(),
        why="better",
        version=str(number),
        digest=digest,
        source=NONE,
        target=PRODUCTION,
        replaces=before.version if before else None,
        record="0" * 64,
        previous=before.hash if before else None,
    )


def _seconds(root: Path, *arguments: str) -> tuple[float, float]:
    """Call compass; return the seconds by the clock and those of the processor."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    started, used = time.perf_counter(), _used()
    done = subprocess.run(
        [sys.executable, "-m", "compass_ops.cli", *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(done.stderr)
    return time.perf_counter() - started, _used() - used


def _used() -> float:
    of_children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return of_children.ru_utime + of_children.ru_stime


def _tell(what: str, seconds: list[tuple[float, float]]) -> None:
    clock, processor = (statistics.median(column) for column in zip(*seconds, strict=True))
    each = ", ".join(f"{one:.2f}" for one, _ in seconds)
    click.echo(f"{what}: {clock:.2f} s ({each}), processor {processor:.2f} s")


if __name__ == "__main__":
    main()
