"""A registered version through MLflow's own doors: loaded, and served over HTTP."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest

from compass_ops.errors import ModelError, RegistryError
from compass_ops.registry.versions import verify_version
from compass_ops.serving.base_folder import MIRROR
from compass_ops.storage import file_digests, read_json, write_json
from compass_ops.training.version import MLFLOW_TRACE
from tests.serving.world import PROMPTS, World, slow_answers
from tests.tiny_models import save_tiny_model

LONGEST = 6
# MLflow 3.17 warns of a type hint of its own when `mlflow.pyfunc` is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*Any type hint is inferred as AnyType:UserWarning")


@pytest.fixture
def registry(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """The world as an outsider finds it: MLflow's URI and the base's folder, nothing of the project."""
    monkeypatch.setenv(MIRROR, str(world.base))
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    mlflow.set_tracking_uri(world.store.location.uri)
    return world


def predict(uri: str, prompts: list[str], **config: Any) -> pd.DataFrame:
    model = mlflow.pyfunc.load_model(uri, **config)
    return model.predict(pd.DataFrame({"prompt": prompts}), params={"max_tokens": LONGEST})


def source(world: World, language: str = "sw", version: str = "1") -> Path:
    """The registry's own folder of a version."""
    return Path(world.store.read_language(language).versions[version].source.removeprefix("file://"))


def test_a_version_answers_by_alias_and_by_stage_what_peft_answers_alone(registry: World) -> None:
    registry.promote("sw", 1)
    registry.promote("sw", 2)
    expected = slow_answers(registry, source(registry, version="2") / "adapter", PROMPTS, LONGEST)
    assert expected != slow_answers(registry, None, PROMPTS, LONGEST), "the adapter changes the base's answers"
    for uri in ("models:/compass-sw@champion", "models:/compass-sw/Production", "models:/compass-sw/2"):
        assert predict(uri, PROMPTS)["text"].tolist() == expected
    former = slow_answers(registry, source(registry, version="1") / "adapter", PROMPTS, LONGEST)
    assert predict("models:/compass-sw/1", PROMPTS)["text"].tolist() == former != expected


def test_the_signature_is_explicit_and_fills_in_the_longest_answer(registry: World) -> None:
    registry.promote("sw", 1)
    model = mlflow.pyfunc.load_model("models:/compass-sw@champion")
    signature = model.metadata.signature
    assert [column.to_dict() for column in signature.inputs] == [{"type": "string", "name": "prompt", "required": True}]
    assert signature.outputs.input_names() == ["text"]
    (param,) = signature.params
    assert (param.name, param.default) == ("max_tokens", 64)
    frame = pd.DataFrame({"prompt": PROMPTS[:2]}, index=[7, 3])
    assert list(model.predict(frame).index) == [7, 3]
    with pytest.raises(mlflow.MlflowException, match="missing inputs"):
        model.predict(pd.DataFrame({"question": ["x"]}))


def test_a_version_holds_no_weights_of_the_base_and_no_code(registry: World) -> None:
    registry.promote("sw", 1)
    files = {path.name: path for path in source(registry).rglob("*") if path.is_file()}
    assert {path.suffix for path in files.values()} == {"", ".json", ".parquet", ".safetensors"}
    assert [name for name, path in files.items() if not path.suffix] == ["MLmodel"]
    base = (registry.base / "model.safetensors").stat().st_size
    assert sum(path.stat().st_size for path in source(registry).rglob("*.safetensors")) < base / 2


def test_what_mlflow_leaves_in_the_registrys_folder_harms_nobody(registry: World, tmp_path: Path) -> None:
    """With a local artifact store MLflow loads in place, and writes a file of its own beside the version's."""
    registry.promote("sw", 1)
    version = registry.store.read_language("sw").versions["1"]
    registry.store.fetch(version, tmp_path / "before")
    predict("models:/compass-sw@champion", PROMPTS[:1])
    assert (source(registry) / MLFLOW_TRACE).is_file(), "or this test and the exemption can go"
    verify_version(source(registry))
    registry.store.fetch(version, tmp_path / "after")
    assert file_digests(tmp_path / "after") == file_digests(tmp_path / "before")
    predict("models:/compass-sw@champion", PROMPTS[:1])


def test_model_config_names_the_base_where_the_environment_does_not(
    registry: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.promote("sw", 1)
    monkeypatch.delenv(MIRROR)
    with pytest.raises(ModelError, match=f"this base model is in no hub. Set {MIRROR} to the folder"):
        predict("models:/compass-sw@champion", PROMPTS[:1])
    found = predict("models:/compass-sw@champion", PROMPTS[:1], model_config={"base": str(registry.base)})
    assert len(found) == 1
    with pytest.raises(ModelError, match="nowhere: is not a folder"):
        predict("models:/compass-sw@champion", PROMPTS[:1], model_config={"base": "nowhere"})


def test_another_base_is_refused_with_both_digests(registry: World, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.promote("sw", 1)
    other = save_tiny_model("llama", registry.root / "other", seed=1)
    monkeypatch.setenv(MIRROR, str(other))
    with pytest.raises(ModelError, match=f"have digest [0-9a-f]{{64}}, expected {registry.entry.digest}"):
        predict("models:/compass-sw@champion", PROMPTS[:1])


def test_altered_and_missing_files_are_named(registry: World) -> None:
    registry.promote("sw", 1)
    weights = source(registry) / "adapter" / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.unlink()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RegistryError, match=r"adapter/adapter_model.safetensors was altered"):
        predict("models:/compass-sw@champion", PROMPTS[:1])
    weights.unlink()
    with pytest.raises(RegistryError, match=r"adapter/adapter_model.safetensors is missing"):
        predict("models:/compass-sw@champion", PROMPTS[:1])


def test_a_pickle_beside_the_files_is_refused(registry: World) -> None:
    registry.promote("sw", 1)
    (source(registry) / "python_model.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ModelError, match=r"python_model.pkl does not belong in a version"):
        predict("models:/compass-sw@champion", PROMPTS[:1])


def test_an_mlmodel_that_names_a_pickle_is_refused_by_mlflow_and_by_us(registry: World) -> None:
    registry.promote("sw", 1)
    folder = source(registry)
    ran = registry.root / "ran"
    (folder / "python_model.pkl").write_bytes(f"cos\nsystem\n(S'touch {ran}'\ntR.".encode())
    mlmodel = read_json(folder / "MLmodel")
    mlmodel["flavors"]["python_function"] = {
        "loader_module": "mlflow.pyfunc.model",
        "python_model": "python_model.pkl",
        "cloudpickle_version": "3.1.2",
    }
    write_json(folder / "MLmodel", mlmodel)
    with pytest.raises(mlflow.MlflowException, match=r"(?i)pickle"):
        predict("models:/compass-sw@champion", PROMPTS[:1])
    with pytest.raises(ModelError, match=r"python_model.pkl does not belong in a version"):
        verify_version(folder)
    (folder / "python_model.pkl").unlink()
    manifest = read_json(folder / "manifest.json")
    manifest["files"] = {name: d for name, d in file_digests(folder).items() if name in manifest["files"]}
    write_json(folder / "manifest.json", manifest)
    with pytest.raises(RegistryError, match=r"must name the loader compass_ops.serving.pyfunc and nothing else"):
        verify_version(folder)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("prompts", "told"),
    [
        (["fine", "  "], "row 1: the prompt must be a text that is not empty"),
        (["x" * 300], r"row 0: the prompt has \d+ tokens and the answer may have 6, but the base model takes 128"),
    ],
)
def test_prompts_that_cannot_be_answered_are_named(registry: World, prompts: list[str], told: str) -> None:
    registry.promote("sw", 1)
    with pytest.raises(ModelError, match=told):
        predict("models:/compass-sw@champion", prompts)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _post(port: int, body: dict[str, Any]) -> tuple[int, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/invocations", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.long
def test_mlflow_models_serve_answers_over_http(registry: World) -> None:
    registry.promote("sw", 1)
    port = _free_port()
    command = [shutil.which("mlflow", path=Path(sys.executable).parent) or "mlflow", "models", "serve"]
    command += ["--model-uri", "models:/compass-sw@champion", "--env-manager", "local"]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": registry.store.location.uri, "HF_HUB_OFFLINE": "1"}
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    server = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", str(port)], env=environment, start_new_session=True
    )
    try:
        _wait(port, server)
        rows = [{"prompt": prompt} for prompt in PROMPTS]
        status, body = _post(port, {"dataframe_records": rows, "params": {"max_tokens": LONGEST}})
        assert status == 200
        expected = slow_answers(registry, source(registry) / "adapter", PROMPTS, LONGEST)
        assert [row["text"] for row in body["predictions"]] == expected
        status, body = _post(port, {"dataframe_records": [{"prompt": ""}]})
        assert status >= 400
        assert "prompt must be a text that is not empty" in json.dumps(body)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not answer within two minutes")
