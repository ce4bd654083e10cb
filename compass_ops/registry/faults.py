"""What goes wrong at a registry: one error with a remedy for each fault, and what may be tried again."""

import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import MappingProxyType
from typing import TypeVar

from compass_ops.errors import BusyError, RegistryError
from compass_ops.registry.database_client import ABSENT, INVALID, PRESENT, DatabaseRefusalError
from compass_ops.registry.location import RegistryLocation
from compass_ops.terminal import masked

_REMEDIES = MappingProxyType(
    {
        ABSENT: "It may have been deleted; `compass status` shows what there is.",
        INVALID: "It is too long, or of a form that MLflow does not take: correct it.",
        "PERMISSION_DENIED": "Ask the server's administrator for the permission.",
        "UNAUTHENTICATED": "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD.",
    }
)
_DAMAGED = "The file is damaged or no registry: look where registry.uri points, or restore it from a backup."
# Parts of messages that have no error code of their own, and what to do about them.
_TOLD_REMEDIES = MappingProxyType(
    {
        "readonly database": "Its files cannot be written here: fix their permissions, or work where they can.",
        "malformed": _DAMAGED,
        "not a database": _DAMAGED,
        "no such table": _DAMAGED,
        "database schema": (
            "The database belongs to another version of MLflow: install that one, or see `mlflow db upgrade`."
        ),
        "failed with error code 401": _REMEDIES["UNAUTHENTICATED"],
        "failed with error code 403": _REMEDIES["PERMISSION_DENIED"],
    }
)
_BUSY = ("Giving up after", "database is locked", "could not serialize", "deadlock detected")
_PATIENCE_SECONDS, _FIRST_PAUSE_SECONDS = 15.0, 0.04
_Result = TypeVar("_Result")
_REMEDY = "Check that the database or server can be reached and written, then rerun; what is done stays done."


@contextmanager
def mlflow_errors(location: RegistryLocation, doing: str) -> Iterator[None]:
    """Turn every error of MLflow or its database into a ``RegistryError`` that says what was being done."""
    try:
        yield
    except _faults() as error:
        code = getattr(error, "error_code", "")
        text = str(error).strip()
        said = text.splitlines()[0] if text else type(error).__name__
        remedy = next((told for part, told in _TOLD_REMEDIES.items() if part in said), None)
        kind = RegistryError if remedy else _kind(code, text)
        remedy = remedy or _REMEDIES.get(code, _REMEDY)
        raise kind(masked(f"{location.uri}: {doing} failed ({said}). {remedy}")) from error


def _faults() -> tuple[type[Exception], ...]:
    """Return what a registry raises. MLflow is not loaded for it: unless it is, it has raised nothing."""
    ours = (DatabaseRefusalError, sqlite3.Error, OSError)
    if "mlflow.exceptions" not in sys.modules:
        return ours
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    return (*ours, MlflowException, SQLAlchemyError)


def _kind(code: str, text: str) -> type[RegistryError]:
    busy = code == "TEMPORARILY_UNAVAILABLE" or any(part in text for part in _BUSY)
    return BusyError if busy else RegistryError


def persist(action: Callable[[], _Result]) -> _Result:
    """Call ``action`` until the registry is no longer busy; ``BusyError`` from the first call that ends too late.

    For actions that may be repeated: a reader, a write that gives the same result twice. A call waits up to 20 s for
    a lock of SQLite by itself, and none begins more than 15 s after the first.
    """
    begun, pause = time.monotonic(), _FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except BusyError:
            spread = 0.5 + time.monotonic_ns() % 1000 / 1000  # so that those who met once do not meet again
            if time.monotonic() - begun + pause * spread > _PATIENCE_SECONDS:
                raise
            time.sleep(pause * spread)
            pause *= 2


def made_by_another() -> AbstractContextManager[None]:
    """Let pass that something exists already: another process made it since one looked."""
    return _let_pass(PRESENT)


def gone_already() -> AbstractContextManager[None]:
    """Let pass that something to be deleted does not exist."""
    return _let_pass(ABSENT)


@contextmanager
def _let_pass(code: str) -> Iterator[None]:
    try:
        yield
    except _faults() as error:
        if getattr(error, "error_code", None) != code:
            raise
