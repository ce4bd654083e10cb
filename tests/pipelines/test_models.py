"""A user's own base and embedder from local folders, LoRA and DoRA, through the stages, on three architectures."""

from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from compass_ops.registry.versions import verify_version
from compass_ops.storage import read_json, tree_digest
from tests.pipelines.project import Project
from tests.pipelines.questions import TARGETS
from tests.tiny_models import ARCHITECTURES, save_tiny_model

pytestmark = pytest.mark.long
# The linear layers of a block; Phi-3 has three of them in one.
LINEAR = {
    "llama": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "qwen2": {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"},
    "phi3": {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"},
}


@pytest.mark.parametrize("dora", [False, True], ids=["lora", "dora"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_folder_of_an_architecture_goes_the_whole_road(project: Project, architecture: str, dora: bool) -> None:
    model, embedder = project.root / "mine" / "model", project.root / "mine" / "embedder"
    save_tiny_model(architecture, model)
    (project.root / "build" / "base" / "embedder").rename(embedder)
    before = tree_digest(model)

    def mine(params: dict[str, Any]) -> None:
        params["base"]["model"] = {"kind": "folder", "path": "mine/model"}
        params["base"]["embedder"] = {"kind": "folder", "path": "mine/embedder"}
        params["train"]["lora"] |= {"target_modules": "all-linear", "use_dora": dora}
        params["train"]["schedule"]["epochs"] = 2

    project.change(mine)
    ended = project.repro("register")
    assert ended.returncode == 0, ended.stdout
    pins = project.json("base", "base.json")
    assert pins["model"]["path"] == "mine/model"
    for language in TARGETS:
        folder = project.root / "build" / "train" / language / "version"
        manifest = verify_version(folder)
        assert manifest["base"] == {"id": "model", "revision": None, "digest": pins["model"]["digest"]}
        assert manifest["embedder"]["digest"] == pins["embedder"]["digest"]
        assert read_json(folder / "adapter" / "adapter_config.json")["use_dora"] is dora
        weights = load_file(folder / "adapter" / "adapter_model.safetensors")
        assert {name.split(".")[-3] for name in weights if name.endswith("lora_A.weight")} == LINEAR[architecture]
        assert any("magnitude" in name for name in weights) is dora
        curve = project.json("train", language, "curve.json")
        assert curve[-1]["loss"] < curve[0]["loss"]
        metrics = project.json("evaluate", language, "metrics.json")
        assert metrics["base"]["n"] == metrics["adapter"]["n"] > 0
    # Production of the former base is not compared with what another base needs.
    refused = project.json("admit", "tr.json")
    assert refused["verdict"] == "cannot judge"
    assert pins["model"]["digest"] in " ".join(refused["reasons"])
    assert tree_digest(model) == before


def test_a_base_that_changed_under_its_pin_is_refused_by_both_digests(project: Project) -> None:
    model = Path("mine")
    save_tiny_model("llama", project.root / model)
    project.change(lambda params: params["base"].update(model={"kind": "folder", "path": "mine"}))
    assert project.stage("base").returncode == 0
    pinned = project.json("base", "base.json")["model"]["digest"]
    save_tiny_model("llama", project.root / model, seed=1)
    refused = project.stage("train")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stdout
    assert pinned in refused.stdout
    assert "Adapters fit one base only" in refused.stdout
    assert "dvc repro --force --single-item base" in refused.stdout
