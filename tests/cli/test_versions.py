import json

import pytest

from compass_ops.registry.store import RegistryStore
from compass_ops.registry.tracking import open_client
from tests.cli.conftest import Compass, as_json
from tests.registry.conftest import Decisions, ask, files_of
from tests.registry.test_reconcile import promote


@pytest.fixture
def two(store: RegistryStore, decisions: Decisions) -> list[str]:
    """Two versions of sw, the second of them the champion; their digests."""
    return [promote(store, decisions, "sw", seed) for seed in (1, 2)]


def test_a_version_is_shown_the_champion_if_none_is_named(compass: Compass, two: list[str]) -> None:
    told = as_json(compass("show", "sw", "--json"))
    assert (told["version"], told["stage"], told["lineage"]["digest"]) == ("2", "Production", two[1])
    text = compass("show", "sw/1").output
    assert text.startswith("sw version 1, Archived\n")
    assert f"digest: {two[0]}" in text
    assert "better on new: estimate 0.04, low 0.01, passed True" in text


def test_the_history_says_who_when_why_from_where_to_where(
    compass: Compass, two: list[str], store: RegistryStore
) -> None:
    ask(store, "rolled back", "sw", "complaints", who="ann")
    first, second, third = as_json(compass("history", "sw", "--json"))
    assert [entry["previous"] for entry in (first, second, third)] == [None, first["hash"], second["hash"]]
    assert (third["kind"], third["who"], third["why"], third["replaces"]) == ("rolled back", "ann", "complaints", "2")
    line = compass("history", "sw").output.splitlines()[-1].split()
    assert line[1:] == ["rolled", "back", "1", "Archived", "Production", "2", "ann", first["record"][:12], "complaints"]


def test_two_versions_are_compared(compass: Compass, two: list[str]) -> None:
    found = as_json(compass("diff", "sw", "1", "2", "--json"))
    assert {"part": "lineage", "what": "digest", "first": two[0], "second": two[1]} in found
    assert [one["part"] for one in found] == sorted((one["part"] for one in found), key=["lineage", "files"].index)
    assert f"{two[0][:12]}..." in compass("diff", "sw", "1", "2").output
    assert compass("diff", "sw", "1", "1").output == "sw: versions 1 and 1 do not differ.\n"


def test_tampering_is_named_and_has_an_exit_code(compass: Compass, two: list[str], store: RegistryStore) -> None:
    assert compass("verify", "--all").output == "1 versions checked, 0 faults.\n"
    source = files_of(store, "sw", "1")
    (source / "reference" / "histogram.json").write_text("{}")
    assert compass("verify", "sw").exit_code == 0
    result = compass("verify", "sw", "--every-version", "--json")
    (fault,) = json.loads(result.output)["faults"]
    assert (result.exit_code, "reference/histogram.json was altered" in fault) == (4, True)


def test_an_altered_history_is_an_error_everywhere(compass: Compass, two: list[str], store: RegistryStore) -> None:
    open_client(store.location).delete_model_version("compass-history", "1")
    for arguments in (["status"], ["history", "sw"], ["verify", "--all"], ["release", "sw"]):
        result = compass(*arguments)
        assert (result.exit_code, "the history is broken" in result.output) == (1, True)


@pytest.mark.parametrize("arguments", [["show", "swa"], ["history", "swa"], ["diff", "swa", "1", "2"]])
def test_an_unknown_language_offers_near_ones(compass: Compass, two: list[str], arguments: list[str]) -> None:
    result = compass(*arguments)
    assert (result.exit_code, "Did you mean sw?" in result.output) == (1, True)
    unknown = compass("show", "sw/12")
    assert unknown.exit_code == 1
    assert "sw: has no version 12. Did you mean" in unknown.output
