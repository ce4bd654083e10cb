"""The door to MLflow's tracking: the client, and one run per training and per registered version.

MLflow is imported when it is first needed, and a machine without it trains all the same: runs are then not logged.
"""

import importlib.util
import logging
import math
import os
import re
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from compass_ops.errors import BusyError, RegistryError
from compass_ops.registry.database_client import ABSENT, INVALID, PRESENT, DatabaseRefusalError
from compass_ops.registry.location import RegistryLocation

_FLUSH_POINTS, _FLUSH_SECONDS = 200, 5.0
_BATCH_METRICS, _BATCH_PARAMS = 1000, 100  # MLflow's limits for one log_batch
_LONGEST_PARAM, _LONGEST_TAG = 6000, 8000
_METRIC_NAME = re.compile(r"[\w./ -]{1,250}", re.ASCII)
_ENVIRONMENT = MappingProxyType(
    {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
        "DO_NOT_TRACK": "true",
    }
)
# A server that cannot be reached is named within half a minute.
_PATIENCE = MappingProxyType({"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4", "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1"})
# MLflow reads them when it is loaded, and whoever loads it in this package has come through this door.
os.environ.update({**_PATIENCE, **os.environ, **_ENVIRONMENT})
_REMEDIES = MappingProxyType(
    {
        ABSENT: "It may have been deleted; `compass status` shows what there is.",
        INVALID: "Shorten it.",
        "PERMISSION_DENIED": "Ask the server's administrator for the permission.",
        "UNAUTHENTICATED": "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    }
)
_DAMAGED = "The file is damaged or no registry: look where registry.uri points, or restore it from a backup."
# Parts of messages that have no error code of their own, and what to do about them.
_TOLD_REMEDIES = MappingProxyType(
    {
        "readonly database": "Its files cannot be written here: fix their permissions, or work where they can.",
        "malformed": _DAMAGED,
        "not a database": _DAMAGED,
        "no such table": _DAMAGED,
        "schema": "The database belongs to another version of MLflow: install that one, or see `mlflow db upgrade`.",
        "failed with error code 401": _REMEDIES["UNAUTHENTICATED"],
        "failed with error code 403": _REMEDIES["PERMISSION_DENIED"],
    }
)
_BUSY = ("Giving up after", "database is locked", "could not serialize", "deadlock detected")
_PATIENCE_SECONDS, _FIRST_PAUSE_SECONDS = 15.0, 0.04
_Result = TypeVar("_Result")
_REMEDY = "Check that the database or server can be reached and written, then rerun; what is done stays done."


@dataclass(frozen=True)
class RunNotes:
    """What an MLflow run says beside its curve: flat parameters, tags, final metrics."""

    params: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def available() -> bool:
    """Return whether MLflow is installed."""
    return importlib.util.find_spec("mlflow") is not None


def open_client(location: RegistryLocation) -> Any:
    """Open an ``MlflowClient``, creating the database's folder; ``RegistryError`` if that fails."""
    if location.database is not None:
        _writable_folder(location)
    with warnings.catch_warnings(), mlflow_errors(location, "opening the registry"):
        warnings.simplefilter("ignore")  # MLflow's own use of SQLAlchemy
        from mlflow.tracking import MlflowClient

        for name in ("alembic", "mlflow.store.model_registry.abstract_store"):
            logging.getLogger(name).setLevel(logging.WARNING)
        # It writes a traceback for every error that it also raises.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        return MlflowClient(location.uri, location.uri)


def _writable_folder(location: RegistryLocation) -> None:
    folder = Path(str(location.database)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(
            f"{folder}: the registry's folder cannot be made ({error}). Fix permissions, or set another registry.uri."
        ) from error


@contextmanager
def mlflow_errors(location: RegistryLocation, doing: str) -> Iterator[None]:
    """Turn every error of MLflow or its database into a ``RegistryError`` that says what was being done."""
    try:
        yield
    except _faults() as error:
        code = getattr(error, "error_code", "")
        text = str(error).strip()
        said = text.splitlines()[0] if text else type(error).__name__
        remedy = next((told for part, told in _TOLD_REMEDIES.items() if part in text), None)
        kind = RegistryError if remedy else _kind(code, text)
        remedy = remedy or _REMEDIES.get(code, _REMEDY)
        raise kind(f"{location.shown}: {doing} failed ({said}). {remedy}") from error


def _faults() -> tuple[type[Exception], ...]:
    """Return what a registry raises. MLflow is not loaded for it: unless it is, it has raised nothing."""
    ours = (DatabaseRefusalError, sqlite3.Error, OSError)
    if "mlflow.exceptions" not in sys.modules:
        return ours
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (*ours, MlflowException, SQLAlchemyError)


def _kind(code: str, text: str) -> type[RegistryError]:
    busy = code == "TEMPORARILY_UNAVAILABLE" or any(part in text for part in _BUSY)
    return BusyError if busy else RegistryError


def persist(action: Callable[[], _Result]) -> _Result:
    """Call ``action`` until the registry is no longer busy; ``BusyError`` from the first call that ends too late.

    For actions that may be repeated: a reader, a write that gives the same result twice. A call waits up to 20 s for
    a lock of SQLite by itself, and none begins more than 15 s after the first.
    """
    begun, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except BusyError:
            spread = 0.5 + time.monotonic_ns() % 1000 / 1000  # so that those who met once do not meet again
            if time.monotonic() - begun + pause * spread > _PATIENCE_SECONDS:
                raise
            time.sleep(pause * spread)
            pause *= 2


def made_by_another() -> AbstractContextManager[None]:
    """Let pass that something exists already: another process made it since one looked."""
    return _let_pass(PRESENT)


def gone_already() -> AbstractContextManager[None]:
    """Let pass that something to be deleted does not exist."""
    return _let_pass(ABSENT)


@contextmanager
def _let_pass(code: str) -> Iterator[None]:
    try:
        yield
    except _faults() as error:
        if getattr(error, "error_code", None) != code:
            raise


def experiment_id(client: Any, location: RegistryLocation) -> str:
    """Return the id of the location's experiment, creating it at first use."""
    with mlflow_errors(location, f"opening experiment {location.experiment}"):
        found = client.get_experiment_by_name(location.experiment)
        if found is None:
            with made_by_another():
                client.create_experiment(location.experiment, artifact_location=location.artifacts)
            found = client.get_experiment_by_name(location.experiment)
    if found.lifecycle_stage != "active":
        raise RegistryError(
            f"{location.shown}: experiment {location.experiment} was deleted. Restore it with `mlflow experiments "
            f"restore --experiment-id {found.experiment_id}`, or set another registry.experiment."
        )
    return str(found.experiment_id)


class TrainingRun:
    """A live MLflow run; metrics are sent in batches.

    Parameters
    ----------
    client : MlflowClient or None
        None logs nothing.
    """

    def __init__(self, client: Any, location: RegistryLocation, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._location = location
        self._waiting: list[tuple[int, str, float, int]] = []
        self._sent = time.monotonic()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Note metrics at a training step; values that are not finite are kept as MLflow keeps them."""
        stamp = int(time.time() * 1000)
        for name, value in metrics.items():
            if not _METRIC_NAME.fullmatch(name):
                raise RegistryError(f"{name!r} cannot name a metric. Use letters, digits, '_', '-', '.', '/'.")
            self._waiting.append((step, name, float(value), stamp))
        if len(self._waiting) >= _FLUSH_POINTS or time.monotonic() - self._sent > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send what waits."""
        waiting, self._waiting, self._sent = self._waiting, [], time.monotonic()
        if self._client is None or not waiting:
            return
        from mlflow.entities import Metric

        metrics = [Metric(name, value, stamp, step) for step, name, value, stamp in waiting]
        with mlflow_errors(self._location, "logging metrics"):
            for start in range(0, len(metrics), _BATCH_METRICS):
                self._client.log_batch(self.run_id, metrics=metrics[start : start + _BATCH_METRICS])


@contextmanager
def training_run(location: RegistryLocation, name: str, notes: RunNotes) -> Iterator[TrainingRun]:
    """Follow a training live; without MLflow installed nothing is logged.

    The run ends as FINISHED, or as FAILED if the body raises.
    """
    if not available():
        yield TrainingRun(None, location, "")
        return
    client = open_client(location)
    run = _start(client, location, name, notes)
    status = "FAILED"
    try:
        yield run
        run.log(0, notes.metrics)
        status = "FINISHED"
    finally:
        run.flush()
        with mlflow_errors(location, "ending a run"):
            client.set_terminated(run.run_id, status)


def log_training_run(
    location: RegistryLocation, name: str, notes: RunNotes, curve: Sequence[tuple[int, Mapping[str, float]]]
) -> str | None:
    """Log a finished training as one run and return its id, or None without MLflow.

    Parameters
    ----------
    curve : sequence of (step, {metric: value})
    """
    with training_run(location, name, notes) as run:
        for step, metrics in curve:
            run.log(step, metrics)
    return run.run_id or None


def log_version_run(
    client: Any, location: RegistryLocation, name: str, notes: RunNotes, folder: Path
) -> tuple[str, str]:
    """Log a version folder as the artifacts of a finished run and return (run id, URI of the folder).

    A run that was finished for the same ``compass.manifest`` tag is taken again: the registration that made it was
    interrupted.
    """
    manifest = notes.tags["compass.manifest"]
    with mlflow_errors(location, f"looking for the run of {name}"):
        found = client.search_runs(
            [experiment_id(client, location)],
            f"tags.`compass.manifest` = '{manifest}' and attributes.status = 'FINISHED'",
            max_results=1,
        )
    if found:
        return found[0].info.run_id, f"{found[0].info.artifact_uri}/version"
    run = _start(client, location, name, notes)
    run.log(0, {key: value for key, value in notes.metrics.items() if math.isfinite(value)})
    run.flush()
    with mlflow_errors(location, f"uploading {name}"):
        client.log_artifacts(run.run_id, str(folder), "version")
        client.set_terminated(run.run_id, "FINISHED")
        return run.run_id, f"{client.get_run(run.run_id).info.artifact_uri}/version"


def log_report(client: Any, location: RegistryLocation, run_id: str, path: Path, folder: str) -> None:
    """Attach a report file to a run, in a folder of its artifacts."""
    with mlflow_errors(location, f"uploading {path.name}"):
        client.log_artifact(run_id, str(path), folder)


def _start(client: Any, location: RegistryLocation, name: str, notes: RunNotes) -> TrainingRun:
    from mlflow.entities import Param

    experiment = experiment_id(client, location)
    params = [Param(key, str(value)[:_LONGEST_PARAM]) for key, value in sorted(notes.params.items())]
    tags = {key: value[:_LONGEST_TAG] for key, value in notes.tags.items()}
    with mlflow_errors(location, f"starting run {name}"):
        run = client.create_run(experiment, run_name=name, tags=tags)
        for start in range(0, len(params), _BATCH_PARAMS):
            client.log_batch(run.info.run_id, params=params[start : start + _BATCH_PARAMS])
    return TrainingRun(client, location, run.info.run_id)
