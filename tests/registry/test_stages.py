import itertools

import pytest

from compass_ops.errors import RegistryError
from compass_ops.registry.stages import ALIASES, STAGES, check_move, line_after, rollback_target

LEGAL = {
    ("None", "Staging"),
    ("None", "Production"),
    ("None", "Archived"),
    ("Staging", "Production"),
    ("Staging", "Archived"),
    ("Production", "Archived"),
    ("Archived", "Staging"),
}


@pytest.mark.parametrize(("source", "target"), list(itertools.product(STAGES, STAGES)))
def test_every_pair_of_stages_is_either_legal_or_refused(source: str, target: str) -> None:
    if (source, target) in LEGAL:
        check_move(source, target)
    else:
        with pytest.raises(RegistryError, match="cannot go"):
            check_move(source, target)


def test_a_former_champion_alone_returns_from_the_archive() -> None:
    check_move("Archived", "Production", former_champion=True)
    with pytest.raises(RegistryError, match="never was in Production"):
        check_move("Archived", "Production")


def test_an_unknown_stage_is_named_with_the_known_ones() -> None:
    with pytest.raises(RegistryError, match=r"'Prod' is not a stage. Stages are None, Staging, Production, Archived"):
        check_move("None", "Prod")


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
