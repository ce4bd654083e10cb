from pathlib import Path

import pytest

from compass_ops.errors import ModelError, RegistryError
from compass_ops.registry.versions import (
    link_tree,
    stage_for_registration,
    verify_version,
)
from compass_ops.storage import file_digest, read_json, write_json
from compass_ops.training.version import adapter_digest
from tests.registry.conftest import make_version

WEIGHTS = "adapter/adapter_model.safetensors"
CONFIG = "adapter/adapter_config.json"


@pytest.fixture
def version(tmp_path: Path) -> Path:
    make_version(tmp_path / "version")
    return tmp_path / "version"


def test_the_manifest_lists_every_file_and_the_adapters_digest(version: Path) -> None:
    manifest = verify_version(version)
    listed = ["adapter/adapter_config.json", WEIGHTS, "reference/centroids.npy", "reference/histogram.json"]
    assert sorted(manifest["files"]) == listed
    assert manifest["files"][WEIGHTS] == file_digest(version / WEIGHTS)
    assert manifest["digest"] == adapter_digest(version)
    assert manifest["base"] == {"id": "tiny", "revision": None, "digest": "b" * 64}
    embedder = {"id": "static", "revision": None, "digest": "e" * 64, "prefix": "query: "}
    assert manifest["embedder"] == embedder, "drift compares windows under the same prefix alone"
    assert manifest["git_commit"] is None


def test_the_adapters_digest_ignores_where_the_base_lies_but_nothing_else(version: Path) -> None:
    digest, config = adapter_digest(version), read_json(version / CONFIG)
    write_json(version / CONFIG, {**config, "base_model_name_or_path": "/home/ann/base", "revision": "main"})
    assert adapter_digest(version) == digest
    write_json(version / CONFIG, {**config, "r": 4})
    assert adapter_digest(version) != digest


def test_an_altered_missing_or_added_file_is_named(version: Path) -> None:
    weights = version / WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RegistryError, match=r"adapter/adapter_model.safetensors was altered"):
        verify_version(version)
    weights.unlink()
    with pytest.raises(RegistryError, match=r"adapter/adapter_model.safetensors is missing"):
        verify_version(version)
    weights.write_bytes(content)
    verify_version(version)
    write_json(version / "extra.json", {})
    with pytest.raises(RegistryError, match=r"extra.json is not listed in manifest.json"):
        verify_version(version)


def test_a_manifest_that_was_rewritten_to_match_is_found_by_its_registered_digest(version: Path) -> None:
    registered = file_digest(version / "manifest.json")
    (version / "reference" / "histogram.json").write_text("{}")
    manifest = read_json(version / "manifest.json")
    manifest["files"]["reference/histogram.json"] = file_digest(version / "reference" / "histogram.json")
    write_json(version / "manifest.json", manifest)
    verify_version(version)
    with pytest.raises(RegistryError, match=r"manifest.json differs from the one that was registered"):
        verify_version(version, expected=registered)


@pytest.mark.parametrize("name", ["adapter/optimizer.pt", "weights.pkl", "run.py", "noextension"])
def test_formats_that_can_carry_code_are_refused(version: Path, name: str) -> None:
    (version / name).write_bytes(b"x")
    with pytest.raises(ModelError, match=f"{name} does not belong in a version"):
        verify_version(version)


def test_a_link_out_of_the_version_is_refused(version: Path) -> None:
    (version / "secret.json").symlink_to("/etc/passwd")
    with pytest.raises(ModelError, match=r"secret.json is a symbolic link"):
        verify_version(version)


def test_the_registered_copy_carries_the_evidence_and_leaves_the_source_alone(version: Path, tmp_path: Path) -> None:
    before = file_digest(version / "manifest.json")
    manifest = stage_for_registration(version, tmp_path / "copy", {"decision.json": b"{}\n"}, "c" * 40)
    assert verify_version(tmp_path / "copy") == manifest
    assert manifest["git_commit"] == "c" * 40
    assert manifest["digest"] == read_json(version / "manifest.json")["digest"]
    assert {"decision.json", "MLmodel"} <= manifest["files"].keys()
    assert (tmp_path / "copy" / "decision.json").read_bytes() == b"{}\n"
    assert file_digest(version / "manifest.json") == before
    verify_version(version)


def test_linked_copies_share_their_bytes(version: Path, tmp_path: Path) -> None:
    link_tree(version, tmp_path / "copy")
    assert (tmp_path / "copy" / WEIGHTS).stat().st_ino == (version / WEIGHTS).stat().st_ino
