"""What was deleted comes back bit for bit, or not at all."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.checkup import examine
from compass_ops.registry.restore import restore
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.storage import file_digests
from tests.registry.conftest import Decisions, files_of
from tests.registry.test_reconcile import promote, run, shown
from tests.server.running import server_under_test


def snapshot(store: RegistryStore) -> None:
    root = store.location.root
    write_snapshot(RegistryStore(store.location), root / "build" / "register", root / ".memo" / "versions")


def bring_back(store: RegistryStore, version: str = "1") -> str:
    return restore(store, store.read_language("sw"), version, "files were deleted")


def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let files be where they are, and no download of them end well."""

    def failing(*_: object, **__: object) -> NoReturn:
        raise RegistryError("fetching version 1 failed (timed out)")

    monkeypatch.setattr(RegistryStore, "opened", failing)


def to_dvc_cache(root: Path, folder: Path, cache: str = ".dvc/cache") -> None:
    """Put a folder where DVC would: its files, and a listing of them, named by MD5."""
    items = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        items.append({"md5": _keep(root / cache, content, ""), "relpath": path.relative_to(folder).as_posix()})
    _keep(root / cache, json.dumps(items).encode(), ".dir")


def only_in_dvc_cache(store: RegistryStore, decisions: Decisions) -> Path:
    """Leave a champion's files in DVC's cache alone; return the project's folder."""
    promote(store, decisions, "sw", 1)
    snapshot(store)
    root = store.location.root
    to_dvc_cache(root, root / "build" / "register")
    for folder in (root / ".memo", root / "build" / "register", files_of(store, "sw", "1")):
        shutil.rmtree(folder)
    return root


def first_listing(root: Path, content: bytes) -> None:
    """Put a listing into DVC's cache that is read before all others."""
    path = root / ".dvc" / "cache" / "files" / "md5" / "00" / "00.dir"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)


def _keep(cache: Path, content: bytes, ending: str) -> str:
    digest = hashlib.md5(content).hexdigest()
    target = cache / "files" / "md5" / digest[:2] / f"{digest[2:]}{ending}"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return digest


@pytest.mark.parametrize("place", ["memo", "build", "dvc"])
def test_deleted_files_come_back_from_each_kind_of_copy(store: RegistryStore, decisions: Decisions, place: str) -> None:
    promote(store, decisions, "sw", 1)
    snapshot(store)
    root, before = store.location.root, file_digests(files_of(store, "sw", "1"))
    if place == "dvc":
        to_dvc_cache(root, root / "build" / "register")
    if place != "memo":
        shutil.rmtree(root / ".memo")
    if place != "build":
        shutil.rmtree(root / "build" / "register")
    shutil.rmtree(files_of(store, "sw", "1"))
    assert not store.has_files(store.read_language("sw").versions["1"])
    assert bring_back(store) == "sw: the files of version 1 are back, every digest as registered."
    assert file_digests(files_of(store, "sw", "1")) == before
    assert bring_back(store) == "sw: version 1 is whole; nothing was done."
    assert len(store.read_language("sw").state.entries) == 1


def test_dvcs_cache_is_found_where_its_settings_say(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    root = store.location.root
    (root / ".dvc").mkdir()
    (root / ".dvc" / "config").write_text("[cache]\n    dir = ../elsewhere\n")
    snapshot(store)
    to_dvc_cache(root, root / "build" / "register", "elsewhere")
    for folder in (root / ".memo", root / "build" / "register", files_of(store, "sw", "1")):
        shutil.rmtree(folder)
    assert "are back" in bring_back(store)


@pytest.mark.parametrize(
    "damaged", [b"", b"not json", b"\xff", b"3", b"[3]", b'{"relpath": "a"}', b'[{"relpath": "a"}]', b'[{"md5": "x"}]']
)
def test_a_damaged_listing_of_dvcs_cache_is_passed_over(
    store: RegistryStore, decisions: Decisions, damaged: bytes
) -> None:
    root = only_in_dvc_cache(store, decisions)
    first_listing(root, damaged)
    assert "are back" in bring_back(store)


def test_a_listing_of_dvcs_cache_cannot_write_outside_its_copy(
    store: RegistryStore, decisions: Decisions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = only_in_dvc_cache(store, decisions)
    aside = tmp_path / "aside"
    aside.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(aside))
    digest = _keep(root / ".dvc" / "cache", b"x", "")
    paths = ["sw/manifest.json", "sw/../../escaped", f"sw/{tmp_path}/escaped"]
    first_listing(root, json.dumps([{"relpath": path, "md5": digest} for path in paths]).encode())
    assert "are back" in bring_back(store)
    assert list(tmp_path.rglob("escaped")) == []


def test_altered_and_added_files_are_replaced(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    snapshot(store)
    before = file_digests(files_of(store, "sw", "1"))
    (files_of(store, "sw", "1") / "reference" / "histogram.json").write_text("{}")
    (files_of(store, "sw", "1") / "adapter" / "evil.pkl").write_bytes(b"x")
    assert "are back" in bring_back(store)
    assert file_digests(files_of(store, "sw", "1")) == before


def test_an_altered_copy_is_no_copy(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    snapshot(store)
    root = store.location.root
    for copy in (*(root / ".memo").glob("versions/*/reference"), root / "build/register/production/sw/reference"):
        (copy / "histogram.json").unlink()
        (copy / "histogram.json").write_text("{}")
    shutil.rmtree(files_of(store, "sw", "1"))
    with pytest.raises(RegistryError, match=r"no copy of version 1 is left in .*dvc pull"):
        bring_back(store)
    assert not files_of(store, "sw", "1").exists()


def test_after_mlflow_gc_the_champion_comes_back_bit_for_bit(store: RegistryStore, decisions: Decisions) -> None:
    digest = promote(store, decisions, "sw", 1)
    snapshot(store)
    version, before = store.read_language("sw").versions["1"], file_digests(files_of(store, "sw", "1"))
    open_client(store.location).delete_run(version.run_id)
    server = server_under_test()
    database = store.location.uri if server is None else server.databases[0]
    command = ["mlflow", "gc", "--backend-store-uri", database, "--run-ids", version.run_id]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": store.location.uri}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    assert shown(store) == ({"1": "Production"}, {"champion": "1"})  # MLflow still says that it serves
    assert [(finding.kind, finding.version) for finding in examine(store, ["sw"])] == [("files", "1")]
    assert "are back" in bring_back(store)
    assert examine(store, ["sw"]) == []
    assert file_digests(files_of(store, "sw", "1")) == before
    with store.opened(version):
        assert store.read_language("sw").state.digests == {"1": digest}


def test_a_champion_that_was_deleted_is_registered_anew_with_the_same_files(
    store: RegistryStore, decisions: Decisions
) -> None:
    promote(store, decisions, "sw", 1)
    digest = promote(store, decisions, "sw", 2)
    snapshot(store)
    before = file_digests(files_of(store, "sw", "2"))
    open_client(store.location).delete_model_version("compass-sw", "2")
    assert bring_back(store, "2") == ("sw: version 2 was deleted; the same files are version 3 now, in Production.")
    assert shown(store) == ({"1": "Archived", "3": "Production"}, {"champion": "3"})
    assert file_digests(files_of(store, "sw", "3")) == before
    state = store.read_language("sw").state
    assert (state.digests["3"], state.line, state.entries[-1].replaces) == (digest, ("1", "3"), "2")


def test_a_champion_whose_version_and_files_were_both_deleted_comes_back_whole(
    store: RegistryStore, decisions: Decisions
) -> None:
    """Its run is still there and would be taken for an interrupted registration's."""
    promote(store, decisions, "sw", 1)
    snapshot(store)
    folder = files_of(store, "sw", "1")
    before = file_digests(folder)
    open_client(store.location).delete_model_version("compass-sw", "1")
    shutil.rmtree(folder)
    bring_back(store)
    assert file_digests(files_of(store, "sw", "2")) == before


def test_files_that_cannot_be_read_now_are_not_replaced(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A download that times out, or has no room, says nothing about the files."""
    promote(store, decisions, "sw", 1)
    snapshot(store)
    unread(monkeypatch)
    written: list[object] = []
    monkeypatch.setattr(RegistryStore, "put_files", lambda *arguments: written.append(arguments))
    with pytest.raises(RegistryError, match="timed out"):
        bring_back(store)
    assert written == []


def test_a_number_that_mlflow_gives_out_again_is_not_taken_for_the_version_that_had_it(
    store: RegistryStore, decisions: Decisions
) -> None:
    """MLflow counts from 1 again after a whole registered model was deleted."""
    promote(store, decisions, "sw", 1)
    digest = promote(store, decisions, "sw", 2)
    snapshot(store)
    client = open_client(store.location)
    client.delete_registered_model("compass-sw")
    told = "sw: adapter .* is registered as version 1, which the history knows as another"
    with pytest.raises(RegistryError, match=told):
        bring_back(RegistryStore(store.location), "2")
    assert [entry.kind for entry in store.read_language("sw").state.entries] == ["promoted", "promoted"]
    client.delete_model_version("compass-sw", "1")
    assert "the same files are version 2 now" in bring_back(RegistryStore(store.location), "2")
    state = store.read_language("sw").state
    assert (state.production, state.digests["2"], state.line) == ("2", digest, ("1", "2"))
    assert examine(store, ["sw"]) != []  # version 1, to roll back to, is gone


def test_a_deleted_version_that_is_not_the_champion_stays_deleted(store: RegistryStore, decisions: Decisions) -> None:
    champion = promote(store, decisions, "sw", 1)
    decisions.decide("sw", decisions.candidate("sw", 2), "refuse", against=("1", champion))
    run(store, decisions)
    open_client(store.location).delete_model_version("compass-sw", "2")
    with pytest.raises(RegistryError, match="version 2 was deleted and is not the champion"):
        bring_back(store, "2")
