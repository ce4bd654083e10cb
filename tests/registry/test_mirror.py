import itertools
from dataclasses import replace

import pytest

from compass_ops.registry.history import LanguageState
from compass_ops.registry.mirror import Correction, LanguageView, Version, corrections, outside, told

SHOWN = ("None", "Staging", "Production", "Archived")


def view(stages: dict[str, str], shown: dict[str, str], aliases: dict[str, str]) -> LanguageView:
    versions = {number: Version(number, stage, "file:///x", "run", {}) for number, stage in shown.items()}
    return LanguageView(LanguageState("sw", stages=stages), versions, aliases)


def written(before: LanguageView) -> LanguageView:
    """Do to the view what MLflow does at each correction."""
    versions, aliases = dict(before.versions), dict(before.aliases)
    for write in corrections(before):
        if write.alias is not None and write.version is None:
            del aliases[write.alias]
        elif write.alias is not None:
            aliases[write.alias] = str(write.version)
        else:
            if write.stage in ("Production", "Staging"):
                same = [number for number, version in versions.items() if version.stage == write.stage]
                versions |= {number: replace(versions[number], stage="Archived") for number in same}
            versions[str(write.version)] = replace(versions[str(write.version)], stage=str(write.stage))
    return LanguageView(before.state, versions, aliases)


@pytest.mark.parametrize("shown", list(itertools.product(SHOWN, repeat=3)))
@pytest.mark.parametrize("champion", [None, "1", "3"])
def test_from_whatever_was_left_the_corrections_lead_to_what_the_history_says(
    shown: tuple[str, ...], champion: str | None
) -> None:
    stages = {"1": "Archived", "2": "Production", "3": "Archived"}
    aliases = {"champion": champion} if champion else {}
    right = written(view(stages, dict(zip("123", shown, strict=True)), aliases))
    assert {number: version.stage for number, version in right.versions.items()} == stages
    assert right.aliases == {"champion": "2"}
    assert corrections(right) == []


def test_production_is_written_before_the_alias_and_archives_its_predecessor() -> None:
    before = view({"1": "Archived", "2": "Production"}, {"1": "Production", "2": "None"}, {"champion": "1"})
    assert corrections(before) == [Correction("2", stage="Production"), Correction("2", alias="champion")]


def test_a_version_unknown_to_the_history_is_left_unless_it_rivals_the_champion() -> None:
    aliases = {"champion": "1"}
    assert corrections(view({"1": "Production"}, {"1": "Production", "9": "None"}, aliases)) == []
    rival = view({"1": "Production"}, {"1": "Production", "9": "Production"}, aliases)
    assert corrections(rival) == [Correction("1", stage="Production")]
    assert corrections(view({}, {"9": "Production"}, {})) == []


def test_a_deleted_champion_is_passed_over() -> None:
    assert corrections(view({"1": "Archived", "2": "Production"}, {"1": "Archived"}, {})) == []


def test_an_alias_without_a_stage_goes() -> None:
    before = view({"1": "Archived"}, {"1": "Archived"}, {"candidate": "1"})
    assert corrections(before) == [Correction(None, alias="candidate")]


def test_what_somebody_put_into_production_past_the_history_is_archived_on_demand() -> None:
    before = view({"1": "Archived"}, {"1": "Archived", "8": "Staging", "9": "Production"}, {})
    assert corrections(before) == []
    assert outside(before) == [Correction("8", stage="Archived"), Correction("9", stage="Archived")]
    assert told(before, outside(before)[1]) == ("sw: version 9 was shown as Production, the history does not know it")
