from pathlib import Path

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.location import registry_location
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.registry.versions import verify_version
from compass_ops.storage import file_digests, read_json
from tests.registry.conftest import ROWS, Decisions, ask, files_of
from tests.registry.test_reconcile import promote, run

WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.fixture
def out(project: Path) -> Path:
    return project / "build" / "snapshot"


def snapshot(store: RegistryStore, out: Path) -> Path:
    write_snapshot(RegistryStore(store.location), out, out.parents[1] / ".memo" / "versions")
    return out


def test_a_registry_that_does_not_exist_is_empty_and_is_not_made(project: Path, out: Path) -> None:
    store = RegistryStore(registry_location("sqlite:///elsewhere/mlflow.db", "compass"))
    snapshot(store, out)
    assert read_json(out / "registry.json") == {"schema": 1, "languages": {}}
    assert list((out / "production").iterdir()) == []
    assert not (project / "elsewhere").exists()
    assert store.read_language("sw").state.production is None


def test_the_snapshot_is_the_same_bytes_until_the_registry_changes(
    store: RegistryStore, decisions: Decisions, out: Path
) -> None:
    first, second = promote(store, decisions, "sw", 1), promote(store, decisions, "tr", 1)
    files = file_digests(snapshot(store, out))
    assert {name.split("/")[1] for name in files if name.startswith("production/")} == {"sw", "tr"}
    assert file_digests(snapshot(store, out)) == files
    assert read_json(out / "registry.json")["languages"]["sw"]["production"] == {"version": "1", "digest": first}
    assert verify_version(out / "production" / "tr")["digest"] == second
    third = promote(store, decisions, "sw", 2)
    changed = file_digests(snapshot(store, out))
    assert {name for name in changed if changed[name] != files.get(name)} >= {"registry.json"}
    assert all(changed[name] == digest for name, digest in files.items() if name.startswith("production/tr/"))
    assert verify_version(out / "production" / "sw")["digest"] == third


def test_versions_are_fetched_once(
    store: RegistryStore, decisions: Decisions, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    fetched: list[str] = []
    original = RegistryStore.fetch

    def noting(self: RegistryStore, version: object, into: Path) -> None:
        fetched.append(into.name)
        original(self, version, into)  # type: ignore[arg-type]

    monkeypatch.setattr(RegistryStore, "fetch", noting)
    snapshot(store, out)
    snapshot(store, out)
    assert len(fetched) == 1
    ask(store, "rolled back", "sw")
    fetched.clear()
    snapshot(store, out)
    assert len(fetched) == 1


def test_a_copy_that_somebody_wrote_into_is_fetched_anew(store: RegistryStore, decisions: Decisions, out: Path) -> None:
    promote(store, decisions, "sw", 1)
    weights = snapshot(store, out) / "production" / "sw" / WEIGHTS
    content = weights.read_bytes()
    weights.write_bytes(b"garbage")
    assert (snapshot(store, out) / "production" / "sw" / WEIGHTS).read_bytes() == content


def test_a_tampered_version_is_refused_and_the_file_named(
    store: RegistryStore, decisions: Decisions, out: Path
) -> None:
    promote(store, decisions, "sw", 1)
    source = files_of(store, "sw", "1")
    (source / "reference" / "histogram.json").write_text('{"counts": [9]}')
    with pytest.raises(RegistryError, match=r"reference/histogram.json was altered"):
        snapshot(store, out)


def test_a_champion_whose_files_or_version_are_gone_is_named(
    store: RegistryStore, decisions: Decisions, out: Path
) -> None:
    promote(store, decisions, "sw", 1)
    source = files_of(store, "sw", "1")
    source.rename(source.with_name("moved"))
    with pytest.raises(RegistryError, match="the files are gone"):
        snapshot(store, out)
    open_client(store.location).delete_model_version("compass-sw", "1")
    with pytest.raises(RegistryError, match="version 1 is in Production but was deleted from the registry"):
        snapshot(store, out)


def test_adopted_windows_come_with_their_rows(store: RegistryStore, decisions: Decisions, out: Path) -> None:
    first = promote(store, decisions, "sw", 1)
    decisions.decide("sw", decisions.candidate("sw", 2, window="0007"), against=("1", first), window="0007")
    run(store, decisions)
    entry = read_json(snapshot(store, out) / "registry.json")["languages"]["sw"]
    assert (entry["adopted"], entry["adopted_rows"]) == (["0007"], {"0007": [ROWS]})
    promote(store, decisions, "sw", 3)
    store.discard("sw", store.read_language("sw").versions["2"])
    entry = read_json(snapshot(store, out) / "registry.json")["languages"]["sw"]
    assert (entry["adopted"], entry["adopted_rows"]) == (["0007"], {"0007": [None]})


def test_languages_come_and_go_in_the_production_folder(store: RegistryStore, decisions: Decisions, out: Path) -> None:
    (out / "production" / "xx").mkdir(parents=True)
    promote(store, decisions, "sw", 1)
    snapshot(store, out)
    assert [path.name for path in (out / "production").iterdir()] == ["sw"]
