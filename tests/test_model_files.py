"""Pinning a base or an embedder by its contents: folders, the hub's cache, and everything that can be wrong."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from compass_ops.errors import ModelError
from compass_ops.model_files import ModelEntry, entry_from, folder_entry, model_digest, verified_folder

FILES = {
    "config.json": b'{"model_type": "llama"}',
    "model.safetensors": b"weights",
    "tokenizer.json": b"{}",
    "1_Pooling/config.json": b"{}",
    "README.md": b"a model card",
    ".cache/huggingface/download.json": b"when it came",
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def save_model(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_the_digest_covers_what_decides_the_output_alone(tmp_path: Path) -> None:
    decisive = ("1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json")
    by_hand = {name: hashlib.sha256(FILES[name]).hexdigest() for name in decisive}
    canonical = json.dumps(by_hand, separators=(",", ":")).encode()
    assert model_digest(save_model(tmp_path / "model")) == hashlib.sha256(canonical).hexdigest()


@pytest.mark.parametrize("name", FILES)
def test_the_digest_changes_with_every_decisive_file(name: str, tmp_path: Path) -> None:
    first = model_digest(save_model(tmp_path / "one"))
    changed = model_digest(save_model(tmp_path / "two", FILES | {name: b"{ }"}))
    assert (changed != first) == (name not in ("README.md", ".cache/huggingface/download.json"))


def test_a_folder_inside_the_project_is_named_relative_to_it(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "project" / "models" / "tiny")
    project = tmp_path / "project"
    entry = ModelEntry("tiny", None, "models/tiny", model_digest(folder))
    assert folder_entry(Path("models/tiny"), project) == entry
    assert folder_entry(folder, project) == entry
    assert folder_entry(folder, project, name="compass-pretrained").id == "compass-pretrained"
    assert verified_folder(entry, project) == folder


def test_a_folder_outside_the_project_is_named_absolutely(tmp_path: Path) -> None:
    folder, project = save_model(tmp_path / "models" / "tiny"), tmp_path / "project"
    project.mkdir()
    for given in (folder, Path("../models/tiny")):
        entry = folder_entry(given, project)
        assert entry.path == folder.resolve().as_posix()
        assert verified_folder(entry, project) == folder.resolve()


def test_an_entry_survives_json(tmp_path: Path) -> None:
    entry = folder_entry(save_model(tmp_path / "tiny"), tmp_path)
    assert entry_from(json.loads(json.dumps(entry.as_json()))) == entry


@pytest.mark.parametrize(
    ("files", "lacking"),
    [
        ({"model.safetensors": b"w"}, r"holds no configuration \(config\*?\.json\)"),
        ({"config.json": b"{}"}, r"holds no weights in safetensors format \(\*\.safetensors\)"),
        ({"config.json": b"{}", "pytorch_model.bin": b"w"}, r"holds no weights .*\(\.bin, \.pt\) are refused"),
        ({"config.json": b"{}", "model.pt": b"w"}, r"holds no weights .*safe_serialization=True"),
    ],
)
def test_an_incomplete_folder_is_refused(files: dict[str, bytes], lacking: str, tmp_path: Path) -> None:
    save_model(tmp_path / "tiny", files)
    with pytest.raises(ModelError, match=f"tiny: {lacking}"):
        folder_entry(Path("tiny"), tmp_path)


@pytest.mark.parametrize("name", ["absent", "file"])
def test_what_is_no_folder_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a model")
    with pytest.raises(ModelError, match=f"{name}: is not a folder. Give the folder of a model saved"):
        folder_entry(Path(name), tmp_path)


def test_a_changed_model_is_refused_with_both_digests(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "tiny")
    entry = folder_entry(folder, tmp_path)
    (folder / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ModelError, match=f"digest {model_digest(folder)}, expected {entry.digest}.*--single-item base"):
        verified_folder(entry, tmp_path)


def test_a_model_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tiny: its folder models/tiny is gone\. Run `dvc repro base`\."):
        verified_folder(ModelEntry("tiny", None, "models/tiny", "0" * 64), tmp_path)


PIN_AND_VERIFY = """
import json, sys
from pathlib import Path
from compass_ops.errors import ModelError
from compass_ops.model_files import hub_entry, verified_folder
try:
    entry = hub_entry(sys.argv[1], sys.argv[2])
    told = {"entry": entry.as_json(), "folder": verified_folder(entry, Path.cwd()).as_posix()}
except ModelError as error:
    told = {"error": str(error)}
print(json.dumps(told))
"""


def pin(hub: Path, repository: str, revision: str) -> dict[str, object]:
    """Pin a hub model in a process of its own, because the hub's client reads its settings when it is imported."""
    environment = os.environ | {"HF_HOME": str(hub.parent), "HF_HUB_CACHE": str(hub), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", PIN_AND_VERIFY, repository, revision]
    done = subprocess.run(command, capture_output=True, check=True, text=True, env=environment)
    told: dict[str, object] = json.loads(done.stdout)
    return told


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A cache in the hub's layout: blobs by digest, one snapshot of links to them."""
    root = tmp_path / "hub" / "models--acme--tiny"
    for name, content in FILES.items():
        blob = root / "blobs" / hashlib.sha256(content).hexdigest()
        link = root / "snapshots" / COMMIT / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return tmp_path / "hub"


def test_a_hub_model_is_found_in_the_cache_by_id_and_revision(hub: Path, tmp_path: Path) -> None:
    told = pin(hub, "acme/tiny", COMMIT)
    snapshot = hub / "models--acme--tiny" / "snapshots" / COMMIT
    digest = model_digest(save_model(tmp_path / "copy"))
    assert told["folder"] == snapshot.as_posix()
    assert told["entry"] == {"id": "acme/tiny", "revision": COMMIT, "path": None, "digest": digest}


@pytest.mark.parametrize(
    ("repository", "revision"),
    [("acme/unknown", COMMIT), ("acme/tiny", "f" * 40), ("no/such/id", COMMIT)],
)
def test_an_unknown_hub_model_is_one_clear_error(repository: str, revision: str, hub: Path) -> None:
    message = str(pin(hub, repository, revision)["error"])
    assert message.startswith(f"{repository} at revision {revision}: cannot be fetched (")
    assert message.endswith("and `hf auth login` for gated models, or give a local folder instead.")
