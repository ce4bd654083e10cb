"""The stages traffic, drift, update and gate from their command lines, in one process, on one or two languages."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from compass_ops.monitoring import update as room
from compass_ops.storage import read_json, read_table, write_json
from compass_ops.training import adapt
from pipelines import drift, gate, traffic, update
from tests.monitoring.test_update import COINS, World, records, small_params

INPUTS = {"drift": "drift", "windows": "traffic", "production": "production", "records": "ingest", "vectors": "embed"}
INPUTS |= {"base": "base.json", "embedder": "base.json", "registry": "registry.json", "candidates": "update"}
INPUTS |= {"alarms": "alarms"}


class Road:
    """A project folder in which stages run; its languages have each a Production version."""

    def __init__(self, world: World, languages: Sequence[str]) -> None:
        self.world, self.root = world, world.root
        write_json(self.root / "base.json", world.pins)
        registry: dict[str, Any] = {}
        for language in languages:
            manifest = read_json(world.made(language) / "manifest.json")
            registry[language] = {"production": {"version": "1", "digest": manifest["digest"]}}
        write_json(self.root / "registry.json", {"languages": registry})
        (self.root / "alarms").mkdir()
        self.set()

    def set(self, **sections: Mapping[str, Any]) -> None:
        """Write params.yaml with other values in some sections."""
        params = self.world.updater.params.model_dump(mode="json")
        changed = params | {name: params[name] | values for name, values in sections.items()}
        (self.root / "params.yaml").write_text(yaml.safe_dump(changed), "utf-8")

    def drifted(self) -> None:
        """Leave what the stages before update would: every language is asked about coins now."""
        row = {"window": "0002", "action": "train a candidate", "sentence": "", "action_sentence": ""}
        languages = list(read_json(self.root / "registry.json")["languages"])
        for language in languages:
            self.world.window(records("traffic", language, "coin", 30, answered=False), language)
            write_json(self.root / "drift" / language / "verdict.json", {"drift": True})
        write_json(self.root / "drift" / "summary.json", dict.fromkeys(languages, row))

    def run(self, *stages: Any) -> None:
        for stage in stages:
            name = stage.__name__.removeprefix("pipelines.")
            needed = [option.name for option in stage.main.params if option.name != "out"]
            words = [word for option in needed for word in (f"--{option}", str(self.root / INPUTS[option]))]
            ended = CliRunner().invoke(stage.main, [*words, "--out", str(self.root / name)])
            assert ended.exit_code == 0, ended.output or ended.exception

    def receipt(self, language: str) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.root / "update" / language / "receipt.json")
        return found

    def decision(self, language: str) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.root / "gate" / f"{language}.json")
        return found


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path, small_params())


@pytest.mark.parametrize("half", ["dev", "gate"])
def test_a_language_without_test_rows_leaves_a_receipt_and_the_others_go_on(world: World, half: str) -> None:
    road = Road(world, ("id", "sw"))
    road.drifted()
    (road.root / "ingest" / half / "sw.parquet").unlink()
    (road.root / "embed" / half / "sw" / "vectors.npy").unlink()
    road.run(update, gate)
    told = road.receipt("sw")
    assert told["status"] == "failed"
    assert f"has no {half} rows" in told["reason"]
    assert road.decision("sw")["verdict"] == "no candidate"
    assert road.decision("sw")["reasons"] == [told["reason"]]
    assert road.decision("id")["candidate"] is not None
    world.made("sw")
    road.run(update, gate)
    assert road.decision("sw")["candidate"] is not None, "what was missing is there: the language is made"


@pytest.mark.parametrize("half", ["dev", "gate"])
def test_a_language_whose_test_could_not_be_embedded_is_not_trained_in_vain(
    world: World, half: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    road = Road(world, ("id", "sw"))
    road.drifted()
    (road.root / "embed" / half / "sw" / "vectors.npy").unlink()
    receipt = {"language": "sw", "status": "failed", "stage": "embed", "reason": "no vector for some."}
    write_json(road.root / "embed" / half / "sw" / "receipt.json", receipt)
    trained: list[str] = []

    def noted(base: adapt.Base, parent: Path, *rest: Any) -> Any:
        trained.append(parent.name)
        return adapt.update(base, parent, *rest)

    monkeypatch.setattr(room, "update", noted)
    road.run(update, gate)
    assert road.receipt("sw")["reason"] == "no vector for some."
    assert trained == ["id"]


def test_a_parent_that_lacks_rows_for_a_full_retraining_fails_alone(world: World, tmp_path: Path) -> None:
    road = Road(world, ("id", "sw"))
    road.drifted()
    world.updater.make(world.window(COINS), tmp_path / "made")
    (tmp_path / "production" / "sw").rename(tmp_path / "first")
    (tmp_path / "made" / "version").rename(tmp_path / "production" / "sw")
    road.set(update={"method": "full_retrain"})
    road.run(update, gate)
    assert "was trained on 26 rows in all and holds 10 of them" in road.receipt("sw")["reason"]
    assert road.decision("sw")["verdict"] == "no candidate"
    assert road.decision("id")["candidate"] is not None


FIELDS = {"time": "t", "language": "l", "prompt": "p"}
SMALL = {"minimum_window": 20, "minimum_reference": 20, "minimum_sessions": 20, "permutations": 99}


def all_new(road: Road, topic: str) -> dict[str, Any]:
    """Have a log of 40 prompts that are all far from every cluster looked at; return the row of the drift summary."""
    lines = [json.dumps({"t": n, "l": "sw", "p": f"{topic} {n}?"}) for n in range(40)]
    (road.root / "log.jsonl").write_text("\n".join(lines), "utf-8")
    origin = {"kind": "log", "files": ["log.jsonl"], "window_hours": None, "fields": FIELDS}
    road.set(drift=SMALL, traffic={"until": "0001", "window_rows": 40, "origin": origin})
    road.run(traffic, drift, update, gate)
    row: dict[str, Any] = read_json(road.root / "drift" / "summary.json")["sw"]
    return row


def test_a_log_of_prompts_that_are_all_new_is_drift_by_novelty_and_gets_a_candidate(world: World) -> None:
    """Stars are nearest to coins, which the pool has: it trains on them, and twelve gate items are too few."""
    road = Road(world, ("sw",))
    row = all_new(road, "star")
    assert row["verdict"] == "drift"
    assert "100.0% new" in row["sentence"]
    assert row["findings"]["novelty"]["p_value"] <= 0.05
    subset = read_table(road.root / "update" / "sw" / "version" / "subset.parquet")
    assert set(subset["topic"].to_pylist()) == {"coin"}
    decided = road.decision("sw")
    assert (decided["verdict"], decided["window"]) == ("cannot judge", "0001")
    assert decided["candidate"] is not None


def test_prompts_that_are_all_new_and_for_which_the_pool_has_nothing_are_a_fault_of_the_language(world: World) -> None:
    """Moons are nearest to days, which is all that the adapter was trained on."""
    road = Road(world, ("sw",))
    row = all_new(road, "moon")
    assert (row["verdict"], "100.0% new" in row["sentence"]) == ("drift", True)
    told = road.receipt("sw")
    assert told["status"] == "failed"
    assert "the pool has no row in the clusters that the window asks more of" in told["reason"]
    assert "No cluster lacks anything" in told["reason"]
    assert road.decision("sw")["reasons"] == [told["reason"]]
    assert road.decision("sw")["verdict"] == "no candidate"
