"""The surroundings that MLflow is loaded in: it sends nothing, draws nothing, opens no pickle."""

import os
from types import MappingProxyType

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


def quiet_mlflow() -> None:
    """Set the environment that MLflow reads as it is loaded; to be called before each import of it."""
    os.environ.update({**_PATIENCE, **os.environ, **_ENVIRONMENT})
