"""One writer of stages and aliases at a time, whoever dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from compass_ops.errors import BusyError
from compass_ops.registry import claims
from compass_ops.registry.names import CLAIMS
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from pipelines._code import ROOT

HOLD = """
import sys, time
from pathlib import Path
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.store import RegistryStore
with RegistryStore(RegistryLocation(sys.argv[1], "compass", Path(sys.argv[2]))).claimed():
    print("holding", flush=True)
    time.sleep(60)
"""


def numbers(store: RegistryStore) -> list[int]:
    found = open_client(store.location).search_model_versions(f"name = '{CLAIMS}'")
    return sorted(int(version.version) for version in found)


def test_a_claim_is_given_back_also_after_an_error(store: RegistryStore) -> None:
    with pytest.raises(RuntimeError, match="midway"), store.claimed():
        assert numbers(store) == [1]
        raise RuntimeError("midway")
    assert numbers(store) == []


def test_writers_take_turns_in_the_order_of_their_tickets(store: RegistryStore) -> None:
    told: list[str] = []

    def write(name: str) -> None:
        with RegistryStore(store.location).claimed():
            told.append(f"{name} begins")
            time.sleep(0.05)
            told.append(f"{name} ends")

    with store.claimed():
        writers = [threading.Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
        for expected, writer in enumerate(writers, start=2):
            writer.start()
            while len(numbers(store)) < expected:
                time.sleep(0.01)
        assert told == []
    for writer in writers:
        writer.join()
    assert told == [f"{name} {does}" for name in ("a", "b", "c") for does in ("begins", "ends")]
    assert numbers(store) == []


def test_the_claim_of_a_process_that_was_killed_is_taken_away(store: RegistryStore) -> None:
    command = [sys.executable, "-c", HOLD, store.location.uri, str(store.location.root)]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "holding\n"
        assert store.dead_claims() == []
        os.kill(holder.pid, signal.SIGKILL)
    assert store.dead_claims() == [1]
    with store.claimed():
        assert numbers(store) == [2]


def test_the_claim_of_another_machine_is_waited_for_and_taken_away_after_its_lease(
    store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as elsewhere:
        with monkeypatch.context() as patch:
            patch.setattr(claims, "_machine", lambda: "another")
            elsewhere.enter_context(store.claimed())
        assert store.dead_claims() == []
        with monkeypatch.context() as patch:  # not for longer: one answer of a busy server takes as long
            patch.setattr(claims, "_PATIENCE_SECONDS", 0.1)
            with pytest.raises(BusyError, match="others have been writing for minutes"), store.claimed():
                pass
        assert numbers(store) == [1]
        monkeypatch.setattr(claims, "LEASE_SECONDS", 0.05)
        with store.claimed():
            assert numbers(store) == [3]


def test_a_ticket_that_was_taken_twice_is_one_claim(store: RegistryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer to the first request was lost, so that it was sent again."""
    original = claims._take

    def twice(*arguments: object) -> None:
        original(*arguments)  # type: ignore[arg-type]
        original(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(claims, "_take", twice)
    with store.claimed():
        assert numbers(store) == [1, 2]
    assert numbers(store) == []
