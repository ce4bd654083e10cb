"""Where the registry is, who is asking and from which commit: what the environment says."""

import getpass
import os
import shutil
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from compass_ops.errors import RegistryError
from compass_ops.registry_sections import REMOTE, SQLITE, is_experiment, is_registry_uri
from compass_ops.terminal import masked

TRACKING_URI = "MLFLOW_TRACKING_URI"  # MLflow's own variable


@dataclass(frozen=True)
class RegistryLocation:
    """An MLflow tracking and registry server or database.

    Attributes
    ----------
    uri : str
        With an absolute path where it is an SQLite file.
    experiment : str
        Name of the MLflow experiment that holds the runs.
    root : Path
        The project's root folder.
    """

    uri: str
    experiment: str
    root: Path

    @property
    def database(self) -> Path | None:
        """The SQLite file, or None for a server."""
        return Path(self.uri.removeprefix(SQLITE)) if self.uri.startswith(SQLITE) else None

    @property
    def artifacts(self) -> str | None:
        """Where a new experiment's artifacts go; None leaves the choice to the server."""
        if self.uri.startswith(REMOTE):
            return None
        beside = self.root / "mlruns" if self.database is None else self.database.parent
        return (beside / "artifacts" / self.experiment).as_uri()

    @property
    def shown(self) -> str:
        """The URI without a password."""
        return masked(self.uri)


def registry_location(uri: str, experiment: str) -> RegistryLocation:
    """Resolve where the registry is: as ``located``, but ``MLFLOW_TRACKING_URI`` overrides ``uri``, that of params."""
    return located(os.environ.get(TRACKING_URI) or uri, experiment)


def located(uri: str, experiment: str) -> RegistryLocation:
    """Resolve where a registry is.

    Parameters
    ----------
    uri : str
        A relative SQLite path counts from the project's root, so that experiments in temporary folders meet the same
        registry.
    experiment : str
        Name of the MLflow experiment; letters, digits, ``-``, ``_`` and ``.``.

    Raises
    ------
    RegistryError
        If the URI is of no kind that MLflow's registry can live in.
    """
    root = project_root()
    if not is_experiment(experiment):
        raise RegistryError(f"{experiment[:80]!r} cannot name an experiment. Use letters, digits, - and _.")
    if uri.startswith(SQLITE):
        path = str(root / uri.removeprefix(SQLITE))
        if not is_registry_uri(uri) or not is_registry_uri(f"{SQLITE}{path}"):
            raise RegistryError(
                f"{uri!r} ({path}) cannot hold a registry: it must be the path of a file, without ? and %. Set "
                "registry.uri to one such as sqlite:///mlruns/mlflow.db, in a folder whose name has neither."
            )
        uri = f"{SQLITE}{path}"
    elif not is_registry_uri(uri):
        raise RegistryError(
            f"{masked(uri)!r} cannot hold a registry. Set registry.uri or MLFLOW_TRACKING_URI to a database such as "
            "sqlite:///mlruns/mlflow.db or to the address of an MLflow server."
        )
    return RegistryLocation(uri, experiment, root)


def project_root() -> Path:
    """Return the folder of the project that the caller works in.

    DVC runs temporary experiments in ``<root>/.dvc/tmp/exps/...``: the project they belong to is above.
    """
    stated = os.environ.get("DVC_ROOT")
    here = Path(stated).resolve() if stated else Path.cwd()
    for folder in reversed((here, *here.parents)):
        if here.is_relative_to(folder / ".dvc" / "tmp"):
            return folder
    if stated:
        return here
    return next((folder for folder in (here, *here.parents) if (folder / "dvc.yaml").is_file()), here)


def running_experiment() -> str | None:
    """Return the name of the DVC experiment that this process is part of, or None."""
    return os.environ.get("DVC_EXP_NAME") or None


def author() -> str:
    """Return who is asking, for the history: the server's user, or that of this machine."""
    named = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if named:
        return named
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return f"uid {os.getuid()}"


def now() -> str:
    """Return the time for the history, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def git_commit(root: Path) -> str | None:
    """Return the commit checked out in ``root``, ``-dirty`` added where files differ; None outside git."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    described = subprocess.run(command, capture_output=True, text=True, check=False)
    return described.stdout.strip() or None if described.returncode == 0 else None
