"""docs/serving.md is run, block by block, on a tiny project; what needs vLLM is left out, as the page says."""

import ast
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from compass_ops.cli.main import main
from compass_ops.registry.store import RegistryStore
from compass_ops.storage import write_json, write_table
from pipelines._code import ROOT
from tests.registry.conftest import Decisions, decisions, migrated, project, store
from tests.serving.world import World

__all__ = ["decisions", "migrated", "project", "store"]

PAGE = (ROOT / "docs" / "serving.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\S+)( vllm)?\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SERVER = "mlflow models serve"


def test_its_blocks_are_code_and_its_commands_exist() -> None:
    kinds = [kind for kind, _, _ in BLOCKS]
    assert kinds.count("python") == 2
    assert kinds.count("sh") == 5
    for kind, _, text in BLOCKS:
        if kind == "python":
            ast.parse(text)
    options = {option for parameter in main.commands["export"].params for option in parameter.opts}
    for command, line in re.findall(r"^compass (\w+)(.*)", PAGE, re.MULTILINE):
        assert command in main.commands
        assert set(re.findall(r"--[a-z-]+", line.split("#")[0])) <= options
    assert {name for name in re.findall(r"`(--[a-z-]+)", PAGE)} <= options


@pytest.fixture
def finished(project: Path, store: RegistryStore, decisions: Decisions) -> World:
    """A project as `make repro` leaves it: a champion, the base and what it was pinned as, dev items."""
    world = World(project, store, decisions)
    world.promote("sw", 1)
    shutil.copytree(world.base, project / "build" / "base" / "model")
    write_json(
        project / "build" / "base" / "base.json", {"model": {**world.entry.as_json(), "path": "build/base/model"}}
    )
    items = {"prompt": ["Siku gani?", "a"], "choices": [["x", "y"], ["b", "c"]], "answer": [0, 1]}
    write_table(project / "build" / "ingest" / "dev" / "sw.parquet", pa.table(items))
    return world


@pytest.mark.long
def test_every_block_runs(finished: World) -> None:
    port = _free_port()
    page = [(kind, text.replace("5001", str(port))) for kind, vllm, text in BLOCKS if not vllm]
    prelude = f'compass() {{ "{sys.executable}" -m compass_ops.cli "$@"; }}\n{page.pop(0)[1]}'
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DO_NOT_TRACK": "1"}
    environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
    said: list[str] = []
    server: subprocess.Popen[bytes] | None = None
    try:
        for kind, text in page:
            script = text if kind == "sh" else f"python - <<'END'\n{text}\nEND"
            command = ["bash", "-euc", f"{prelude}\n{script}"]
            if SERVER in text:
                server = subprocess.Popen(command, cwd=finished.root, env=environment, start_new_session=True)
                _wait(port, server)
            else:
                said.append(_run(command, finished.root, environment))
    finally:
        if server is not None:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(timeout=30)
    predicted, answered, pooled, exported = said
    assert "text" in predicted
    assert '"predictions": [{"text": ' in answered
    assert pooled.splitlines()[0].startswith("1 ")
    assert pooled.splitlines()[1].endswith("zu: no version is in Production; the base model answered alone.")
    assert exported.splitlines()[:2] == ["sw: version 1 (champion), rank 4."] * 2
    assert "the same choice on 100.0% of 2 items" in exported.splitlines()[2]
    assert (finished.root / "exported" / "compass-sw@champion" / "adapter_model.safetensors").is_file()


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not answer within two minutes")
