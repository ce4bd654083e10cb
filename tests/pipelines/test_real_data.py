"""Slices of the profiles on ../shared/data go the whole road: real text, a base and an embedder made from it."""

from pathlib import Path
from typing import Any

import pytest

from compass_ops.registry.versions import verify_version
from tests.pipelines.project import Project
from tests.pipelines.questions import schedule
from tests.test_profiles import LOCAL, needs_shared, sliced

pytestmark = [pytest.mark.long, needs_shared]


def light(profile: str) -> dict[str, Any]:
    """The profile's slice with little training: the road is what is tested."""
    params = sliced(profile)
    params["base"]["model"]["shape"] |= {"width": 64, "feedforward": 128, "layers": 1}
    params["base"]["model"]["schedule"]["epochs"] = 1
    params["base"]["embedder"]["epochs"] = 1
    params["cluster"]["clusters"] = 8
    params["sample"]["budget"] = 120
    short = schedule(epochs=1, batch_rows=32, learning_rate=0.003, checkpoint_steps=50)
    params["train"] |= {"schedule": short, "fisher_rows": 16}
    return params


@pytest.mark.parametrize("profile", LOCAL)
def test_a_slice_of_a_profile_ends_with_a_decision_for_every_language(profile: str, tmp_path: Path) -> None:
    wanted = light(profile)

    def replace(params: dict[str, Any]) -> None:
        params.clear()
        params.update(wanted)

    project = Project.create(tmp_path / "project", replace)
    ended = project.repro()
    assert ended.returncode == 0, ended.stdout
    for language in wanted["project"]["languages"]:
        decision = project.json("admit", f"{language}.json")
        assert decision["verdict"] in ("promote", "refuse")
        assert decision["reasons"]
        manifest = verify_version(project.root / "build" / "train" / language / "version")
        assert manifest["digest"] == decision["candidate"]
        plan = project.json("sample", language, "plan.json")
        assert plan["chosen"] + plan["unfilled"] == 120
        assert plan["unfilled"] == 0 or plan["notes"]
        metrics = project.json("evaluate", language, "metrics.json")
        assert metrics["adapter"]["n"] >= wanted["gate"]["least_items"]
        assert project.status()[language]["production"] == ("1" if decision["verdict"] == "promote" else None)
    again = project.repro()
    assert again.returncode == 0, again.stdout
    assert not {"ingest", "base", "embed", "cluster", "sample", "train", "evaluate"} & set(again.stages)
