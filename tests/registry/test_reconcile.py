"""The promises of the registry, on real MLflow stores."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from compass_ops.errors import ConflictError, RegistryError
from compass_ops.registry.checkup import examine, verify_versions
from compass_ops.registry.database_client import DatabaseClient
from compass_ops.registry.history import Entry
from compass_ops.registry.reconcile import Evidence, reconcile
from compass_ops.registry.restore import restore
from compass_ops.registry.snapshot import write_snapshot
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.registry.versions import verify_version
from compass_ops.storage import file_digest, read_json, write_json
from tests.registry.conftest import Decisions, ask, files_of

WRITES = (
    "create_run",
    "log_artifacts",
    "set_terminated",
    "create_registered_model",
    "create_model_version",
    "transition_model_version_stage",
    "set_registered_model_alias",
    "delete_model_version",
)


def run(store: RegistryStore, decisions: Decisions, *, manual: bool = False) -> dict[str, Any]:
    out = decisions.decisions.parent / "out"
    evidence = Evidence(decisions.decisions, decisions.candidates, decisions.drift)
    reconcile(RegistryStore(store.location), evidence, out, manual=manual)
    receipts: dict[str, Any] = read_json(out / "receipts.json")
    assert not list(out.glob(".register*"))
    return receipts


def statuses(receipts: dict[str, Any]) -> dict[str, str]:
    return {language: receipt["status"] for language, receipt in receipts["languages"].items()}


def shown(store: RegistryStore, language: str = "sw") -> tuple[dict[str, str], dict[str, str]]:
    """Stages and aliases as MLflow's own client, and so its UI, shows them."""
    client = open_client(store.location)
    versions = client.search_model_versions(f"name = 'compass-{language}'")
    aliases = client.get_registered_model(f"compass-{language}").aliases
    return {str(v.version): v.current_stage for v in versions}, {name: str(v) for name, v in aliases.items()}


def promote(store: RegistryStore, decisions: Decisions, language: str, seed: int, window: str | None = None) -> str:
    """Take a new candidate to Production in place of whatever is there; return its digest."""
    state = store.read_language(language).state
    champion = (state.production, state.digests[state.production]) if state.production else None
    digest = decisions.candidate(language, seed)
    decisions.decide(language, digest, against=champion, window=window)
    assert statuses(run(store, decisions))[language] == "promoted"
    return digest


def finished_runs(store: RegistryStore) -> list[Any]:
    client = open_client(store.location)
    experiment = client.get_experiment_by_name("compass").experiment_id
    return list(client.search_runs([experiment], "attributes.status = 'FINISHED'"))


def writers(names: Iterable[str]) -> list[tuple[type, str]]:
    """Return every method of these names that writes: MLflow's client has them all, our own some."""
    from mlflow.tracking import MlflowClient

    names = tuple(names)
    return [(MlflowClient, name) for name in names] + [
        (DatabaseClient, name) for name in names if hasattr(DatabaseClient, name)
    ]


@contextmanager
def counted_writes(monkeypatch: pytest.MonkeyPatch, fail_at: int | None = None) -> Iterator[list[str]]:
    """Note every write to the registry; a crash comes before the one with number ``fail_at``."""
    done: list[str] = []

    def noting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if len(done) == fail_at:
                done.append(f"{name} refused")
                raise KeyboardInterrupt(name)
            done.append(name)
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        for client, name in writers(WRITES):
            patch.setattr(client, name, noting(name, getattr(client, name)))
        yield done


def test_a_first_promotion_is_in_production_with_its_evidence(store: RegistryStore, decisions: Decisions) -> None:
    digest = decisions.candidate("sw", 1)
    record = decisions.decide("sw", digest)
    assert run(store, decisions)["languages"]["sw"] == {
        "status": "promoted",
        "reason": "Reasons to promote.",
        "version": "1",
    }
    assert shown(store) == ({"1": "Production"}, {"champion": "1"})
    view = store.read_language("sw")
    assert view.versions["1"].tags["digest"] == digest
    assert view.versions["1"].tags["base_digest"] == "b" * 64
    entry = view.state.entries[0]
    assert (entry.kind, entry.version, entry.digest, entry.record) == ("promoted", "1", digest, record)
    assert (entry.source, entry.target, entry.used_gate) == ("None", "Production", True)
    store.fetch(view.versions["1"], store.location.root / "fetched")
    manifest = verify_version(store.location.root / "fetched")
    assert manifest["digest"] == digest
    assert read_json(store.location.root / "fetched" / "decision.json")["record_digest"] == record


def test_twice_in_a_row_the_second_writes_nothing(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    for language in ("sw", "tr"):
        decisions.decide(language, decisions.candidate(language, 1))
    with counted_writes(monkeypatch) as first:
        assert statuses(run(store, decisions)) == {"sw": "promoted", "tr": "promoted"}
    assert first.count("create_model_version") == 6  # two versions, two entries, two claims
    with counted_writes(monkeypatch) as second:
        assert statuses(run(store, decisions)) == {"sw": "unchanged", "tr": "unchanged"}
    assert second == []


def test_a_promotion_archives_its_predecessor_and_a_refusal_is_kept(store: RegistryStore, decisions: Decisions) -> None:
    first = promote(store, decisions, "sw", 1)
    second = promote(store, decisions, "sw", 2, window="0007")
    assert shown(store) == ({"1": "Archived", "2": "Production"}, {"champion": "2"})
    third = decisions.candidate("sw", 3)
    decisions.decide("sw", third, "refuse", against=("2", second))
    assert statuses(run(store, decisions)) == {"sw": "refused"}
    assert shown(store) == ({"1": "Archived", "2": "Production", "3": "Archived"}, {"champion": "2"})
    state = store.read_language("sw").state
    verdicts = {digest: judgement.verdict for digest, judgement in state.judged.items()}
    assert verdicts == {first: "promoted", second: "promoted", third: "refused"}
    assert (state.gate_uses, state.adopted) == (3, ("0007",))


def test_an_adapter_that_was_replaced_is_never_promoted_again_by_a_stage(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promote(store, decisions, "sw", 1)
    second = promote(store, decisions, "sw", 2)
    assert decisions.candidate("sw", 1) == first
    decisions.decide("sw", first, against=("2", second))
    with counted_writes(monkeypatch) as done:
        receipt = run(store, decisions)["languages"]["sw"]
    assert (receipt["status"], receipt["version"], done) == ("unchanged", "1", [])
    assert shown(store)[1] == {"champion": "2"}


def test_params_that_flip_and_flip_back_end_at_the_first_champion(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC would skip a cached stage the third time; these stages always run, and look instead of assuming."""
    first = promote(store, decisions, "sw", 1)
    decisions.decide("sw", decisions.candidate("sw", 2), "refuse", against=("1", first))
    assert statuses(run(store, decisions)) == {"sw": "refused"}
    assert decisions.candidate("sw", 1) == first
    decisions.decide("sw", first, against=("1", first))
    with counted_writes(monkeypatch) as done:
        assert statuses(run(store, decisions)) == {"sw": "unchanged"}
    assert done == []
    assert shown(store) == ({"1": "Production", "2": "Archived"}, {"champion": "1"})


def test_decisions_that_ask_for_nothing_are_told_and_not_written(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions.decide("am", None, "no candidate")
    decisions.decide("sw", decisions.candidate("sw", 1), "cannot judge")
    decisions.decide("tr", decisions.candidate("tr", 1), "already judged")
    with counted_writes(monkeypatch) as done:
        told = statuses(run(store, decisions))
    assert told == {"am": "no candidate", "sw": "cannot judge", "tr": "already judged"}
    assert done == []


def test_a_decision_against_a_version_that_was_replaced_is_a_conflict(
    store: RegistryStore, decisions: Decisions
) -> None:
    first = promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    late = decisions.candidate("sw", 3)
    decisions.decide("sw", late, against=("1", first))
    receipt = run(store, decisions)["languages"]["sw"]
    assert receipt["status"] == "conflict"
    assert "taken against version 1, but version 2 is in Production" in receipt["reason"]
    state = store.read_language("sw").state
    assert [entry.kind for entry in state.entries] == ["promoted", "promoted", "tested"]
    assert state.gate_uses == 3
    decisions.decide("sw", late)
    assert "taken against the bare base, but version 2" in run(store, decisions)["languages"]["sw"]["reason"]
    assert shown(store)[1] == {"champion": "2"}


def test_who_loses_the_race_for_the_history_gets_a_conflict_and_changes_nothing(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = promote(store, decisions, "sw", 1)
    champion = ("1", digest)
    decisions.decide("sw", decisions.candidate("sw", 2), against=champion)
    original = RegistryStore.append

    def outrun(self: RegistryStore, *entries: Entry) -> None:
        monkeypatch.setattr(RegistryStore, "append", original)
        ask(store, "held", "sw", "first", who="bob")
        original(self, *entries)

    monkeypatch.setattr(RegistryStore, "append", outrun)
    receipt = run(store, decisions)["languages"]["sw"]
    assert receipt["status"] == "conflict"
    assert "somebody else changed the registry" in receipt["reason"]
    assert shown(store) == ({"1": "Production", "2": "None"}, {"champion": "1"})
    assert [entry.kind for entry in store.read_language("sw").state.entries] == ["promoted", "held"]
    assert statuses(run(store, decisions)) == {"sw": "held"}
    assert store.read_language("sw").state.gate_uses == 2
    ask(store, "released", "sw", "over")
    assert run(store, decisions)["languages"]["sw"] == {
        "status": "promoted",
        "reason": "Reasons to promote.",
        "version": "2",
    }


def test_a_hold_stops_promotions_and_its_receipt_says_whose_it_is(store: RegistryStore, decisions: Decisions) -> None:
    digest = promote(store, decisions, "sw", 1)
    ask(store, "held", "sw", "demo on Friday")
    decisions.decide("sw", decisions.candidate("sw", 2), against=("1", digest))
    receipt = run(store, decisions)["languages"]["sw"]
    assert receipt["status"] == "held"
    assert "ann holds the language: demo on Friday" in receipt["reason"]
    assert shown(store) == ({"1": "Production"}, {"champion": "1"})
    ask(store, "released", "sw", "shown")
    assert statuses(run(store, decisions)) == {"sw": "promoted"}


def test_a_look_at_the_gate_half_counts_once_also_while_the_language_is_held(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = promote(store, decisions, "sw", 1)
    ask(store, "held", "sw", "demo on Friday")
    candidate = decisions.candidate("sw", 2, window="0004")
    record = decisions.decide("sw", candidate, against=("1", digest), window="0004")
    assert statuses(run(store, decisions)) == {"sw": "held"}
    state = store.read_language("sw").state
    entry = state.entries[-1]
    assert (entry.kind, entry.digest, entry.window, entry.record) == ("tested", candidate, "0004", record)
    assert (entry.version, entry.source, entry.target, entry.used_gate) == (None, None, None, True)
    assert "looked at to promote, which could not take effect. ann holds the language" in entry.why
    assert (state.gate_uses, state.production, candidate in state.judged, state.adopted) == (2, "1", False, ())
    assert state.hold is not None
    assert shown(store) == ({"1": "Production"}, {"champion": "1"})
    with counted_writes(monkeypatch) as second:
        assert statuses(run(store, decisions)) == {"sw": "held"}
    assert second == []
    other = decisions.candidate("sw", 3, window="0005")
    decisions.decide("sw", other, against=("1", digest), window="0005")
    run(store, decisions)
    assert store.read_language("sw").state.gate_uses == 3
    ask(store, "released", "sw", "shown")
    assert statuses(run(store, decisions)) == {"sw": "promoted"}
    assert store.read_language("sw").state.gate_uses == 3, "promoted by the test that was counted under the hold"
    assert examine(store, ["sw"]) == []
    assert verify_versions(store, ["sw"], every_version=True) == {"sw/1": [], "sw/2": []}


def test_a_decision_without_a_look_is_not_counted_while_the_language_is_held(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    ask(store, "held", "sw", "demo on Friday")
    decisions.decide("sw", decisions.candidate("sw", 2), "cannot judge")
    with counted_writes(monkeypatch) as done:
        run(store, decisions)
    assert done == []


def test_a_deleted_champion_is_restored_after_a_test_that_took_no_effect(
    store: RegistryStore, decisions: Decisions, project: Path
) -> None:
    digest = promote(store, decisions, "sw", 1)
    write_snapshot(store, project / "build" / "snapshot", project / ".memo" / "versions")
    ask(store, "held", "sw", "demo on Friday")
    decisions.decide("sw", decisions.candidate("sw", 2), against=("1", digest))
    run(store, decisions)
    view = store.read_language("sw")
    store.discard("sw", view.versions["1"])
    assert "the same files are version" in restore(store, store.read_language("sw"), "1", "it is needed")
    state = store.read_language("sw").state
    assert [entry.kind for entry in state.entries] == ["promoted", "held", "tested", "restored"]
    assert (state.gate_uses, state.digests[str(state.production)]) == (2, digest)


def test_a_champion_that_was_rolled_back_stays_rolled_back(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    assert ask(store, "rolled back", "sw", "complaints").version == "1"
    assert shown(store) == ({"1": "Production", "2": "Archived"}, {"champion": "1"})
    with counted_writes(monkeypatch) as done:
        assert statuses(run(store, decisions)) == {"sw": "unchanged"}
    assert done == []
    ask(store, "released", "sw", "understood")
    assert statuses(run(store, decisions)) == {"sw": "unchanged"}
    assert shown(store)[1] == {"champion": "1"}


@pytest.mark.usefixtures("on_file")
def test_under_an_experiment_nothing_is_written(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions.decide("sw", decisions.candidate("sw", 1))
    before = file_digest(store.location.root / "mlruns" / "mlflow.db")
    monkeypatch.setenv("DVC_EXP_NAME", "ashen-leaf")
    receipts = run(store, decisions)
    assert statuses(receipts) == {"sw": "skipped: experiment"}
    assert "ashen-leaf" in receipts["languages"]["sw"]["reason"]
    assert file_digest(store.location.root / "mlruns" / "mlflow.db") == before


@pytest.mark.usefixtures("on_file")
def test_after_a_crash_at_any_write_the_next_run_ends_where_an_undisturbed_one_would(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch, project: Path
) -> None:
    first = promote(store, decisions, "sw", 1)
    second = decisions.candidate("sw", 2)
    decisions.decide("sw", second, against=("1", first))
    kept = project / "kept"
    shutil.copytree(project / "mlruns", kept)
    with counted_writes(monkeypatch) as undisturbed:
        run(store, decisions)
    wanted = (["create_run", "log_artifacts", "set_terminated"] + ["create_model_version"] * 3) + [
        "transition_model_version_stage",
        "set_registered_model_alias",
        "delete_model_version",
    ]
    assert undisturbed == wanted
    state_wanted = store.read_language("sw").state
    for crash in range(len(wanted)):
        crashed = project / f"crash{crash}"
        shutil.copytree(kept, crashed)
        location = type(store.location)(f"sqlite:///{crashed}/mlflow.db", "compass", project)
        with pytest.raises(KeyboardInterrupt), counted_writes(monkeypatch, crash):
            run(RegistryStore(location), decisions)
        shutil.rmtree(project / "build" / "out", ignore_errors=True)
        meanwhile = RegistryStore(location).read_language("sw").state
        assert meanwhile.production == ("1" if crash <= 4 else "2")
        receipts = run(RegistryStore(location), decisions)
        assert shown(RegistryStore(location)) == ({"1": "Archived", "2": "Production"}, {"champion": "2"})
        state = RegistryStore(location).read_language("sw").state
        assert [(e.kind, e.version, e.digest) for e in state.entries] == [
            (e.kind, e.version, e.digest) for e in state_wanted.entries
        ]
        assert statuses(receipts) == {"sw": "promoted" if crash <= 4 else "unchanged"}
        assert bool(receipts["repaired"]) == (4 < crash < 8)
        with counted_writes(monkeypatch) as done:
            run(RegistryStore(location), decisions)
        assert done == []
        assert len(finished_runs(RegistryStore(location))) == 2


def test_files_that_were_altered_after_an_interrupted_registration_are_not_promoted(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = promote(store, decisions, "sw", 1)
    decisions.decide("sw", decisions.candidate("sw", 2), against=("1", first))
    with pytest.raises(KeyboardInterrupt), counted_writes(monkeypatch, 4):  # before the history's entry
        run(store, decisions)
    (files_of(store, "sw", "2") / "reference" / "histogram.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"reference/histogram.json was altered"):
        run(store, decisions)
    assert store.read_language("sw").state.production == "1"


def test_a_promotion_whose_stages_lag_behind_is_told_as_done(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    decisions.decide("sw", decisions.candidate("sw", 1))

    def disturbed(*_: object) -> None:
        raise ConflictError("somebody else writes stages")

    with monkeypatch.context() as patch:
        patch.setattr("compass_ops.registry.mirroring.mirror", disturbed)
        with pytest.raises(RegistryError, match="It is done, and the history says so, but stages and aliases lag"):
            run(store, decisions)
    assert store.read_language("sw").state.production == "1"
    assert statuses(run(store, decisions)) == {"sw": "unchanged"}
    assert shown(store) == ({"1": "Production"}, {"champion": "1"})


def test_a_second_production_version_set_by_hand_is_put_right(store: RegistryStore, decisions: Decisions) -> None:
    first = promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    client = open_client(store.location)
    with pytest.warns(FutureWarning):
        client.transition_model_version_stage("compass-sw", "1", "Production")
    client.set_registered_model_alias("compass-sw", "champion", "1")
    assert shown(store) == ({"1": "Production", "2": "Production"}, {"champion": "1"})
    repaired = run(store, decisions)["repaired"]
    assert "sw: alias champion was at 1, the history says 2" in repaired
    assert shown(store) == ({"1": "Archived", "2": "Production"}, {"champion": "2"})
    assert first in store.read_language("sw").state.judged


def test_a_candidate_that_is_not_the_judged_one_is_refused(store: RegistryStore, decisions: Decisions) -> None:
    digest = decisions.candidate("sw", 1)
    decisions.decide("sw", digest)
    decisions.candidate("sw", 2)
    with pytest.raises(RegistryError, match=f"but the decision is about {digest[:12]}"):
        run(store, decisions)
    assert store.read() == {}


def test_a_damaged_candidate_is_refused_with_the_files_name(store: RegistryStore, decisions: Decisions) -> None:
    decisions.decide("sw", decisions.candidate("sw", 1))
    (decisions.candidates / "sw" / "version" / "reference" / "histogram.json").write_text("{}")
    with pytest.raises(RegistryError, match=r"reference/histogram.json was altered"):
        run(store, decisions)
    assert store.read() == {}


def test_an_altered_decision_is_refused(store: RegistryStore, decisions: Decisions) -> None:
    decisions.decide("sw", decisions.candidate("sw", 1), "refuse")
    path = decisions.decisions / "sw.json"
    write_json(path, {**read_json(path), "verdict": "promote"})
    with pytest.raises(RegistryError, match=r"sw.json: was altered after it was decided"):
        run(store, decisions)


def test_the_drift_verdict_is_registered_byte_for_byte(store: RegistryStore, decisions: Decisions) -> None:
    verdict = decisions.drift / "sw" / "verdict.json"
    verdict.parent.mkdir(parents=True)
    verdict.write_text('{"drift":   true}')
    decisions.decide("sw", decisions.candidate("sw", 1), window="0007", drift_digest=file_digest(verdict))
    run(store, decisions)
    view = store.read_language("sw")
    store.fetch(view.versions["1"], store.location.root / "fetched")
    assert (store.location.root / "fetched" / "drift.json").read_bytes() == verdict.read_bytes()
    assert view.state.entries[0].evidence == file_digest(verdict)
    decisions.decide("tr", decisions.candidate("tr", 1), window="0007", drift_digest=file_digest(verdict))
    (decisions.drift / "tr").mkdir()
    (decisions.drift / "tr" / "verdict.json").write_text("{}")
    with pytest.raises(RegistryError, match="is not the drift verdict that the decision names"):
        run(store, decisions)


def test_two_decisions_on_one_adapter_do_not_share_a_version(
    store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A version carries its decision: one left by a crash before another decision is not taken for it."""
    digest = decisions.candidate("sw", 1)
    decisions.decide("sw", digest)
    with pytest.raises(KeyboardInterrupt), counted_writes(monkeypatch, 5):
        run(store, decisions)
    assert {v.stage for v in store.read_language("sw").versions.values()} == {"None"}
    decisions.decide("sw", digest, "refuse")
    assert run(store, decisions)["languages"]["sw"]["version"] == "2"
    assert shown(store)[0] == {"1": "None", "2": "Archived"}


def test_a_candidate_is_not_promoted_under_a_number_that_mlflow_gives_out_again(
    store: RegistryStore, decisions: Decisions
) -> None:
    promote(store, decisions, "sw", 1)
    champion = promote(store, decisions, "sw", 2)
    open_client(store.location).delete_registered_model("compass-sw")
    third = decisions.candidate("sw", 3)
    decisions.decide("sw", third, against=("2", champion))
    with pytest.raises(RegistryError, match=f"sw: adapter {third[:12]} is registered as version 1, which the history"):
        run(store, decisions)
    assert store.read_language("sw").state.production == "2"


def test_a_lost_race_is_an_error_of_its_own_kind(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    with pytest.raises(ConflictError, match="sw: somebody else changed the registry"):
        store.append(Entry("sw", "held", "ann", "2026-11-24T10:00:00Z", "late"))
