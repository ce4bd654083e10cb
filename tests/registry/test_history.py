from dataclasses import replace

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.history import Entry, Hold, LanguageState, after, entry_from, fold, registry_json

WHEN = "2026-11-24T10:00:00.000+00:00"


def promotion(version: str, previous: str | None, window: str | None = None) -> Entry:
    return Entry(
        "sw", "promoted", "ann", WHEN, "better", version, version * 64, "None", "Production",
        record="r" * 64, window=window, used_gate=True, previous=previous,
    )  # fmt: skip


def chain(*entries: Entry) -> list[tuple[int, Entry]]:
    """Number the entries from 10 in steps of 3, each linked to the one before."""
    linked: list[tuple[int, Entry]] = []
    head = None
    for number, entry in enumerate(entries):
        linked.append((10 + 3 * number, replace(entry, previous=head)))
        head = linked[-1][1].hash
    return linked


def test_an_entry_survives_its_json() -> None:
    entry = promotion("1", None, "0002")
    assert entry_from(entry.as_json()) == entry
    assert entry_from(entry.as_json()).hash == entry.hash
    assert replace(entry, why="worse").hash != entry.hash


def test_two_promotions_a_refusal_and_a_rollback_fold_to_one_champion() -> None:
    refusal = Entry("sw", "refused", "ann", WHEN, "worse", "3", "3" * 64, "None", "Archived", used_gate=True)
    back = Entry("sw", "rolled back", "bob", WHEN, "complaints", "1", "1" * 64, "Archived", "Production")
    entries = chain(promotion("1", None), promotion("2", None, "0007"), refusal, back)
    before, state = fold(entries[:3])["sw"], fold(entries)["sw"]
    assert (before.production, before.line, before.hold) == ("2", ("1", "2"), None)
    assert dict(state.stages) == {"1": "Production", "2": "Archived", "3": "Archived"}
    assert (state.production, state.line, state.champions) == ("1", ("1",), frozenset("12"))
    assert state.hold == Hold("bob", "complaints")
    assert (state.gate_uses, state.adopted) == (3, ("0007",))
    assert {digest[0]: known.verdict for digest, known in state.judged.items()} == {
        "1": "promoted",
        "2": "promoted",
        "3": "refused",
    }


def test_numbers_decide_the_order_not_the_order_of_reading() -> None:
    entries = chain(promotion("1", None), promotion("2", None), promotion("3", None))
    assert fold(reversed(entries))["sw"] == fold(entries)["sw"]


def test_of_two_writers_who_saw_the_same_head_the_lower_number_counts() -> None:
    (number, first), *_ = chain(promotion("1", None))
    early, late = promotion("2", first.hash), promotion("3", first.hash)
    state = fold([(number, first), (11, early), (12, late)])["sw"]
    assert state.entries == (first, early)
    third = promotion("4", early.hash)
    assert fold([(number, first), (11, early), (12, late), (13, third)])["sw"].production == "4"


def test_an_altered_or_deleted_entry_breaks_the_chain() -> None:
    entries = chain(promotion("1", None), promotion("2", None), promotion("3", None))
    with pytest.raises(RegistryError, match="sw: the history is broken before entry 16"):
        fold([entries[0], entries[2]])
    altered = (entries[1][0], replace(entries[1][1], who="eve"))
    with pytest.raises(RegistryError, match="broken before entry 16"):
        fold([entries[0], altered, entries[2]])


def test_entries_under_one_number_are_one_decision_all_valid_or_all_void() -> None:
    (number, first), *_ = chain(promotion("1", None))
    other = replace(first, language="tr")
    start = [(number, first), (number + 1, other)]
    both = (promotion("2", first.hash), replace(promotion("2", other.hash), language="tr"))
    states = fold([*start, (20, both[0]), (20, both[1])])
    assert {language: state.production for language, state in states.items()} == {"sw": "2", "tr": "2"}
    meanwhile = (15, replace(promotion("3", other.hash), language="tr"))
    states = fold([*start, meanwhile, (20, both[0]), (20, both[1])])
    assert {language: state.production for language, state in states.items()} == {"sw": "1", "tr": "3"}
    assert fold([*start, meanwhile, (20, both[0]), (20, both[1]), (21, both[0])])["sw"].production == "2"


def test_a_restored_champion_takes_the_place_of_the_deleted_number_in_the_line() -> None:
    again = Entry("sw", "restored", "ann", WHEN, "gone", "3", "2" * 64, "None", "Production", "2")
    state = fold(chain(promotion("1", None), promotion("2", None), again))["sw"]
    assert (state.production, state.line, state.stages["2"]) == ("3", ("1", "3"), "Archived")


def test_a_candidate_in_staging_counts_as_judged_until_a_person_has_decided() -> None:
    staged = Entry("sw", "staged", "ci", WHEN, "better", "2", "2" * 64, "None", "Staging", used_gate=True)
    waiting = fold(chain(promotion("1", None), staged))["sw"]
    assert (waiting.production, waiting.staging, waiting.judged["2" * 64].verdict) == ("1", "2", "staged")
    approved = Entry("sw", "promoted", "ann", WHEN, "yes", "2", "2" * 64, "Staging", "Production", "1", window="0007")
    state = fold(chain(promotion("1", None), staged, approved))["sw"]
    assert (state.production, state.staging, state.adopted, state.gate_uses) == ("2", None, ("0007",), 2)
    rejected = Entry("sw", "rejected", "ann", WHEN, "no", "2", "2" * 64, "Staging", "Archived")
    state = fold(chain(promotion("1", None), staged, rejected))["sw"]
    assert (state.production, state.staging, state.judged["2" * 64].verdict) == ("1", None, "rejected")


def test_a_hold_lasts_until_it_is_released() -> None:
    state = after(LanguageState("sw"), Entry("sw", "held", "ann", WHEN, "holiday"))
    assert state.hold == Hold("ann", "holiday")
    assert after(state, Entry("sw", "released", "ann", WHEN, "back")).hold is None


@pytest.mark.parametrize("change", [{"schema": 2}, {"kind": "canonised"}, {"colour": "red"}])
def test_entries_of_another_schema_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(RegistryError, match="history holds"):
        entry_from({**promotion("1", None).as_json(), **change})


def test_registry_json_has_the_shape_that_stages_read() -> None:
    state = fold(chain(promotion("1", None), promotion("2", None, "0007")))["sw"]
    assert registry_json({"sw": state, "am": LanguageState("am")}) == {
        "schema": 1,
        "languages": {
            "am": {
                "production": None,
                "staging": None,
                "judged": {},
                "hold": None,
                "gate_uses": 0,
                "adopted": [],
            },
            "sw": {
                "production": {"version": "2", "digest": "2" * 64},
                "staging": None,
                "judged": {
                    "1" * 64: {"verdict": "promoted", "record": "r" * 64},
                    "2" * 64: {"verdict": "promoted", "record": "r" * 64},
                },
                "hold": None,
                "gate_uses": 2,
                "adopted": ["0007"],
            },
        },
    }
