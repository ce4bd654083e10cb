"""`kill -9` at every write: readers agree afterwards, the doctor ends clean, nothing is lost."""

import shutil
import signal
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from compass_ops.registry import database_client
from compass_ops.registry.checkup import examine, repair
from compass_ops.registry.location import now
from compass_ops.registry.mirror import corrections, outside
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.transact import transact
from compass_ops.registry.transitions import Ask
from compass_ops.training.version import MANIFEST
from tests.concurrency.children import ended, kill_myself, start
from tests.registry.conftest import Decisions
from tests.registry.test_reconcile import WRITES, promote, run, shown, writers
from tests.server.running import server_under_test

_ALL = (*WRITES, "log_artifact", "set_model_version_tag", "delete_registered_model_alias")


def killed_before(number: int, work: Callable[[], None]) -> bool:
    """Do ``work`` in a process that is killed before its write ``number``; False if it made fewer writes."""

    def doomed() -> None:
        from mlflow.tracking import MlflowClient

        done = 0

        def counting(original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal done
                if done == number:
                    kill_myself()
                done += 1
                return original(*args, **kwargs)

            return call

        for writer, name in writers(_ALL):
            setattr(writer, name, counting(getattr(writer, name)))
        upload = MlflowClient.log_artifacts

        def in_two_steps(client: Any, run_id: str, folder: str, path: str) -> None:
            """Files go one by one: a kill may come between two of them."""
            client.log_artifact(run_id, str(Path(folder) / MANIFEST), path)
            upload(client, run_id, folder, path)

        MlflowClient.log_artifacts = in_two_steps
        work()

    code = ended(start(doomed))
    assert code in (0, -signal.SIGKILL)
    return code != 0


def killed_at_statement(number: int, work: Callable[[], None]) -> bool:
    """Do ``work`` in a process that is killed before its SQL statement or commit ``number``; False if it made fewer."""

    def doomed() -> None:
        done = 0

        class Counting(sqlite3.Connection):
            def count(self) -> None:
                nonlocal done
                if done == number:
                    kill_myself()
                done += 1

            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                self.count()
                return super().execute(*arguments)

            def __exit__(self, *arguments: Any) -> Any:
                self.count()
                return super().__exit__(*arguments)

        connect = partial(sqlite3.connect, factory=Counting)
        vars(database_client)["sqlite3"] = SimpleNamespace(connect=connect)
        work()

    code = ended(start(doomed))
    assert code in (0, -signal.SIGKILL)
    return code != 0


def assert_agreed(store: RegistryStore, productions: dict[str, set[str]]) -> None:
    """Every reader says the same, before and after the doctor came; afterwards nothing is left to find."""
    fresh = RegistryStore(store.location)
    states = {language: view.state for language, view in fresh.read().items()}
    assert {language: fresh.read_language(language).state for language in states} == states
    for language, allowed in productions.items():
        assert states[language].production in allowed
        stages, _ = shown(store, language)
        assert list(stages.values()).count("Production") == 1
    repair(fresh, examine(fresh, productions), "doctor")
    assert [finding.text for finding in examine(fresh, productions) if finding.is_fault] == []
    for language, view in fresh.read().items():
        assert view.state == states[language]
        assert [*corrections(view), *outside(view)] == []
        assert shown(store, language)[1] == {"champion": view.state.production}
        for number in view.state.champions:
            with fresh.opened(view.versions[number]):
                pass  # every file is there, with its digest


@pytest.fixture
def anew(store: RegistryStore, decisions: Decisions, project: Path) -> Callable[[str], RegistryStore]:
    """Give, as often as it is asked for, a registry where sw and tr have had two champions each.

    Files are shared by all of them: nobody writes into those of a version.
    """
    for language in ("sw", "tr"):
        promote(store, decisions, language, 1)
        promote(store, decisions, language, 2)
    server = server_under_test()
    if server is not None:
        saved = server.saved()

        def put_back(_: str) -> RegistryStore:
            server.put_back(saved)
            return RegistryStore(store.location)

        return put_back
    kept = shutil.copytree(project / "mlruns", project / "kept", ignore=shutil.ignore_patterns("artifacts"))

    def copied(name: str) -> RegistryStore:
        folder = shutil.copytree(kept, kept.with_name(name))
        return RegistryStore(replace(store.location, uri=f"sqlite:///{folder}/mlflow.db"))

    return copied


def _run(store: RegistryStore, decisions: Decisions) -> None:
    run(store, decisions)


@pytest.mark.long
def test_a_promotion_by_the_pipeline_survives_a_kill_at_every_write(
    store: RegistryStore, decisions: Decisions, anew: Callable[[str], RegistryStore]
) -> None:
    third = decisions.candidate("sw", 3)
    champion = store.read_language("sw").state
    decisions.decide("sw", third, against=("2", champion.digests["2"]))
    decisions.decide("tr", None, "no candidate")
    kills = 0
    while True:
        crashed = anew(f"killed{kills}")
        was_killed = killed_before(kills, partial(_run, crashed, decisions))
        assert_agreed(crashed, {"sw": {"2", "3"}, "tr": {"2"}})
        if not was_killed:
            break
        for leftover in (decisions.decisions.parent / "out").glob(".register*"):
            shutil.rmtree(leftover)
        run(crashed, decisions)
        assert crashed.read_language("sw").state.production == "3"
        assert_agreed(crashed, {"sw": {"3"}, "tr": {"2"}})
        kills += 1
    assert kills == 10  # run, one file, files, end of run, version, entry, claim, stage, alias, claim given back


Killed = Callable[[int, Callable[[], None]], bool]


def kills_survived(anew: Callable[[str], RegistryStore], killed: Killed) -> int:
    """Roll two languages back, killed once in every place: both are, or none; return how many places there were."""
    kills = 0
    while True:
        crashed = anew(f"killed{kills}")

        def roll_back(at: RegistryStore = crashed) -> None:
            transact(at, [Ask(language, "rolled back", "ann", now(), "x") for language in ("sw", "tr")])

        was_killed = killed(kills, roll_back)
        views = RegistryStore(crashed.location).read()
        assert len({view.state.production for view in views.values()}) == 1
        assert_agreed(crashed, {"sw": {"1", "2"}, "tr": {"1", "2"}})
        if not was_killed:
            return kills
        kills += 1


@pytest.mark.long
def test_a_rollback_of_several_languages_survives_a_kill_at_every_write(anew: Callable[[str], RegistryStore]) -> None:
    # entries, their effect, claim, two stages and two aliases, claim given back
    assert kills_survived(anew, killed_before) == 8


@pytest.mark.long
@pytest.mark.usefixtures("on_file")
def test_a_rollback_survives_a_kill_within_every_transaction(anew: Callable[[str], RegistryStore]) -> None:
    """What SQLite's journal undoes is as if it had not begun, for readers that may write and for the doctor."""
    assert kills_survived(anew, killed_at_statement) > 40
