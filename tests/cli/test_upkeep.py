import json
import shutil
from pathlib import Path

import pytest

from compass_ops.errors import ConflictError
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from tests.cli.conftest import Compass, as_json
from tests.registry.conftest import Decisions, files_of
from tests.registry.test_reconcile import promote, shown


def copied(store: RegistryStore) -> Path:
    """Leave the copies that a run of the pipeline leaves; return where the champion's files are."""
    root = store.location.root
    write_snapshot(RegistryStore(store.location), root / "build" / "register", root / ".memo" / "versions")
    return files_of(store, "sw", "1")


def test_the_doctor_finds_mends_and_says_so_in_its_exit_code(
    compass: Compass, store: RegistryStore, decisions: Decisions
) -> None:
    promote(store, decisions, "sw", 1)
    assert compass("doctor").output == "0 findings, 0 faults left.\n"
    files = copied(store)
    shutil.rmtree(files)
    open_client(store.location).delete_registered_model_alias("compass-sw", "champion")
    ill = compass("doctor", "--json")
    assert ill.exit_code == 4
    assert [(one["kind"], one["fault"]) for one in json.loads(ill.output)] == [("disagreement", True), ("files", True)]
    told = compass("doctor", "--repair")
    assert told.exit_code == 0
    assert told.output.splitlines() == [
        "sw: alias champion was at nothing, the history says 1. The history was written over it.",
        "sw: files of version 1, in Production, are missing. "
        "sw: the files of version 1 are back, every digest as registered.",
        "2 findings, 0 faults left.",
    ]
    assert compass("doctor").exit_code == 0


def test_files_are_restored_by_command(compass: Compass, store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    files = copied(store)
    (files / "reference" / "histogram.json").write_text("{}")
    assert compass("verify", "sw").exit_code == 4
    assert as_json(compass("restore", "sw", "--why", "altered", "--json")) == [
        "sw: the files of version 1 are back, every digest as registered."
    ]
    assert compass("restore", "--all", "--why", "x").output == "sw: version 1 is whole; nothing was done.\n"
    assert compass("verify", "sw").exit_code == 0


def test_of_several_languages_those_with_a_copy_come_back_and_the_others_are_named(
    compass: Compass, store: RegistryStore, decisions: Decisions
) -> None:
    promote(store, decisions, "sw", 1)
    copied(store)
    promote(store, decisions, "tr", 1)
    for language in ("sw", "tr"):
        (files_of(store, language, "1") / "reference" / "histogram.json").write_text("{}")
    result = compass("restore", "--all", "--why", "x")
    assert result.exit_code == 1
    assert "sw: the files of version 1 are back" in result.output
    assert "tr: no copy of version 1 is left" in result.output
    assert compass("verify", "sw", "tr").exit_code == 4
    assert compass("verify", "sw", "sw/1").exit_code == 0


def test_a_restoration_that_somebody_outran_has_the_exit_code_of_a_conflict(
    compass: Compass, store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)

    def outrun(*_: object) -> str:
        raise ConflictError("sw: somebody else changed the registry")

    monkeypatch.setattr("compass_ops.registry.restore.restore", outrun)
    assert compass("restore", "sw", "--why", "x").exit_code == 3


def test_collecting_shows_first_and_deletes_on_demand(
    compass: Compass, store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (1, 2, 3):
        promote(store, decisions, "sw", seed)
    assert compass("gc").output == "0 versions would be deleted; --yes does it.\n"
    assert as_json(compass("gc", "--yes", "--json")) == []
    assert sorted(store.read_language("sw").versions) == ["1", "2", "3"]
    first = store.read_language("sw").versions["1"]
    monkeypatch.setattr("compass_ops.registry.collect.now", lambda: "2126-01-01T00:00:00+00:00")
    assert "1 versions would be deleted" in compass("gc").output
    assert store.has_files(first)
    assert [one["version"] for one in as_json(compass("gc", "--yes", "--json"))] == ["1"]
    assert not store.has_files(first)
    assert sorted(store.read_language("sw").versions) == ["2", "3"]


def test_a_language_that_params_no_longer_name_is_archived_on_demand(
    compass: Compass, store: RegistryStore, decisions: Decisions
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "am", 1)
    assert compass("prune").output == "am: version 1 would be archived\n1 languages; --yes does it.\n"
    assert shown(store, "am")[1] == {"champion": "1"}
    assert as_json(compass("prune", "--yes", "--json")) == [{"language": "am", "versions": ["1"], "archived": True}]
    assert (shown(store, "am"), shown(store)[1]) == (({"1": "Archived"}, {}), {"champion": "1"})
    assert compass("prune").output == "0 languages; --yes does it.\n"
