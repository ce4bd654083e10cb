from dataclasses import replace

import pytest

from compass_ops.errors import ConflictError
from compass_ops.registry.history import Entry
from compass_ops.registry.location import now
from compass_ops.registry.mirror import Correction
from compass_ops.registry.mirroring import mirror
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from tests.registry.conftest import Decisions
from tests.registry.test_reconcile import counted_writes, promote, shown


def by_hand(store: RegistryStore, version: str, stage: str) -> None:
    with pytest.warns(FutureWarning):
        open_client(store.location).transition_model_version_stage("compass-sw", version, stage)


def test_what_agrees_is_left_alone(store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(store, decisions, "sw", 1)
    with counted_writes(monkeypatch) as done:
        assert mirror(store, ["sw"]) == []
    assert done == []


def test_several_languages_are_put_right_under_one_claim(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in ("sw", "tr"):
        promote(store, decisions, language, 1)
    for language in ("sw", "tr"):
        open_client(store.location).delete_registered_model_alias(f"compass-{language}", "champion")
    with counted_writes(monkeypatch) as done:
        assert mirror(store, ["tr", "sw"]) == [
            "sw: alias champion was at nothing, the history says 1",
            "tr: alias champion was at nothing, the history says 1",
        ]
    assert done.count("create_model_version") == 1


def test_a_promotion_past_the_history_is_undone_on_demand(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    client = open_client(store.location)
    client.create_model_version("compass-sw", "compass:/nowhere")
    by_hand(store, "2", "Staging")
    assert mirror(store, ["sw"]) == []
    assert mirror(store, ["sw"], strict=True) == ["sw: version 2 was shown as Staging, the history does not know it"]
    assert shown(store)[0] == {"1": "Production", "2": "Archived"}


def test_somebody_who_writes_without_the_claim_is_a_conflict(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    by_hand(store, "1", "Archived")
    original = RegistryStore.correct

    def undone(self: RegistryStore, language: str, write: Correction) -> None:
        original(self, language, write)
        by_hand(store, "1", "Archived")

    monkeypatch.setattr(RegistryStore, "correct", undone)
    with pytest.raises(ConflictError, match="sw: somebody else writes stages or aliases at this moment"):
        mirror(store, ["sw"])


def test_the_history_may_move_on_while_its_mirror_is_written(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    open_client(store.location).delete_registered_model_alias("compass-sw", "champion")
    original = RegistryStore.correct

    def overtaken(self: RegistryStore, language: str, write: Correction) -> None:
        monkeypatch.setattr(RegistryStore, "correct", original)
        state = store.read_language("sw").state
        entry = Entry("sw", "rolled back", "bob", now(), "", "1", state.digests["1"], "Archived", "Production")
        RegistryStore(store.location).append(replace(entry, previous=state.head))
        original(self, language, write)

    monkeypatch.setattr(RegistryStore, "correct", overtaken)
    mirror(store, ["sw"])
    assert shown(store) == ({"1": "Production", "2": "Archived"}, {"champion": "1"})
