"""The door to MLflow's tracking: the client, and one run per training and per registered version.

MLflow is imported when it is first needed, and a machine without it trains all the same: runs are then not logged.
"""

import importlib.util
import logging
import math
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compass_ops.errors import RegistryError
from compass_ops.registry.artifacts import delete_folder
from compass_ops.registry.faults import gone_already, made_by_another, mlflow_errors
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.quiet import quiet_mlflow

_FLUSH_POINTS, _FLUSH_SECONDS = 200, 5.0
_BATCH_METRICS, _BATCH_PARAMS = 1000, 100  # MLflow's limits for one log_batch
_LONGEST_PARAM, _LONGEST_TAG = 6000, 8000
_METRIC_NAME = re.compile(r"[\w./ -]{1,250}", re.ASCII)


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
    quiet_mlflow()
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


def delete_version_run(client: Any, location: RegistryLocation, run_id: str, uri: str) -> None:
    """Delete what ``log_version_run`` left, the files at ``uri`` and their run; nothing where it left none or is gone.

    A version that was registered past compass may have files of other owners, such as MLflow's ``models:/m-...``.
    """
    place: str | None = None
    if run_id:
        with mlflow_errors(location, f"looking for run {run_id}"), gone_already():
            place = f"{client.get_run(run_id).info.artifact_uri}/version"
    if uri != place:
        return
    delete_folder(location, uri)
    with mlflow_errors(location, f"deleting run {run_id}"), gone_already():
        client.delete_run(run_id)


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
