"""Stages update and gate from their command lines, in one process: what a language lacks stops that language alone."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from compass_ops.storage import read_json, write_json
from pipelines import gate, update
from tests.monitoring.test_update import COINS, World, records, small_params

FOLDERS = {"drift": "drift", "windows": "traffic", "production": "production", "records": "ingest", "vectors": "embed"}


class Road:
    """A project folder with two languages that drifted, Indonesian and Swahili; both stages run in it."""

    def __init__(self, world: World) -> None:
        self.world, self.root = world, world.root
        world.made("id")
        write_json(self.root / "base.json", world.pins)
        registry: dict[str, Any] = {}
        for language in ("id", "sw"):
            world.window(records("traffic", language, "coin", 30, answered=False), language)
            write_json(self.root / "drift" / language / "verdict.json", {"drift": True})
            digest = read_json(self.root / "production" / language / "manifest.json")["digest"]
            registry[language] = {"production": {"version": "1", "digest": digest}}
        write_json(self.root / "registry.json", {"languages": registry})
        row = {"window": "0002", "action": "train a candidate", "sentence": "", "action_sentence": ""}
        write_json(self.root / "drift" / "summary.json", {"id": row, "sw": row})

    def run(self, **method: Any) -> dict[str, dict[str, Any]]:
        """Both stages; return the decision records."""
        params = self.world.updater.params
        changed = params.model_copy(update={"update": params.update.model_copy(update=method)})
        (self.root / "params.yaml").write_text(yaml.safe_dump(changed.model_dump(mode="json")), "utf-8")
        paths = {name: self.root / folder for name, folder in FOLDERS.items()} | {"base": self.root / "base.json"}
        self._stage(update.main, **paths, out=self.root / "update")
        shared = {name: paths[name] for name in ("production", "drift", "base")}
        registry = self.root / "registry.json"
        self._stage(gate.main, **shared, candidates=self.root / "update", registry=registry, out=self.root / "gate")
        return {language: read_json(self.root / "gate" / f"{language}.json") for language in ("id", "sw")}

    def _stage(self, command: Any, **paths: Path) -> None:
        words = [word for name, path in paths.items() for word in (f"--{name}", str(path))]
        ended = CliRunner().invoke(command, words)
        assert ended.exit_code == 0, ended.output or ended.exception

    def receipt(self, language: str) -> dict[str, Any]:
        found: dict[str, Any] = read_json(self.root / "update" / language / "receipt.json")
        return found


@pytest.fixture
def road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    monkeypatch.chdir(tmp_path)
    return Road(World(tmp_path, small_params()))


@pytest.mark.parametrize("half", ["dev", "gate"])
def test_a_language_without_test_rows_leaves_a_receipt_and_the_others_go_on(road: Road, half: str) -> None:
    (road.root / "ingest" / half / "sw.parquet").unlink()
    (road.root / "embed" / half / "sw" / "vectors.npy").unlink()
    decided = road.run()
    told = road.receipt("sw")
    assert told["status"] == "failed"
    assert f"has no {half} rows" in told["reason"]
    assert decided["sw"]["verdict"] == "no candidate"
    assert decided["sw"]["reasons"] == [told["reason"]]
    assert decided["id"]["candidate"] is not None
    road.world.made("sw")
    assert road.run()["sw"]["candidate"] is not None, "what was missing is there: the language is made"


def test_a_parent_that_lacks_rows_for_a_full_retraining_fails_alone(road: Road, tmp_path: Path) -> None:
    road.world.updater.make(road.world.window(COINS), tmp_path / "made")
    (tmp_path / "production" / "sw").rename(tmp_path / "first")
    (tmp_path / "made" / "version").rename(tmp_path / "production" / "sw")
    decided = road.run(method="full_retrain")
    assert "was trained on 26 rows in all and holds 10 of them" in road.receipt("sw")["reason"]
    assert decided["sw"]["verdict"] == "no candidate"
    assert decided["id"]["candidate"] is not None
