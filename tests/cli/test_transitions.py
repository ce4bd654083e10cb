from pathlib import Path

import pytest

from compass_ops.registry.store import RegistryStore
from tests.cli.conftest import Compass, as_json, set_param
from tests.registry.conftest import Decisions
from tests.registry.test_reconcile import promote, run, shown


def refuse(store: RegistryStore, decisions: Decisions, seed: int, champion: tuple[str, str]) -> None:
    decisions.decide("sw", decisions.candidate("sw", seed), "refuse", against=champion)
    run(store, decisions)


def test_a_candidate_goes_through_staging_to_production_and_back(
    compass: Compass, store: RegistryStore, decisions: Decisions, project: Path
) -> None:
    first = promote(store, decisions, "sw", 1)
    refuse(store, decisions, 2, ("1", first))
    staged = compass("stage", "sw/2", "--why", "listen to it", "--expect", "1")
    assert staged.output == "sw: version 2 is in Staging.\n"
    refused = compass("approve", "sw", "--why", "fine")
    assert (refused.exit_code, "its decision record says 'refuse'" in refused.output) == (1, True)
    set_param(project, "required_evidence", "[]")
    (entry,) = as_json(compass("approve", "sw", "--why", "fine", "--json"))
    assert (entry["kind"], entry["version"], entry["replaces"], entry["why"]) == ("promoted", "2", "1", "fine")
    assert shown(store) == ({"1": "Archived", "2": "Production"}, {"champion": "2"})
    back = compass("rollback", "sw", "--to", "1", "--why", "sounds odd")
    assert back.output == (
        "sw: version 1 is in Production, in place of version 2 and held. `compass release sw` ends the hold.\n"
    )
    stopped = compass("promote", "sw/2", "--why", "again")
    assert (stopped.exit_code, "`compass release sw` first" in stopped.output) == (1, True)
    assert compass("release", "sw").output == "sw: released.\n"
    assert compass("promote", "sw/2", "--why", "again").exit_code == 0
    assert compass("archive", "sw/1", "--why", "x").exit_code == 1
    assert compass("archive", "sw/2", "--why", "gone wrong").output == "sw: version 2 is in Archived.\n"
    assert shown(store) == ({"1": "Archived", "2": "Archived"}, {})


def test_a_stale_expectation_has_an_exit_code_of_its_own(
    compass: Compass, store: RegistryStore, decisions: Decisions
) -> None:
    promote(store, decisions, "sw", 1)
    promote(store, decisions, "sw", 2)
    result = compass("rollback", "sw", "--why", "x", "--expect", "1")
    assert (result.exit_code, "version 1 was expected in Production, but version 2" in result.output) == (3, True)
    assert shown(store)[1] == {"champion": "2"}


def test_all_languages_move_together_or_none_does(compass: Compass, store: RegistryStore, decisions: Decisions) -> None:
    for language in ("sw", "tr"):
        promote(store, decisions, language, 1)
    promote(store, decisions, "sw", 2)
    result = compass("rollback", "--all", "--why", "the base is broken")
    assert result.exit_code == 1
    assert "tr: no version was in Production before version 1.\nNothing was done." in result.output
    assert shown(store)[1] == {"champion": "2"}
    promote(store, decisions, "tr", 2)
    told = compass("rollback", "--all", "--why", "the base is broken").output
    assert [line.split(",")[0] for line in told.splitlines()] == [
        "sw: version 1 is in Production",
        "tr: version 1 is in Production",
    ]
    assert compass("release", "--all").output == "sw: released.\ntr: released.\n"
    assert compass("hold", "--all", "--why", "holiday").output.startswith("sw: held. `compass release sw`")
    nothing = compass("approve", "--all", "--why", "x")
    assert (nothing.exit_code, "No registered language is in a state for that" in nothing.output) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["rollback", "--why", "x"], 2, "Name one or more languages, or give --all"),
        (["rollback", "sw", "--all", "--why", "x"], 2, "Name one or more languages, or give --all"),
        (["rollback", "sw", "tr", "--to", "1", "--why", "x"], 2, "--to goes with one language"),
        (["promote", "sw/1"], 2, "Missing option '--why'"),
        (["promote", "sw/1", "sw/2", "--why", "x"], 1, "sw: named more than once"),
        (["promote", "sw/x", "--why", "x"], 1, "'x' is not a version number"),
        (["promote", "sw/1", "--why", "x"], 1, "version 1 is in Production already"),
        (["stage", "sw/1", "--why", "x"], 1, "A version in Production cannot be staged"),
        (["reject", "sw", "--why", "x"], 1, "nothing to reject"),
        (["approve", "sw/1", "--why", "x"], 2, "this command takes languages, without a version"),
        (["reject", "sw/1", "--why", "x"], 2, "this command takes languages, without a version"),
        (["hold", "sw/1", "--why", "x"], 2, "this command takes languages, without a version"),
        (["release", "sw/1", "--why", "x"], 2, "this command takes languages, without a version"),
        (["promote", "sw/", "--why", "x"], 2, "name a version after the slash, or leave the slash out"),
        (["hold", "sw", "--why", " "], 2, "say why, in a few words"),
        (["hold", "sw", "--why", "x" * 2001], 2, "2001 characters; 2000 at most"),
        (["hold", "sw", "--why", "two\nlines"], 2, "one line of readable text"),
        (["hold", "sw", "--why", "bad \udcff byte"], 2, "one line of readable text"),
        (["promote", "sw/1", "--why", "x", "--expect", ""], 2, "'' is no version. Give a number such as 3, or none."),
        (["promote", "sw/1", "--why", "x", "--expect", "03"], 2, "'03' is no version"),
        (["archive", "sw", "--why", "x"], 1, "name the version, such as sw/3. There are: 1."),
        (["archive", "--all", "--why", "x"], 2, "--all"),
        (["stage", "--why", "x"], 2, "Name one or more languages."),
        (["release", "sw", "--why", "two\nlines"], 2, "must be one line of readable text"),
        (["hold", "..%2fx", "--why", "x"], 1, "is not a language tag"),
        (["hold", "'; drop", "--why", "x"], 1, "is not a language tag"),
        (["hold", "a" * 300, "--why", "x"], 1, "is not a language tag"),
        (["hold", "ѕw", "--why", "x"], 1, "is not a language tag"),
    ],
)
def test_wrong_calls_and_illegal_moves_say_why(
    compass: Compass, store: RegistryStore, decisions: Decisions, arguments: list[str], code: int, told: str
) -> None:
    promote(store, decisions, "sw", 1)
    result = compass(*arguments)
    assert (result.exit_code, told in result.output) == (code, True), result.output
    assert len(store.read_language("sw").state.entries) == 1
