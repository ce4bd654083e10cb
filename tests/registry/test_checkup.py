"""What the doctor finds and mends, on real registries."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.checkup import Finding, examine, repair, verify_versions
from compass_ops.registry.location import now
from compass_ops.registry.retention import Leftover, discarding
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from tests.registry.conftest import Decisions, ask, files_of
from tests.registry.test_mirroring import by_hand
from tests.registry.test_reconcile import counted_writes, promote, run, shown
from tests.registry.test_restore import unread


def found(store: RegistryStore, *languages: str) -> list[tuple[str, str | None]]:
    return [(finding.kind, finding.version) for finding in examine(store, languages or ("sw",))]


def mended(store: RegistryStore) -> list[Finding]:
    findings = repair(store, examine(store, ["sw"]), "doctor")
    left = [(finding.kind, finding.version) for finding in findings if finding.is_fault]
    assert [(finding.kind, finding.version) for finding in examine(store, ["sw"]) if finding.is_fault] == left
    return findings


def test_a_registry_in_order_has_nothing_to_find(store: RegistryStore, decisions: Decisions) -> None:
    assert examine(store, ["sw"]) == []
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    assert examine(store, ["sw"]) == []


def test_two_production_versions_and_a_wrong_alias_are_found_and_mended(
    store: RegistryStore, decisions: Decisions
) -> None:
    """MLflow itself lets two versions be in Production and overwrites aliases blindly."""
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    by_hand(store, "1", "Production")
    open_client(store.location).set_registered_model_alias("compass-sw", "champion", "1")
    assert shown(store) == ({"1": "Production", "2": "Production"}, {"champion": "1"})
    assert found(store) == [("disagreement", "2"), ("disagreement", "2")]
    assert {finding.mended for finding in mended(store)} == {"The history was written over it."}
    assert shown(store) == ({"1": "Archived", "2": "Production"}, {"champion": "2"})


def test_a_promotion_past_compass_is_found_and_undone(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    ask(store, "retired", "sw", version="1")
    open_client(store.location).create_model_version("compass-sw", "compass:/nowhere")
    by_hand(store, "2", "Production")
    assert found(store) == [("disagreement", "2")]
    mended(store)
    assert shown(store) == ({"1": "Archived", "2": "Archived"}, {})


def test_missing_files_are_found_and_restored_or_told(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    root = store.location.root
    write_snapshot(RegistryStore(store.location), root / "build" / "register", root / ".memo" / "versions")
    shutil.rmtree(files_of(store, "sw", "1"))
    shutil.rmtree(files_of(store, "sw", "2") / "adapter")
    assert found(store) == [("files", "2"), ("files", "1")]
    champion, former = mended(store)
    assert champion.mended == "sw: the files of version 2 are back, every digest as registered."
    assert former.mended is None
    assert "no copy of version 1 is left" in former.text


def test_a_deleted_champion_is_found_and_comes_back(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    root = store.location.root
    write_snapshot(RegistryStore(store.location), root / "build" / "register", root / ".memo" / "versions")
    open_client(store.location).delete_model_version("compass-sw", "1")
    assert found(store) == [("deleted", "1")]
    mended(store)
    assert (found(store), shown(store)) == ([], ({"2": "Production"}, {"champion": "2"}))


def test_an_interrupted_registration_and_a_dropped_language_are_told_but_no_fault(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions.decide("sw", decisions.candidate("sw", 1))
    with pytest.raises(KeyboardInterrupt), counted_writes(monkeypatch, 6):
        run(store, decisions)
    assert found(store) == [("orphan", "1")]
    assert [finding.is_fault for finding in mended(store)] == [False]
    run(store, decisions)
    assert found(store) == []
    assert found(store, "tr") == [("unlisted", None)]


def test_the_claim_of_a_dead_process_is_found_and_given_back(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    claim = f"{_this_machine()} 1 0"  # this machine's process 1 started at another tick
    client = open_client(store.location)
    client.create_model_version("compass-claims", "compass:/claims", tags={"compass.process": claim})
    assert found(store) == [("claim", None)]
    mended(store)
    assert found(store) == []


def _this_machine() -> str:
    from compass_ops.registry import claims

    return claims._this_process().rsplit(" ", 2)[0]


def test_a_champion_that_came_back_under_a_discarded_number_is_not_deleted(
    store: RegistryStore, decisions: Decisions
) -> None:
    for seed in (1, 2):
        promote(store, decisions, "sw", seed)
    view = store.read_language("sw")
    store.append(discarding(Leftover("sw", "1", "x"), view, "ann", now()))  # and killed, so that the files are there
    assert found(store) == [("left behind", "1")]
    ask(store, "rolled back", "sw")
    assert found(store) == []
    mended(store)
    assert store.has_files(store.read_language("sw").versions["1"])


@pytest.mark.usefixtures("on_file")
def test_a_mistyped_path_makes_no_database(store: RegistryStore) -> None:
    location = replace(store.location, uri="sqlite:///" + str(store.location.root / "typo.db"))
    mistyped = RegistryStore(location)
    assert repair(mistyped, examine(mistyped, ["sw"]), "doctor") == []
    assert not (location.root / "typo.db").exists()


def test_an_altered_history_ends_the_examination(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    open_client(store.location).delete_model_version("compass-history", "1")
    with pytest.raises(RegistryError, match="the history is broken"):
        examine(store, ["sw"])


def test_an_entry_that_none_follows_is_protected_too(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    client = open_client(store.location)
    text = client.get_model_version("compass-history", "2").tags["compass.entry.sw"]
    client.set_model_version_tag("compass-history", "2", "compass.entry.sw", text.replace("Reasons", "Excuses"))
    for read in (store.read, lambda: store.read_language("sw")):
        with pytest.raises(RegistryError, match="compass-history: entry 2 was altered since it was written"):
            read()
    client.set_model_version_tag("compass-history", "2", "compass.entry.sw", text)
    assert examine(store, ["sw"]) == []
    client.delete_model_version("compass-history", "2")
    if store.location.database is None:  # a server hides what is deleted; the mirror tells of it
        assert {kind for kind, _ in found(store)} == {"disagreement"}
        promote(store, decisions, "tr", 1)  # whoever writes next takes the next number
    with pytest.raises(RegistryError, match="the history is broken"):
        store.read()


def test_every_fault_of_every_file_is_named(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    assert verify_versions(store, ["sw"], every_version=True) == {"sw/1": [], "sw/2": []}
    (files_of(store, "sw", "1") / "reference" / "histogram.json").write_text("{}")
    (files_of(store, "sw", "1") / "reference" / "centroids.npy").unlink()
    (files_of(store, "sw", "1") / "extra.json").write_text("{}")
    assert verify_versions(store, ["sw"], every_version=False) == {"sw/2": []}
    faults = verify_versions(store, ["sw/1"], every_version=False)["sw/1"]
    assert [fault.partition("version: ")[2].partition(".")[0] for fault in faults] == [
        "extra",
        "reference/centroids",
        "reference/histogram",
    ]
    (files_of(store, "sw", "1") / "weights.pkl").write_bytes(b"x")
    (fault,) = verify_versions(store, ["sw/1"], every_version=False)["sw/1"]
    assert "weights.pkl does not belong in a version" in fault
    shutil.rmtree(files_of(store, "sw", "2"))
    (fault,) = verify_versions(store, ["sw"], every_version=False)["sw/2"]
    assert "the files are gone" in fault
    (fault,) = verify_versions(store, ["sw/9"], every_version=False)["sw/9"]
    assert "has no version 9" in fault


def test_files_that_cannot_be_read_now_are_no_fault_of_theirs(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    unread(monkeypatch)
    with pytest.raises(RegistryError, match="timed out"):
        verify_versions(store, ["sw"], every_version=False)


def test_a_history_that_is_gone_is_not_taken_for_one_that_never_was(store: RegistryStore, decisions: Decisions) -> None:
    """Nothing may follow from its absence: neither an archived champion nor a history begun anew."""
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    open_client(store.location).delete_registered_model("compass-history")
    attempts: list[Callable[[], object]] = [
        lambda: RegistryStore(store.location).read(),
        lambda: examine(RegistryStore(store.location), ["sw"]),
        lambda: ask(store, "promoted", "sw", "x", version="1"),
    ]
    for attempt in attempts:
        with pytest.raises(RegistryError, match=r"the history is gone, but sw/2 is in Production. Restore .* backup"):
            attempt()
    assert shown(store) == ({"1": "Archived", "2": "Production"}, {"champion": "2"})
