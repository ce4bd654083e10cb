"""What persons ask for, on a real registry."""

from pathlib import Path

import pytest

from compass_ops.errors import BusyError, ConflictError, ModelError, RegistryError
from compass_ops.registry.checkup import examine
from compass_ops.registry.history import Entry
from compass_ops.registry.location import now
from compass_ops.registry.restore import restore
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.registry.transact import transact
from compass_ops.registry.transitions import Ask
from compass_ops.storage import write_json
from tests.registry.conftest import Decisions, ask, files_of
from tests.registry.test_reconcile import counted_writes, promote, run, shown, statuses


def asks(kind: str, *names: str, expect: str | None = None) -> list[Ask]:
    """Ask for several languages: ``sw`` or ``sw/3``."""
    parts = [name.partition("/") for name in names]
    return [Ask(language, kind, "ann", now(), "because", version or None, expect) for language, _, version in parts]


def test_rolling_back_returns_the_former_champion_and_its_digest(store: RegistryStore, decisions: Decisions) -> None:
    digests = [promote(store, decisions, "sw", seed) for seed in (1, 2, 3)]
    assert ask(store, "rolled back", "sw", "slow").version == "2"
    state = store.read_language("sw").state
    assert state.digests[str(state.production)] == digests[1]
    assert (state.hold is not None and state.hold.who, state.gate_uses) == ("ann", 3)
    assert (state.entries[-1].source, state.entries[-1].replaces) == ("Archived", "3")
    assert ask(store, "rolled back", "sw", "still slow").version == "1"
    assert shown(store) == ({"1": "Production", "2": "Archived", "3": "Archived"}, {"champion": "1"})
    with pytest.raises(RegistryError, match="no version was in Production before version 1"):
        ask(store, "rolled back", "sw", "still")
    assert ask(store, "rolled back", "sw", "not that", version="3").version == "3"
    assert shown(store)[1] == {"champion": "3"}


def test_a_damaged_or_deleted_former_champion_is_not_brought_back(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    weights = files_of(store, "sw", "1") / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(RegistryError, match=r"adapter/adapter_model.safetensors was altered"):
        ask(store, "rolled back", "sw")
    assert shown(store)[1] == {"champion": "2"}
    open_client(store.location).delete_model_version("compass-sw", "1")
    with pytest.raises(RegistryError, match="version 1 was deleted from the registry"):
        ask(store, "rolled back", "sw")


def test_a_pickle_smuggled_into_a_version_stops_its_promotion(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    (files_of(store, "sw", "1") / "adapter" / "training_args.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(RegistryError, match=r"training_args.pkl does not belong in a version") as caught:
        ask(store, "rolled back", "sw")
    assert isinstance(caught.value.__cause__, ModelError)


def test_a_version_of_another_language_is_refused(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "tr", 1)
    source = store.read_language("tr").versions["1"]
    client = open_client(store.location)
    tags = {f"compass.{key}": value for key, value in source.tags.items()}
    client.create_model_version("compass-sw", source.source, source.run_id, tags)
    with pytest.raises(RegistryError, match=r"sw: version 2 holds adapter .* of tr, not .* of sw"):
        ask(store, "promoted", "sw", version="2")


def test_several_languages_move_together_or_not_at_all(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in ("hr", "sw", "tr"):
        promote(store, decisions, language, 1)
    promote(store, decisions, "sw", 2)
    promote(store, decisions, "tr", 2)
    with (
        counted_writes(monkeypatch) as done,
        pytest.raises(RegistryError, match=r"hr: no version was in Production before version 1.\nNothing was done."),
    ):
        transact(store, asks("rolled back", "sw", "tr", "hr"))
    assert done == []
    entries = transact(store, asks("rolled back", "sw", "tr"))
    assert [(entry.language, entry.version) for entry in entries] == [("sw", "1"), ("tr", "1")]
    assert [store.read_language(language).state.production for language in ("sw", "tr", "hr")] == ["1", "1", "1"]
    assert [shown(store, language)[1] for language in ("sw", "tr")] == [{"champion": "1"}] * 2
    assert {name: view.state for name, view in store.read().items()} == {
        name: store.read_language(name).state for name in ("hr", "sw", "tr")
    }


def test_a_race_for_one_of_several_languages_is_lost_for_all(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in ("sw", "tr"):
        promote(store, decisions, language, 1)
        promote(store, decisions, language, 2)
    original = RegistryStore.append

    def outrun(self: RegistryStore, *entries: Entry) -> None:
        monkeypatch.setattr(RegistryStore, "append", original)
        ask(store, "held", "tr", who="bob")
        original(self, *entries)

    monkeypatch.setattr(RegistryStore, "append", outrun)
    with pytest.raises(ConflictError, match="sw, tr: somebody else changed the registry"):
        transact(store, asks("rolled back", "sw", "tr"))
    views = store.read()
    assert {language: view.state.production for language, view in views.items()} == {"sw": "2", "tr": "2"}
    assert [store.read_language(language).state for language in ("sw", "tr")] == [view.state for view in views.values()]
    assert ask(store, "rolled back", "sw").version == "1"


def test_a_decision_on_several_languages_whose_writer_died_is_read_the_same_by_all(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer died before it could note that its decision took effect."""
    for language in ("sw", "tr"):
        promote(store, decisions, language, 1)
        promote(store, decisions, language, 2)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RegistryStore, "_settle", die)
        transact(store, asks("rolled back", "sw", "tr"))
    assert store.read_language("sw").state == store.read()["sw"].state
    assert store.read_language("sw").state.production == "1"
    store.settle_left()
    monkeypatch.setattr(RegistryStore, "read", die)
    assert store.read_language("sw").state.production == "1"


def test_what_somebody_noted_of_a_decision_on_one_language_counts_for_no_reader(
    store: RegistryStore, decisions: Decisions
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    open_client(store.location).set_model_version_tag("compass-history", "2", "compass.effect", "void")
    assert store.read_language("sw").state == store.read()["sw"].state
    assert store.read_language("sw").state.production == "2"


def test_a_promotion_needs_the_evidence_that_params_ask_for(store: RegistryStore, decisions: Decisions) -> None:
    champion = promote(store, decisions, "sw", 1)
    decisions.decide("sw", decisions.candidate("sw", 2), "refuse", against=("1", champion))
    run(store, decisions)
    ask(store, "staged", "sw", version="2")
    with pytest.raises(RegistryError, match=r"its decision record says 'refuse'. Let it pass the gate"):
        transact(store, asks("promoted", "sw"), ["decision"])
    assert transact(store, asks("promoted", "sw"))[0].version == "2"


def test_an_update_needs_its_drift_verdict_where_params_ask_for_it(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1, window="0002")
    promote(store, decisions, "sw", 2)
    with pytest.raises(RegistryError, match="was made for window 0002 but lacks the drift verdict"):
        transact(store, asks("promoted", "sw/1"), ["decision", "drift"])
    assert transact(store, asks("promoted", "sw/1"), ["decision"])[0].version == "1"


def test_with_manual_promotion_what_passes_waits_for_a_person(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = decisions.candidate("sw", 1)
    decisions.decide("sw", first)
    assert statuses(run(store, decisions, manual=True)) == {"sw": "staged"}
    assert shown(store) == ({"1": "Staging"}, {"candidate": "1"})
    with counted_writes(monkeypatch) as done:
        receipt = run(store, decisions, manual=True)["languages"]["sw"]
    assert (receipt["status"], done) == ("unchanged", [])
    assert "`compass approve sw` promotes it" in receipt["reason"]
    ask(store, "promoted", "sw", "listened to it")
    assert shown(store) == ({"1": "Production"}, {"champion": "1"})
    decisions.decide("sw", decisions.candidate("sw", 2), against=("1", first), window="0002")
    run(store, decisions, manual=True)
    ask(store, "rejected", "sw", "sounds odd")
    assert shown(store) == ({"1": "Production", "2": "Archived"}, {"champion": "1"})
    assert statuses(run(store, decisions, manual=True)) == {"sw": "unchanged"}
    assert store.read_language("sw").state.adopted == ()


def test_a_deleted_only_champion_without_a_copy_can_be_archived(
    store: RegistryStore, decisions: Decisions, project: Path
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "tr", 1)
    open_client(store.location).delete_model_version("compass-sw", "1")
    out, memo = project / "snapshot", project / "memo"
    with pytest.raises(RegistryError, match=r"sw: version 1 is in Production but was deleted.*compass archive sw/1"):
        write_snapshot(store, out, memo)
    with pytest.raises(RegistryError, match=r"sw: no copy of version 1 is left.*`compass archive sw/1` lets the base"):
        restore(store, store.read_language("sw"), "1", "because")
    entry = ask(store, "retired", "sw", version="1")
    assert (entry.source, entry.target, entry.version) == ("Production", "Archived", "1")
    assert store.read_language("sw").state.production is None
    write_snapshot(store, out, memo)
    assert [path.name for path in (out / "production").iterdir()] == ["tr"]
    assert examine(store, ["sw", "tr"]) == []
    with pytest.raises(RegistryError, match="sw: has no version 1"):
        ask(store, "retired", "sw", version="1")


@pytest.mark.parametrize(
    "name", ["../x", "sw'", "sw%", "sw or 1=1", "ѕw", "a" * 300, "sw\x00", "compass-sw", "history", "claims"]
)
def test_names_that_could_touch_a_path_or_a_query_get_nowhere(store: RegistryStore, name: str) -> None:
    with pytest.raises(RegistryError, match="is not a language tag"):
        transact(store, [Ask(name, "held", "ann", now(), "because")])


def test_an_unknown_language_names_near_ones(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    with pytest.raises(RegistryError, match=r"swa: has no registered adapter. Did you mean sw"):
        ask(store, "held", "swa")


def test_a_manifest_of_a_newer_schema_asks_for_an_upgrade(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    write_json(files_of(store, "sw", "1") / "manifest.json", {"schema": 2})
    with pytest.raises(RegistryError, match=r"is not a manifest of schema 1. Upgrade compass_ops"):
        ask(store, "rolled back", "sw")


def test_a_decision_that_cannot_be_read_back_is_not_called_undone(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)

    def unreadable(*_: object) -> bool:
        raise BusyError("reading versions failed")

    with monkeypatch.context() as patch:
        patch.setattr(RegistryStore, "_has", unreadable)
        with pytest.raises(RegistryError, match=r"sw: entry 2 of the history was written, .*compass history"):
            ask(store, "held", "sw", "wait")
    hold = store.read_language("sw").state.hold
    assert hold is not None
    assert hold.why == "wait"
