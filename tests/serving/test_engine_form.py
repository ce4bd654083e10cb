"""What an engine computes from the exported form, by its own rule: W + lora_alpha / r B A."""

from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import save_file

from compass_ops.errors import ModelError
from compass_ops.model_files import folder_entry
from compass_ops.serving.engine_form import check_rank, check_targets, engine_form, lora_of_dora
from compass_ops.storage import read_json, write_json
from compass_ops.training.adapter import attach, detach, new_adapter, save_adapter, set_weights, weights_of
from compass_ops.training.adapter_file import CONFIG, WEIGHTS, LoraLayer, read_layers
from compass_ops.training.base import load_base
from tests.serving.world import LORA
from tests.tiny_models import save_tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def layer(rank: int = 2, scaling: float = 2.0, seed: int = 0) -> LoraLayer:
    rng = torch.Generator().manual_seed(seed)
    return LoraLayer(torch.randn(rank, 3, generator=rng), torch.randn(4, rank, generator=rng), scaling, None)


def change(form: Any, name: str) -> torch.Tensor:
    """The engine's own arithmetic on the exported files."""
    prefix = f"base_model.model.{name}"
    scaling = form.config["lora_alpha"] / form.config["r"]
    return scaling * form.tensors[f"{prefix}.lora_B.weight"] @ form.tensors[f"{prefix}.lora_A.weight"]


def test_equal_layers_keep_their_tensors() -> None:
    layers = {"model.layers.0.self_attn.q_proj": layer(seed=1), "model.layers.1.self_attn.q_proj": layer(seed=2)}
    form = engine_form(layers, "Qwen/Qwen2.5-7B", {"target_modules": ["q_proj"]})
    assert (form.config["r"], form.config["lora_alpha"], form.rank) == (2, 4, 2)
    assert form.config["target_modules"] == ["q_proj"]
    assert form.config["base_model_name_or_path"] == "Qwen/Qwen2.5-7B"
    for name, own in layers.items():
        assert torch.equal(form.tensors[f"base_model.model.{name}.lora_A.weight"], own.down)
        assert torch.equal(form.tensors[f"base_model.model.{name}.lora_B.weight"], own.up)


def test_a_scaling_that_is_no_whole_alpha_stays_what_it_is() -> None:
    """Rank stabilisation: alpha / sqrt(r), which an engine's alpha / r gives only with a fraction for alpha."""
    own = layer(rank=3, scaling=8 / 3**0.5)
    form = engine_form({"a.q_proj": own}, "b", {})
    torch.testing.assert_close(change(form, "a.q_proj"), own.scaling * own.up @ own.down)


def test_different_ranks_and_scalings_become_one() -> None:
    layers = {"a.q_proj": layer(rank=1, scaling=3.0), "a.o_proj": layer(rank=4, scaling=0.5)}
    form = engine_form(layers, "b", {})
    assert (form.config["r"], form.config["lora_alpha"]) == (4, 4)
    for name, own in layers.items():
        assert form.tensors[f"base_model.model.{name}.lora_A.weight"].shape == (4, 3)
        torch.testing.assert_close(change(form, name), own.scaling * own.up @ own.down)


@pytest.mark.parametrize(
    "own",
    [
        {"target_modules": ["q_proj"], "layers_to_transform": [1]},
        {"target_modules": ["q_proj"], "exclude_modules": ["model.layers.0.self_attn.q_proj"]},
        {"target_modules": r"model\.layers\.1\.self_attn\.q_proj"},
    ],
)
def test_an_adapter_on_some_layers_of_a_name_loads_again(own: dict[str, Any], tmp_path: Path) -> None:
    save_tiny_model("llama", tmp_path / "base")
    base = load_base(folder_entry(tmp_path / "base", tmp_path), tmp_path)[0]
    model = new_adapter(base, {"r": 2, "lora_alpha": 4} | own, seed=0)
    save_adapter(model, tmp_path / "adapter")
    detach(model)
    form = engine_form(read_layers(tmp_path / "adapter"), "b", read_json(tmp_path / "adapter" / CONFIG))
    (tmp_path / "exported").mkdir()
    save_file(dict(form.tensors), tmp_path / "exported" / WEIGHTS)
    write_json(tmp_path / "exported" / CONFIG, form.config)
    again = attach(base, tmp_path / "exported")
    assert {name for name in weights_of(again)} == set(form.tensors)


def test_layers_and_ranks_that_the_engine_refuses_are_named() -> None:
    layers = {"model.layers.0.self_attn.q_proj": layer(), "lm_head": layer(rank=5)}
    with pytest.raises(ModelError, match=r"lm_head \(1 such layers\): engines take adapters on down_proj, "):
        check_targets(layers)
    with pytest.raises(ModelError, match=r"has rank 5, the engine is to take at most 4.*export with --max-rank 5"):
        check_rank(layers, 4)
    check_rank(layers, 5)
    check_targets({"model.layers.0.self_attn.q_proj": layer()})


class Dora:
    """A DoRA adapter on a tiny base."""

    def __init__(self, root: Path) -> None:
        save_tiny_model("qwen2", root / "base")
        self.base = load_base(folder_entry(root / "base", root), root)[0]
        model = new_adapter(self.base, {**LORA, "use_dora": True}, seed=0)
        rng = torch.Generator().manual_seed(0)
        set_weights(model, {n: w + 0.1 * torch.randn(w.shape, generator=rng) for n, w in weights_of(model).items()})
        self.expected = self.logits(model)
        save_adapter(model, root / "version" / "adapter")
        detach(model)
        self.folder = root / "version" / "adapter"
        self.layers = read_layers(self.folder)

    @staticmethod
    def logits(model: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return model.eval()(input_ids=IDS).logits

    def converted(self, rank: int) -> dict[str, LoraLayer]:
        return {
            name: lora_of_dora(self.base.get_submodule(name).weight, own, rank) for name, own in self.layers.items()
        }

    def error(self, layers: dict[str, LoraLayer]) -> float:
        """Largest difference of logits with the changes merged into the base's weights, as an engine would."""
        before = {name: self.base.get_submodule(name).weight.data.clone() for name in layers}
        for name, own in layers.items():
            self.base.get_submodule(name).weight.data += own.scaling * own.up @ own.down
        found = self.logits(self.base)
        for name, weight in before.items():
            self.base.get_submodule(name).weight.data = weight
        return float((found - self.expected).abs().max())


@pytest.fixture
def dora(tmp_path: Path) -> Dora:
    return Dora(tmp_path)


def test_a_dora_of_full_rank_is_the_same_model_and_less_rank_loses_more(dora: Dora) -> None:
    errors = [dora.error(dora.converted(rank)) for rank in (32, 16, 4)]
    assert errors[0] < 1e-4
    assert errors[0] < errors[1] < errors[2]


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_the_conversion_is_the_best_of_its_rank(dora: Dora, rank: int) -> None:
    """Against the whole decomposition: the squares of the singular values beyond the rank are what is lost."""
    name, own = next(iter(dora.layers.items()))
    weight = dora.base.get_submodule(name).weight.detach()
    assert own.magnitude is not None
    moved = weight + own.scaling * own.up @ own.down
    exact = own.magnitude[:, None] * moved / moved.norm(dim=1, keepdim=True) - weight
    best = torch.linalg.svdvals(exact)[rank:].square().sum().sqrt()
    found = lora_of_dora(weight, own, rank)
    assert (found.rank, found.scaling, found.magnitude) == (rank, 1.0, None)
    assert float((exact - found.up @ found.down).norm()) <= 1.001 * float(best)
    again = lora_of_dora(weight, own, rank)
    assert torch.equal(found.up, again.up), "the same files each time"


def test_pefts_own_conversion_leaves_the_magnitude_out(dora: Dora) -> None:
    """Why there is one of our own; if this fails, PEFT's has become right and ours can go."""
    model = attach(dora.base, dora.folder)
    with pytest.warns(UserWarning, match="already a LoRA adapter"):
        _, state = peft.convert_to_lora(model, rank=16)
    detach(model)
    names = {key.removeprefix("base_model.model.").rsplit(".lora_", 1)[0] for key in state}
    theirs = {
        name: LoraLayer(
            state[f"base_model.model.{name}.lora_A.weight"], state[f"base_model.model.{name}.lora_B.weight"], 1.0, None
        )
        for name in names
    }
    name = "model.layers.0.self_attn.q_proj"
    own = dora.layers[name]
    torch.testing.assert_close(theirs[name].up @ theirs[name].down, own.scaling * own.up @ own.down, atol=1e-5, rtol=0)
    assert dora.error(theirs) > 5 * dora.error(dora.converted(16))
