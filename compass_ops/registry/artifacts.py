"""The door to the files behind versions: whether they are there, bringing them back, giving them up."""

from pathlib import Path
from typing import Any

from compass_ops.errors import GoneError, RegistryError
from compass_ops.registry.faults import mlflow_errors
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.quiet import quiet_mlflow
from compass_ops.terminal import masked

GONE = "the files are gone. `compass restore` may bring them back."


def files_at(location: RegistryLocation, uri: str) -> dict[str, int]:
    """Return {path below ``uri``: size in bytes} of the files there; empty where nothing is."""
    with mlflow_errors(location, f"listing {uri}"):
        repository = _repository(location, uri)
        found: dict[str, int] = {}
        folders: list[str | None] = [None]
        while folders:
            for item in repository.list_artifacts(folders.pop()):
                if item.is_dir:
                    folders.append(item.path)
                else:
                    found[item.path] = int(item.file_size or 0)
    return found


def fetch_folder(location: RegistryLocation, uri: str, into: Path) -> Path:
    """Download an artifact folder below ``into`` and return where it lies; ``GoneError`` if it is gone."""
    quiet_mlflow()
    from mlflow.artifacts import download_artifacts

    try:
        with mlflow_errors(location, f"fetching {uri}"):
            return Path(download_artifacts(artifact_uri=uri, dst_path=str(into), tracking_uri=location.uri))
    except RegistryError as error:
        if files_at(location, uri):
            raise
        raise GoneError(f"{masked(uri)}: {GONE}") from error


def put_folder(location: RegistryLocation, folder: Path, uri: str) -> None:
    """Write a folder's files to ``uri``, over those that are there."""
    with mlflow_errors(location, f"writing {uri}"):
        _repository(location, uri).log_artifacts(str(folder))


def delete_folder(location: RegistryLocation, uri: str) -> None:
    """Delete what is at ``uri``; nothing happens where nothing is."""
    if not files_at(location, uri):
        return
    parent, name = uri.rsplit("/", 1)
    with mlflow_errors(location, f"deleting {uri}"):
        _repository(location, parent).delete_artifacts(name)


def _repository(location: RegistryLocation, uri: str) -> Any:
    quiet_mlflow()
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    return get_artifact_repository(uri, tracking_uri=location.uri)
