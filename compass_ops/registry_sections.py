"""The section ``registry`` of ``params.yaml``: where versions are kept, and what the project's policies are."""

from typing import Literal

from pydantic import Field

from compass_ops.sections import Count, Section


class RegistryParams(Section):
    """Where runs and versions are kept."""

    uri: str = Field(
        description="Give MLflow's URI, such as sqlite:///mlruns/mlflow.db; MLFLOW_TRACKING_URI wins over it."
    )
    experiment: str = Field(min_length=1, description="Name the MLflow experiment that runs are logged in.")
    promotion: Literal["auto", "manual"] = Field(
        description="Choose auto, or manual: what passes the gate waits in Staging for `compass approve`."
    )
    required_evidence: list[Literal["decision", "drift"]] = Field(
        description="List what a version that a person promotes must hold: decision (the gate's, to promote), drift "
        "(the verdict that led to an update); or give []."
    )
    retention_days: Count = Field(description="Set the days for which `compass gc` keeps every version, such as 90.")
