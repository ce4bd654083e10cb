import itertools

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.stages import ALIASES, MOVES, STAGES, check_move, line_after, rollback_target

LEGAL = {
    ("promoted", "None", "Production"),
    ("promoted", "Staging", "Production"),
    ("promoted", "Archived", "Production"),
    ("refused", "None", "Archived"),
    ("staged", "None", "Staging"),
    ("staged", "Archived", "Staging"),
    ("rejected", "Staging", "Archived"),
    ("rolled back", "Archived", "Production"),
    ("rolled back", "Staging", "Production"),
    ("retired", "None", "Archived"),
    ("retired", "Staging", "Archived"),
    ("retired", "Production", "Archived"),
    ("restored", "None", "Production"),
    ("discarded", "None", "Archived"),
    ("discarded", "Archived", "Archived"),
}


@pytest.mark.parametrize("kind", sorted(MOVES))
@pytest.mark.parametrize(("source", "target"), list(itertools.product(STAGES, STAGES)))
def test_every_move_is_either_legal_or_refused(kind: str, source: str, target: str) -> None:
    if (kind, source, target) in LEGAL:
        check_move(kind, source, target, former_champion=True)
    else:
        with pytest.raises(RegistryError, match=f"A version in {source} cannot be {kind} to {target}"):
            check_move(kind, source, target, former_champion=True)


def test_a_former_champion_alone_returns_from_the_archive() -> None:
    for kind in ("promoted", "rolled back"):
        check_move(kind, "Archived", "Production", former_champion=True)
        with pytest.raises(RegistryError, match="never was in Production"):
            check_move(kind, "Archived", "Production")


def test_a_refusal_says_from_where_it_may_go() -> None:
    with pytest.raises(RegistryError, match="It must be in Archived or None for that"):
        check_move("staged", "Production", "Staging")


def test_an_unknown_stage_is_named_with_the_known_ones() -> None:
    with pytest.raises(RegistryError, match=r"'Prod' is not a stage. Stages are None, Staging, Production, Archived"):
        check_move("promoted", "None", "Prod")


def test_rolling_back_twice_goes_back_two_champions_and_never_forward() -> None:
    line: tuple[str, ...] = ()
    for version in ("1", "2", "4"):
        line = line_after(line, version)
    assert rollback_target(line) == "2"
    line = line_after(line, "2")
    assert rollback_target(line) == "1"
    assert line_after(line, "5") == ("1", "2", "5")
    assert rollback_target(("1",)) is None
    assert rollback_target(()) is None


def test_aliases_stand_for_the_two_active_stages() -> None:
    assert dict(ALIASES) == {"champion": "Production", "candidate": "Staging"}
