"""The section ``registry`` of ``params.yaml``: where versions are kept, and what the project's policies are."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from compass_ops.sections import Count, Section

SQLITE = "sqlite:///"
REMOTE = ("http://", "https://", "databricks")
_DATABASES = ("postgresql", "mysql", "mssql")


def is_registry_uri(uri: str) -> bool:
    """Tell whether MLflow's registry can live there: an SQLite file, another database or a server."""
    if not uri.startswith(SQLITE):
        return uri.startswith((*REMOTE, *_DATABASES))
    path = uri.removeprefix(SQLITE)
    return bool(path) and not path.endswith(":memory:") and not set(path) & set("?%")


def is_experiment(name: str) -> bool:
    """Tell whether a name can be that of an experiment."""
    return re.fullmatch(r"\w[\w.-]{0,99}", name, re.ASCII) is not None


def _uri_form(uri: str) -> str:
    if not is_registry_uri(uri):
        raise ValueError("must be the path of an SQLite file, without ? and %, or the address of a database or server")
    return uri


def _experiment_form(name: str) -> str:
    if not is_experiment(name):
        raise ValueError("must be of letters a to z, digits, '-', '_' and '.', 100 at most")
    return name


class RegistryParams(Section):
    """Where runs and versions are kept."""

    uri: Annotated[str, AfterValidator(_uri_form)] = Field(
        description="Give MLflow's URI, such as sqlite:///mlruns/mlflow.db; MLFLOW_TRACKING_URI wins over it."
    )
    experiment: Annotated[str, AfterValidator(_experiment_form)] = Field(
        description="Name the MLflow experiment that runs are logged in, such as compass."
    )
    promotion: Literal["auto", "manual"] = Field(
        description="Choose auto, or manual: what passes the gate waits in Staging for `compass approve`."
    )
    required_evidence: list[Literal["decision", "drift"]] = Field(
        description="List what a version that a person promotes must hold: decision (the gate's, to promote), drift "
        "(the verdict that led to an update); or give []."
    )
    retention_days: Count = Field(description="Set the days for which `compass gc` keeps every version, such as 90.")
