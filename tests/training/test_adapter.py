"""Adapters on three architectures: saved, attached, detached and interpolated without a change in what they compute."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel

from compass_ops.errors import ModelError
from compass_ops.model_files import folder_entry
from compass_ops.storage import read_json, write_json
from compass_ops.training.adapter import (
    attach,
    detach,
    interpolate,
    new_adapter,
    save_adapter,
    set_weights,
    trainable_parameters,
    weights_of,
)
from compass_ops.training.adapter_file import CONFIG, read_layers
from compass_ops.training.base import load_base
from tests.tiny_models import ARCHITECTURES, save_tiny_model

LORA = {"r": 4, "lora_alpha": 8, "lora_dropout": 0.0, "target_modules": "all-linear"}
IDS = torch.tensor([[5, 6, 7, 8, 9]])


def loaded(folder: Path, architecture: str = "llama") -> PreTrainedModel:
    save_tiny_model(architecture, folder)
    return load_base(folder_entry(folder, folder), folder)[0]


def perturb(model: torch.nn.Module) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_an_adapter_survives_saving_and_the_base_survives_the_adapter(
    architecture: str, dora: bool, tmp_path: Path
) -> None:
    base = loaded(tmp_path / "base", architecture)
    bare = logits(base)
    model = new_adapter(base, {**LORA, "use_dora": dora}, seed=0)
    assert torch.allclose(logits(model), bare, atol=1e-6), "a fresh adapter changes nothing"
    perturb(model)
    adapted = logits(model)
    assert not torch.allclose(adapted, bare, atol=1e-3)
    save_adapter(model, tmp_path / "adapter")
    assert torch.equal(logits(detach(model)), bare)

    again = attach(base, tmp_path / "adapter")
    assert not any(parameter.requires_grad for parameter in again.parameters())
    assert torch.allclose(logits(again), adapted, atol=1e-6)
    with again.disable_adapter():
        assert torch.allclose(logits(again), bare, atol=1e-6)


def test_saved_files_are_safetensors_and_name_no_path(tmp_path: Path) -> None:
    model = new_adapter(loaded(tmp_path / "base"), LORA, seed=0)
    save_adapter(model, tmp_path / "adapter")
    assert sorted(file.name for file in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    assert str(tmp_path) not in (tmp_path / "adapter" / "adapter_config.json").read_text()


def test_same_seed_same_adapter(tmp_path: Path) -> None:
    base = loaded(tmp_path / "base")
    first = new_adapter(base, LORA, seed=3)
    weights = weights_of(first)
    detach(first)
    again = weights_of(new_adapter(base, LORA, seed=3))
    assert all(torch.equal(weights[name], again[name]) for name in weights)


def test_trainable_parameters_have_the_names_of_the_weights(tmp_path: Path) -> None:
    model = new_adapter(loaded(tmp_path / "base"), {**LORA, "use_dora": True}, seed=0)
    assert {n: p.shape for n, p in trainable_parameters(model).items()} == {
        n: w.shape for n, w in weights_of(model).items()
    }


@pytest.mark.parametrize("dora", [False, True])
def test_interpolation_ends_at_its_ends(dora: bool, tmp_path: Path) -> None:
    base = loaded(tmp_path / "base")
    model = new_adapter(base, {**LORA, "use_dora": dora}, seed=0)
    perturb(model)
    old, old_logits = weights_of(model), logits(model)
    perturb(model)
    new, new_logits = weights_of(model), logits(model)
    for alpha, expected in ((0.0, old_logits), (1.0, new_logits)):
        set_weights(model, interpolate(old, new, alpha))
        assert torch.allclose(logits(model), expected, atol=1e-6)


def test_halfway_is_the_mean_of_the_factors() -> None:
    middle = interpolate({"a": torch.tensor([1.0, 3.0])}, {"a": torch.tensor([3.0, -1.0])}, 0.5)
    assert middle["a"].tolist() == [2.0, 1.0]


def effective(base: PreTrainedModel, folder: Path, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The dense weights that an adapter makes of the base's, by the formulas of LoRA and DoRA."""
    save_file(weights, folder / "adapter_model.safetensors")
    dense = {}
    for name, layer in read_layers(folder).items():
        moved = base.get_submodule(name).weight + layer.scaling * layer.up @ layer.down
        if layer.magnitude is not None:
            moved = layer.magnitude[:, None] * moved / moved.norm(dim=1, keepdim=True)
        dense[name] = moved.detach()
    return dense


def trained(folder: Path, dora: bool) -> tuple[PreTrainedModel, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A base, an adapter on it, and how far an update moves the adapter."""
    base = loaded(folder / "base")
    model = new_adapter(base, {**LORA, "use_dora": dora}, seed=0)
    perturb(model)
    save_adapter(model, folder / "adapter")
    old = weights_of(model)
    torch.manual_seed(2)
    step = {name: 0.02 * torch.randn_like(weight) for name, weight in old.items()}
    return detach(model), old, step


def test_between_two_loras_the_dense_weights_depart_by_the_product_of_the_steps(tmp_path: Path) -> None:
    base, old, step = trained(tmp_path, dora=False)
    new = {name: weight + step[name] for name, weight in old.items()}
    first, last = (effective(base, tmp_path / "adapter", weights) for weights in (old, new))
    for alpha in (0.0, 0.25, 0.5, 1.0):
        found = effective(base, tmp_path / "adapter", interpolate(old, new, alpha))
        for name, dense in found.items():
            down, up = (step[f"base_model.model.{name}.lora_{part}.weight"] for part in "AB")
            line = (1 - alpha) * first[name] + alpha * last[name]
            assert torch.allclose(dense, line - alpha * (1 - alpha) * 2.0 * up @ down, atol=1e-6), name


@pytest.mark.parametrize("dora", [False, True])
def test_the_departure_from_the_dense_line_is_of_second_order(dora: bool, tmp_path: Path) -> None:
    base, old, step = trained(tmp_path, dora)

    def departure(size: float) -> tuple[float, float]:
        new = {name: weight + size * step[name] for name, weight in old.items()}
        ends = [effective(base, tmp_path / "adapter", weights) for weights in (old, new)]
        middle = effective(base, tmp_path / "adapter", interpolate(old, new, 0.5))
        apart = sum((dense - (ends[0][name] + ends[1][name]) / 2).norm().item() for name, dense in middle.items())
        return apart, sum((ends[1][name] - dense).norm().item() for name, dense in ends[0].items())

    (whole, moved), (half, _) = departure(1.0), departure(0.5)
    assert half == pytest.approx(whole / 4, rel=0.15)
    assert whole < 0.15 * moved


def test_an_adapter_of_another_shape_is_refused(tmp_path: Path) -> None:
    model = new_adapter(loaded(tmp_path / "base"), LORA, seed=0)
    save_adapter(model, tmp_path / "adapter")
    other = loaded(tmp_path / "other", "phi3")
    with pytest.raises(ModelError, match="does not fit this base model"):
        attach(other, tmp_path / "adapter")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    base = loaded(tmp_path / "base")
    with pytest.raises(ModelError, match=r"holds no adapter_model\.safetensors"):
        attach(base, tmp_path)


def test_settings_that_peft_refuses_are_a_params_fault(tmp_path: Path) -> None:
    base = loaded(tmp_path / "base")
    with pytest.raises(ModelError, match=r"train\.lora does not fit"):
        new_adapter(base, {"r": 4, "rnak": 3}, seed=0)


@pytest.mark.parametrize(
    ("lora", "told"),
    [
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save must be one of None, .* changed; got \['lm_head'\]"),
        ({"bias": "lora_only"}, "bias must be one of none, or the base itself is changed; got 'lora_only'"),
        (
            {"init_lora_weights": "pissa"},
            "init_lora_weights must be one of True, False, gaussian, orthogonal, .* 'pissa'",
        ),
        ({"init_lora_weights": "olora"}, "got 'olora'"),
    ],
)
def test_an_adapter_that_would_change_the_base_of_all_languages_is_refused(
    lora: dict[str, Any], told: str, tmp_path: Path
) -> None:
    base = loaded(tmp_path / "base")
    before = {name: weight.clone() for name, weight in base.state_dict().items()}
    with pytest.raises(ModelError, match=told):
        new_adapter(base, LORA | lora, seed=0)
    model = new_adapter(base, LORA, seed=0)
    save_adapter(model, tmp_path / "adapter")
    detach(model)
    config = read_json(tmp_path / "adapter" / CONFIG) | lora
    write_json(tmp_path / "adapter" / CONFIG, config)
    with pytest.raises(ModelError, match=told):
        attach(base, tmp_path / "adapter")
    assert all(torch.equal(weight, before[name]) for name, weight in base.state_dict().items())
