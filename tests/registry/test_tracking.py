from pathlib import Path

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry import tracking
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.store import RegistryStore


def test_a_training_run_keeps_its_curve_params_and_tags(store: RegistryStore) -> None:
    location = store.location
    curve = [(step, {"loss": 1 / step, "rate": 0.1}) for step in range(1, 1001)]
    params = {"rank": 8, **{f"p{number}": number for number in range(150)}}
    notes = tracking.RunNotes(params, {"compass.language": "sw"}, {"accuracy": 0.5})
    with tracking.training_run(location, "sw", notes) as logged:
        for step, metrics in curve:
            logged.log(step, metrics)
    client = tracking.open_client(location)
    run = client.get_run(logged.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "sw")
    assert (run.data.params["rank"], len(run.data.params)) == ("8", 151)
    assert run.data.tags["compass.language"] == "sw"
    assert run.data.metrics["accuracy"] == 0.5
    history = client.get_metric_history(logged.run_id, "loss")
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
    with tracking.training_run(store.location, "sw", tracking.RunNotes()) as run:
        run.log(1, {"loss": 1.0})
    assert run.run_id == ""


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


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlruns").write_text("a file in the way")
    location = RegistryLocation(f"sqlite:///{tmp_path}/mlruns/mlflow.db", "compass", tmp_path)
    with pytest.raises(RegistryError, match="the registry's folder cannot be made"):
        tracking.open_client(location)
