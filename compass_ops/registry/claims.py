"""Who may write stages and aliases at this moment: tickets, as versions of a model of their own.

MLflow archives a predecessor in the transaction that brings a version to Production, but two such transactions at
once can leave two versions there. So writers take a ticket, whose number MLflow hands out uniquely, and the lowest
ticket writes. A ticket is given back by deleting it; so is the ticket of a process that died.
"""

import os
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass_ops.errors import BusyError, RegistryError
from compass_ops.registry.faults import gone_already, mlflow_errors, persist
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.names import CLAIMS

LEASE_SECONDS = 60.0  # for which a ticket of another machine may head the queue
_PATIENCE_SECONDS = 300.0
_LOOK_SECONDS = 0.03
_HOLDER, _PROCESS = "compass.holder", "compass.process"


@dataclass(frozen=True)
class Ticket:
    """A place in the queue: its number, whose it is, and the process that took it."""

    number: int
    holder: str
    process: str


@contextmanager
def claimed(client: Any, location: RegistryLocation) -> Iterator[None]:
    """Hold the registry's one claim while the body runs; the model that keeps the tickets must exist.

    Raises
    ------
    BusyError
        If the turn does not come within five minutes.
    """
    holder = uuid.uuid4().hex
    try:
        persist(lambda: _take(client, location, holder))
        _wait(client, location, holder)
        yield
    finally:
        # What cannot be given back now is taken away when this process is gone, or after the lease.
        with suppress(RegistryError):
            persist(lambda: _give_back(client, location, holder))


def dead_tickets(client: Any, location: RegistryLocation) -> list[Ticket]:
    """Return the tickets of this machine's processes that are gone."""
    return [ticket for ticket in _tickets(client, location) if _is_dead(ticket.process)]


def give_back(client: Any, location: RegistryLocation, ticket: Ticket) -> None:
    """Delete a ticket; nothing happens if it is gone."""
    with mlflow_errors(location, f"giving back ticket {ticket.number}"), gone_already():
        client.delete_model_version(CLAIMS, str(ticket.number))


def _take(client: Any, location: RegistryLocation, holder: str) -> None:
    tags = {_HOLDER: holder, _PROCESS: _this_process()}
    with mlflow_errors(location, "taking a ticket"):
        client.create_model_version(CLAIMS, source="compass:/claims", tags=tags)


def _wait(client: Any, location: RegistryLocation, holder: str) -> None:
    started = since = time.monotonic()
    head: int | None = None
    while True:
        tickets = persist(lambda: _tickets(client, location))
        place = next((place for place, ticket in enumerate(tickets) if ticket.holder == holder), None)
        if place is None:
            raise BusyError(f"{location.shown}: this process was taken for dead and lost its turn. Rerun.")
        if place == 0:
            return
        first = tickets[0]
        if first.number != head:
            head, since = first.number, time.monotonic()
        if _is_dead(first.process) or time.monotonic() - since > LEASE_SECONDS:
            give_back(client, location, first)
        elif time.monotonic() - started > _PATIENCE_SECONDS:
            raise BusyError(f"{location.shown}: others have been writing for minutes. Rerun when they are done.")
        else:
            time.sleep(_LOOK_SECONDS * place)


def _give_back(client: Any, location: RegistryLocation, holder: str) -> None:
    for ticket in _tickets(client, location):
        if ticket.holder == holder:  # two, if the answer to the first request was lost
            give_back(client, location, ticket)


def _tickets(client: Any, location: RegistryLocation) -> list[Ticket]:
    with mlflow_errors(location, "looking whose turn it is"):
        found = client.search_model_versions(f"name = '{CLAIMS}'", order_by=["version_number ASC"])
        return [Ticket(int(one.version), one.tags.get(_HOLDER, ""), one.tags.get(_PROCESS, "")) for one in found]


def _machine() -> str:
    """Name what process ids belong to: the host since it was started, and the container."""
    parts = [socket.gethostname()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip())
    with suppress(OSError):
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return "|".join(parts)


def _started(pid: int) -> str | None:
    """Return when a running process started, in ticks since boot; None if there is none or no telling."""
    with suppress(OSError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return None if fields[0] == "Z" else fields[19]
    return None


def _this_process() -> str:
    return f"{_machine()} {os.getpid()} {_started(os.getpid())}"


def _is_dead(process: str) -> bool:
    """Whether a process of this machine is gone; False for those of other machines."""
    parts = process.rsplit(" ", 2)
    if len(parts) != 3 or parts[0] != _machine() or not parts[1].isdigit() or parts[2] == "None":
        return False
    return _started(int(parts[1])) != parts[2]
