import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from compass_ops.errors import BusyError, RegistryError
from compass_ops.registry import tracking
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.store import RegistryStore
from pipelines._code import ROOT


def test_a_training_run_keeps_its_curve_params_and_tags(store: RegistryStore) -> None:
    location = store.location
    curve = [(step, {"loss": 1 / step, "rate": 0.1}) for step in range(1, 1001)]
    params = {"rank": 8, **{f"p{number}": number for number in range(150)}}
    notes = tracking.RunNotes(params, {"compass.language": "sw"}, {"accuracy": 0.5})
    run_id = tracking.log_training_run(location, "sw", notes, curve)
    client = tracking.open_client(location)
    run = client.get_run(run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "sw")
    assert (run.data.params["rank"], len(run.data.params)) == ("8", 151)
    assert run.data.tags["compass.language"] == "sw"
    assert run.data.metrics["accuracy"] == 0.5
    history = client.get_metric_history(run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(step, 1 / step) for step in range(1, 1001)]


def test_a_training_that_fails_leaves_a_failed_run_with_what_was_logged(store: RegistryStore) -> None:
    with (
        pytest.raises(RuntimeError, match="NaN"),
        tracking.training_run(store.location, "sw", tracking.RunNotes()) as run,
    ):
        run.log(1, {"loss": 2.0})
        raise RuntimeError("NaN")
    found = tracking.open_client(store.location).get_run(run.run_id)
    assert (found.info.status, found.data.metrics) == ("FAILED", {"loss": 2.0})


def test_training_goes_on_without_mlflow(store: RegistryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "available", lambda: False)
    assert tracking.log_training_run(store.location, "sw", tracking.RunNotes(), [(1, {"loss": 1.0})]) is None


def test_a_metric_with_an_impossible_name_is_refused(store: RegistryStore) -> None:
    with (
        pytest.raises(RegistryError, match="cannot name a metric"),
        tracking.training_run(store.location, "sw", tracking.RunNotes()) as run,
    ):
        run.log(1, {"loss;drop": 1.0})


def test_a_deleted_experiment_is_named_with_the_way_back(store: RegistryStore) -> None:
    client = tracking.open_client(store.location)
    client.delete_experiment(tracking.experiment_id(client, store.location))
    with pytest.raises(RegistryError, match=r"was deleted. Restore it with `mlflow experiments restore"):
        tracking.experiment_id(client, store.location)


@pytest.mark.parametrize(
    "code", ["RESOURCE_DOES_NOT_EXIST", "PERMISSION_DENIED", "UNAUTHENTICATED", "INTERNAL_ERROR", "INVALID_STATE"]
)
def test_every_error_of_mlflow_becomes_one_of_ours(tmp_path: Path, code: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    location = RegistryLocation("https://ann:secret@mlflow.example.org", "compass", tmp_path)
    with (
        pytest.raises(RegistryError, match="reading failed") as caught,
        tracking.mlflow_errors(location, "reading"),
    ):
        raise MlflowException("no", ErrorCode.Value(code))
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("a file in the way")
    location = RegistryLocation(f"sqlite:///{tmp_path}/mlruns/mlflow.db", "compass", tmp_path)
    with pytest.raises(RegistryError, match="the registry's folder cannot be made"):
        tracking.open_client(location)


QUIET = """
import os, sys
from pathlib import Path
from compass_ops.registry.artifacts import files_at
from compass_ops.registry.location import RegistryLocation
assert "mlflow" not in sys.modules
files_at(RegistryLocation("sqlite:///none.db", "compass", Path()), Path().resolve().as_uri())
from mlflow.telemetry.client import get_telemetry_client
print(get_telemetry_client(), os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"])
"""


def test_whatever_loads_mlflow_first_sends_nothing_and_opens_no_pickle(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    command = [sys.executable, "-c", QUIET]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["None", "false"]


def test_a_busy_registry_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call waits by itself, as one for a lock does."""
    moments = iter(range(0, 1000, 7))
    clock = {"monotonic": lambda: float(next(moments)), "monotonic_ns": lambda: 0, "sleep": lambda _: None}
    monkeypatch.setattr(tracking, "time", SimpleNamespace(**clock))
    calls: list[None] = []

    def busy() -> None:
        calls.append(None)
        raise BusyError("database is locked")

    with pytest.raises(BusyError, match="locked"):
        tracking.persist(busy)
    assert len(calls) == 3  # after 0, 7 and 14 seconds
