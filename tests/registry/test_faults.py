"""Every fault of a registry has one error and a remedy; what is busy is tried again, not forever."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from compass_ops.errors import BusyError, RegistryError
from compass_ops.registry import faults
from compass_ops.registry.location import RegistryLocation


@pytest.mark.parametrize(
    "code", ["RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED", "UNAUTHENTICATED", "INTERNAL_ERROR", "INVALID_STATE"]
)
def test_every_error_of_mlflow_becomes_one_of_ours(tmp_path: Path, code: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    location = RegistryLocation("https://ann:sec/secret@mlflow.example.org", "compass", tmp_path)
    with (
        pytest.raises(RegistryError, match="reading failed") as caught,
        faults.mlflow_errors(location, "reading"),
    ):
        raise MlflowException(f"API request to {location.uri}/api failed", ErrorCode.Value(code))
    assert "API request to https://***@mlflow.example.org/api failed" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_busy_registry_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call waits by itself, as one for a lock does."""
    moments = iter(range(0, 1000, 7))
    clock = {"monotonic": lambda: float(next(moments)), "monotonic_ns": lambda: 0, "sleep": lambda _: None}
    monkeypatch.setattr(faults, "time", SimpleNamespace(**clock))
    calls: list[None] = []

    def busy() -> None:
        calls.append(None)
        raise BusyError("database is locked")

    with pytest.raises(BusyError, match="locked"):
        faults.persist(busy)
    assert len(calls) == 3  # after 0, 7 and 14 seconds
