"""What is asked and what the history answers, without a registry."""

from dataclasses import replace

import pytest

from compass_ops.errors import ConflictError, RegistryError
from compass_ops.registry.history import Entry, LanguageState, after
from compass_ops.registry.mirror import LanguageView, Version
from compass_ops.registry.transitions import Ask, answer

WHEN = "2026-11-24T10:00:00.000+00:00"


def moved(*steps: tuple[str, str, str, str], versions: int = 5) -> LanguageView:
    """Return a language after some steps (kind, version, from, to), with some versions registered."""
    state = LanguageState("sw")
    for kind, number, source, target in steps:
        entry = Entry(
            "sw", kind, "ci", WHEN, "", number, number * 64, source, target,
            replaces=state.production, window="0007" if kind == "staged" else None, previous=state.head,
        )  # fmt: skip
        state = after(state, entry)
    shown = {
        str(number): Version(str(number), "None", "file:///x", "run", {"digest": str(number) * 64, "record": "r" * 64})
        for number in range(1, versions + 1)
    }
    return LanguageView(state, shown)


def ask(kind: str, version: str | None = None, expect: str | None = None) -> Ask:
    return Ask("sw", kind, "ann", WHEN, "because", version, expect)


FIRST = ("promoted", "1", "None", "Production")
SECOND = ("promoted", "2", "None", "Production")
THIRD = ("staged", "3", "None", "Staging")


def test_a_promotion_says_who_when_why_from_where_in_whose_place_and_on_what_evidence() -> None:
    view = moved(FIRST)
    entry = answer(ask("promoted", "2", expect="1"), view)
    assert entry == Entry(
        "sw", "promoted", "ann", WHEN, "because", "2", "2" * 64, "None", "Production",
        replaces="1", record="r" * 64, previous=view.state.head,
    )  # fmt: skip


def test_an_approval_carries_the_window_that_the_candidate_was_made_for() -> None:
    entry = answer(ask("promoted"), moved(FIRST, THIRD))
    assert (entry.version, entry.source, entry.window, entry.replaces) == ("3", "Staging", "0007", "1")


def test_a_candidate_that_was_put_up_against_another_champion_is_not_approved_unseen() -> None:
    view = moved(FIRST, THIRD, SECOND)
    with pytest.raises(ConflictError, match=r"into Staging against version 1, but version 2 is in Production now"):
        answer(ask("promoted"), view)
    assert answer(ask("promoted", "3"), view).replaces == "2"


@pytest.mark.parametrize("expect", ["2", "none"])
@pytest.mark.parametrize("kind", ["promoted", "rolled back", "retired", "held"])
def test_a_stale_expectation_is_a_conflict_whatever_is_asked(kind: str, expect: str) -> None:
    with pytest.raises(ConflictError, match=f"version {expect} was expected in Production, but version 1 is there"):
        answer(ask(kind, "2", expect=expect), moved(FIRST))


def test_no_champion_can_be_expected() -> None:
    assert answer(ask("promoted", "1", expect="none"), moved()).replaces is None


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (ask("promoted", "1"), "version 1 is in Production already"),
        (ask("promoted"), "no version is in Staging. Name one"),
        (ask("promoted", "6"), r"has no version 6. There are: 1, 2, 3, 4, 5\."),
        (ask("promoted", "11"), r"has no version 11. Did you mean 1\?"),
        (ask("promoted", "0"), "is not a version number"),
        (ask("staged", None), "name the version, such as sw/3"),
        (ask("staged", "1"), "version 1: A version in Production cannot be staged to Staging"),
        (ask("rejected"), "nothing to reject"),
        (ask("rolled back"), "no version was in Production before version 1"),
        (ask("rolled back", "1"), "version 1 is in Production already"),
        (ask("rolled back", "2"), r"version 2 was never in Production. There is no other former champion"),
        (ask("released"), "nobody holds it"),
    ],
)
def test_what_cannot_be_done_says_why(asked: Ask, told: str) -> None:
    with pytest.raises(RegistryError, match=told):
        answer(asked, moved(FIRST))


def test_a_refused_version_reaches_production_through_staging_alone() -> None:
    refused = ("refused", "2", "None", "Archived")
    with pytest.raises(RegistryError, match="never was in Production"):
        answer(ask("promoted", "2"), moved(FIRST, refused))
    assert answer(ask("staged", "2"), moved(FIRST, refused)).source == "Archived"


def test_a_held_language_is_promoted_by_nobody_but_can_be_rolled_back() -> None:
    view = moved(FIRST, SECOND)
    held = LanguageView(after(view.state, replace(answer(ask("held"), view), why="demo")), view.versions)
    with pytest.raises(RegistryError, match=r"ann holds it \(demo\)\. `compass release sw` first"):
        answer(ask("promoted", "3"), held)
    assert answer(ask("rolled back"), held).version == "1"


def test_a_hold_is_not_replaced_by_another_persons() -> None:
    view = moved(FIRST, SECOND)
    state = after(view.state, replace(answer(ask("held"), view), why="demo"))
    held = LanguageView(state, view.versions)
    told = r"ann holds it already, since 2026-11-24T10:00 \(demo\)\..*`compass release sw` first"
    with pytest.raises(RegistryError, match=told):
        answer(replace(ask("held"), who="bob", why="mine"), held)
    back = after(state, answer(replace(ask("rolled back"), who="bob", why="complaints"), held))
    assert (back.production, back.hold) == ("1", state.hold)
    assert after(back, answer(ask("released"), LanguageView(back, view.versions))).hold is None


def test_a_language_whose_champion_was_archived_rolls_back_to_it() -> None:
    view = moved(FIRST, SECOND, ("retired", "2", "Production", "Archived"))
    assert view.state.production is None
    assert answer(ask("rolled back"), view).version == "2"


def test_a_discarded_version_is_named_as_such() -> None:
    view = moved(FIRST, ("refused", "2", "None", "Archived"), ("discarded", "2", "Archived", "Archived"))
    with pytest.raises(RegistryError, match="version 2 was discarded by `compass gc`"):
        answer(ask("staged", "2"), view)
