from pathlib import Path

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.rollback import hold, release, rollback
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from tests.registry.conftest import Decisions
from tests.registry.test_reconcile import promote, run, shown


def test_rolling_back_returns_the_former_champion_and_its_digest(store: RegistryStore, decisions: Decisions) -> None:
    digests = [promote(store, decisions, "sw", seed) for seed in (1, 2, 3)]
    assert rollback(store, "sw", "slow", who="ann") == "2"
    state = store.read_language("sw").state
    assert state.digests[str(state.production)] == digests[1]
    assert (state.hold is not None and state.hold.who, state.gate_uses) == ("ann", 3)
    assert (state.entries[-1].source, state.entries[-1].replaces) == ("Archived", "3")
    assert rollback(store, "sw", "still slow") == "1"
    assert shown(store) == ({"1": "Production", "2": "Archived", "3": "Archived"}, {"champion": "1"})
    with pytest.raises(RegistryError, match="no version was in Production before 1"):
        rollback(store, "sw", "still")
    assert rollback(store, "sw", "not that", to="3") == "3"
    assert shown(store)[1] == {"champion": "3"}


def test_only_former_champions_can_be_named(store: RegistryStore, decisions: Decisions) -> None:
    champion = promote(store, decisions, "sw", 1)
    decisions.decide("sw", decisions.candidate("sw", 2), "refuse", against=("1", champion))
    run(store, decisions)
    with pytest.raises(
        RegistryError, match=r"sw: version 2 was never in Production. There is no other former champion"
    ):
        rollback(store, "sw", "why not", to="2")
    with pytest.raises(RegistryError, match="version 1 is in Production already"):
        rollback(store, "sw", "why not", to="1")
    with pytest.raises(RegistryError, match="is not a version number"):
        rollback(store, "sw", "why not", to="1 or 1=1")
    with pytest.raises(RegistryError, match=r"swa: has no registered adapter. Did you mean sw"):
        rollback(store, "swa", "why not")
    assert store.read_language("sw").state.hold is None


def test_a_damaged_former_champion_is_not_brought_back(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    source = store.read_language("sw").versions["1"].source
    weights = Path(source.removeprefix("file://")) / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(RegistryError, match=r"adapter/adapter_model.safetensors was altered"):
        rollback(store, "sw", "complaints")
    assert shown(store)[1] == {"champion": "2"}
    open_client(store.location).delete_model_version("compass-sw", "1")
    with pytest.raises(RegistryError, match="version 1 was deleted from the registry"):
        rollback(store, "sw", "complaints")


def test_releasing_what_nobody_holds_is_an_error(store: RegistryStore, decisions: Decisions) -> None:
    promote(store, decisions, "sw", 1)
    with pytest.raises(RegistryError, match="sw: nobody holds it"):
        release(store, "sw", "whatever")
    hold(store, "sw", "demo")
    release(store, "sw", "over")
    assert store.read_language("sw").state.hold is None
