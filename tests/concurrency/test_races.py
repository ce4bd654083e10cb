"""Many processes on the same languages: one champion at every moment, nothing lost, losers told."""

import json
import logging
import os
import random
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from compass_ops.errors import BusyError, ConflictError, RegistryError
from compass_ops.registry.history import LanguageState
from compass_ops.registry.location import RegistryLocation, now
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from compass_ops.registry.transact import transact
from compass_ops.registry.transitions import Ask
from tests.concurrency.children import ended, start
from tests.registry.conftest import Decisions
from tests.registry.test_reconcile import promote, shown

LANGUAGES = ("hr", "id", "sw", "tr", "zu")
VERSIONS = 3
SECONDS = float(os.environ.get("COMPASS_RACE_SECONDS", "60"))


def a_wish(state: LanguageState, rng: random.Random) -> Ask:
    """Return something that a person might ask for, having seen ``state``."""
    language, who, seen = state.language, f"process {os.getpid()}", state.production
    if state.hold is not None:
        return Ask(language, "released", who, now(), "go on", expect=seen)
    if len(state.line) > 1 and rng.random() < 0.5:
        return Ask(language, "rolled back", who, now(), "back", expect=seen)
    others = sorted(set(state.stages) - {str(seen)})
    return Ask(language, "promoted", who, now(), "forth", rng.choice(others), expect=seen)


def race(location: RegistryLocation, seed: int, until: float, out: Path) -> None:
    """Ask for one thing after another and note what became of each."""
    os.nice(10)  # whoever observes goes first
    store, rng = RegistryStore(location), random.Random(seed)
    if seed % 2:  # as a process of another kind would: MLflow's client writes where ours does otherwise
        store._deciding = open_client(location)
    outcomes: list[tuple[str, str]] = []
    while time.time() < until:
        state = store.read_language(rng.choice(LANGUAGES)).state
        wish = a_wish(state, rng)
        others = [name for name in LANGUAGES if name != wish.language]
        wishes = [wish]
        if rng.random() < 0.2:  # two languages at once
            wishes.append(a_wish(store.read_language(rng.choice(others)).state, rng))
        try:
            outcomes += [("done", entry.hash) for entry in transact(store, wishes)]
        except ConflictError:
            outcomes.append(("conflict", wish.language))
        except BusyError:
            outcomes.append(("busy", wish.language))
        except RegistryError as error:  # the hold came or went, the champion went and came back
            assert str(error).endswith("Nothing was done."), error
            outcomes.append(("refused", wish.language))
    out.write_text(json.dumps(outcomes))


def observe(location: RegistryLocation, until: float, out: Path) -> None:
    """Look at the stages, as MLflow shows them, and at the history, again and again."""
    store, client = RegistryStore(location), open_client(location)
    looks, wrong = 0, []
    while time.time() < until or not looks:  # once at least, however busy the machine is
        for language in LANGUAGES:
            found = client.search_model_versions(f"name = 'compass-{language}'")
            at = [version.version for version in found if version.current_stage == "Production"]
            alias = client.get_registered_model(f"compass-{language}").aliases.get("champion")
            said = store.read_language(language).state.production
            looks += 1
            if len(at) != 1 or alias is None or said is None:
                wrong.append([language, at, alias, said])
    out.write_text(json.dumps({"looks": looks, "wrong": wrong}))


def run_race(store: RegistryStore, folder: Path, processes: int, seconds: float) -> Counter[str]:
    """Race, then check what must hold; return how many attempts ended how."""
    before = {language: len(store.read_language(language).state.entries) for language in LANGUAGES}
    uri = store.location.uri.replace("sqlite:////", "sqlite:////./")  # connections of their own for the children
    location = RegistryLocation(uri, store.location.experiment, store.location.root)
    until = time.time() + seconds
    files = [folder / f"race{seed}.json" for seed in range(processes)]
    children = [start(lambda s=seed, f=file: race(location, s, until, f)) for seed, file in enumerate(files)]  # type: ignore[misc]
    children.append(start(lambda: observe(location, until, folder / "observed.json")))
    assert [ended(child) for child in children] == [0] * len(children)
    observed = json.loads((folder / "observed.json").read_text())
    assert observed["wrong"] == []
    assert observed["looks"] >= len(LANGUAGES)
    outcomes = [outcome for file in files for outcome in json.loads(file.read_text())]
    check_history(store, before, [told for what, told in outcomes if what == "done"])
    return Counter(what for what, _ in outcomes)


def check_history(store: RegistryStore, before: dict[str, int], done: Sequence[str]) -> None:
    """The chain holds what was done, all of it, once; stages and aliases say the same as its end."""
    views = RegistryStore(store.location).read()
    written = [entry.hash for name in LANGUAGES for entry in views[name].state.entries[before[name] :]]
    assert sorted(written) == sorted(done)
    assert len(set(written)) == len(written)
    for language in LANGUAGES:
        state = views[language].state
        assert store.read_language(language).state == state
        stages, aliases = shown(store, language)
        assert (stages, aliases) == (dict(state.stages), {"champion": state.production})
        assert list(stages.values()).count("Production") == 1


@pytest.fixture
def contested(store: RegistryStore, decisions: Decisions) -> RegistryStore:
    for language in LANGUAGES:
        for seed in range(VERSIONS):
            promote(store, decisions, language, seed)
            (decisions.decisions / f"{language}.json").unlink()
    return store


def test_a_few_processes_race_for_a_few_seconds(contested: RegistryStore, project: Path) -> None:
    told = run_race(contested, project, 4, 4)
    assert told["done"] > 0


@pytest.mark.long
def test_sixteen_processes_race_for_the_same_five_languages(contested: RegistryStore, project: Path) -> None:
    told = run_race(contested, project, 16, SECONDS)
    assert told["done"] >= SECONDS / 4
    assert told["conflict"] > 0
    logging.getLogger(__name__).warning("%.0f s, 16 processes: %s", SECONDS, dict(told))
