"""A real registry per test, and tiny version folders to put into it.

Under `make test-server` the registry is an MLflow server on PostgreSQL, emptied before each test; see tests/server.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from compass_ops.registry import tracking
from compass_ops.registry.history import Entry
from compass_ops.registry.location import RegistryLocation, now, registry_location
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.transact import transact
from compass_ops.registry.transitions import Ask
from compass_ops.storage import value_digest, write_array, write_json
from compass_ops.training.version import Origin, write_manifest
from tests.server.running import server_under_test

BASE = {"id": "tiny", "revision": None, "digest": "b" * 64, "path": "build/base/model"}
ROWS = "d" * 64  # digest of the window's rows of every version that was made for one
EMBEDDER = {"id": "static", "revision": None, "digest": "e" * 64, "path": "build/base/embedder", "prefix": "query: "}


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables and nothing in them: making it costs over a second."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    tracking.open_client(RegistryLocation(f"sqlite:///{path}", "compass", path.parent))
    return path


@pytest.fixture
def project(tmp_path: Path, migrated: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project folder with an empty registry, and the working directory in it."""
    for name in ("MLFLOW_TRACKING_URI", "DVC_ROOT", "DVC_EXP_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mlruns").mkdir()
    shutil.copy(migrated, tmp_path / "mlruns" / "mlflow.db")
    return tmp_path


@pytest.fixture
def store(project: Path, monkeypatch: pytest.MonkeyPatch) -> RegistryStore:
    server = server_under_test()
    if server is None:
        return RegistryStore(registry_location("sqlite:///mlruns/mlflow.db", "compass"))
    server.empty()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return RegistryStore(registry_location(server.uri, "compass"))


@pytest.fixture
def on_file() -> None:
    """For tests that look into the database file itself."""
    if server_under_test() is not None:
        pytest.skip("needs a registry in an SQLite file")


def files_of(store: RegistryStore, language: str, version: str) -> Path:
    """Return the folder where a version's files lie, on this machine or behind the server."""
    source = store.read_language(language).versions[version].source
    server = server_under_test()
    if server is None:
        return Path(source.removeprefix("file://"))
    return server.artifacts / source.removeprefix("mlflow-artifacts:/")


def make_version(
    folder: Path, language: str = "sw", seed: int = 0, *, parent: str | None = None, window: str | None = None
) -> str:
    """Write a version folder of a few floats and return its adapter digest; another seed is another adapter."""
    rng = np.random.default_rng(seed)
    (folder / "adapter").mkdir(parents=True)
    weights = {"layers.0.lora_A.weight": rng.normal(size=(2, 3)).astype(np.float32)}
    save_file(weights, folder / "adapter" / "adapter_model.safetensors")
    write_json(folder / "adapter" / "adapter_config.json", {"r": 2, "base_model_name_or_path": None})
    write_array(folder / "reference" / "centroids.npy", np.eye(3, dtype=np.float32))
    write_json(folder / "reference" / "histogram.json", {"counts": [1, 2, 3]})
    text, rows = {"separator": " ", "max_tokens": 64}, None if window is None else ROWS
    origin = Origin(language, BASE, EMBEDDER, parent, window, "5" * 64, text, rows)
    manifest = write_manifest(folder, origin)
    return str(manifest["digest"])


def ask(
    store: RegistryStore,
    kind: str,
    language: str,
    why: str = "because",
    *,
    version: str | None = None,
    expect: str | None = None,
    who: str = "ann",
) -> Entry:
    """Do what a person asks for one language, and return the history's new entry."""
    (entry,) = transact(RegistryStore(store.location), [Ask(language, kind, who, now(), why, version, expect)])
    return entry


class Decisions:
    """The folders that `admit` or `gate` and their candidates' stage leave."""

    def __init__(self, root: Path) -> None:
        self.decisions, self.candidates, self.drift = root / "decisions", root / "candidates", root / "drift"
        self.decisions.mkdir(parents=True)

    def candidate(self, language: str, seed: int, window: str | None = None) -> str:
        """Put a candidate's version folder in place of the language's former one."""
        shutil.rmtree(self.candidates / language, ignore_errors=True)
        return make_version(self.candidates / language / "version", language, seed, window=window)

    def decide(
        self,
        language: str,
        candidate: str | None,
        verdict: str = "promote",
        *,
        against: tuple[str, str] | None = None,
        window: str | None = None,
        drift_digest: str | None = None,
    ) -> str:
        """Write a decision record; ``against`` is (version, digest) of the Production version judged against."""
        record = {
            "schema": 1,
            "language": language,
            "candidate": candidate,
            "against": {
                "kind": "production" if against else "base",
                "version": against[0] if against else None,
                "digest": against[1] if against else "b" * 64,
            },
            "verdict": verdict,
            "reasons": [f"Reasons to {verdict}."],
            "tests": [{"name": "better on new", "estimate": 0.04, "low": 0.01, "passed": True}],
            "window": window,
            "drift_digest": drift_digest,
            "used_gate": verdict in ("promote", "refuse"),
        }
        digest = value_digest(record)
        write_json(self.decisions / f"{language}.json", {**record, "record_digest": digest})
        return digest


@pytest.fixture
def decisions(project: Path) -> Decisions:
    return Decisions(project / "build")
