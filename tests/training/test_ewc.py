"""Normalisation and penalty against hand-computed values."""

from pathlib import Path

import pytest
import torch

from compass_ops.model_files import folder_entry
from compass_ops.training.adapter import new_adapter, trainable_parameters, weights_of
from compass_ops.training.base import load_base
from compass_ops.training.ewc import ewc_term, normalised
from tests.tiny_models import save_tiny_model


def test_normalised_has_mean_one_and_keeps_ratios() -> None:
    scaled = normalised({"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([4.0, 0.0])})
    assert scaled["a"].tolist() == [0.5, 1.5]
    assert scaled["b"].tolist() == [2.0, 0.0]


def test_a_fisher_of_zeros_stays_zero() -> None:
    assert normalised({"a": torch.zeros(2)})["a"].tolist() == [0.0, 0.0]


def test_penalty_by_hand(tmp_path: Path) -> None:
    base, _ = load_base(folder_entry(save_tiny_model("llama", tmp_path), tmp_path), tmp_path)
    model = new_adapter(base, {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}, seed=0)
    anchor = weights_of(model)
    fisher = {name: torch.ones_like(weight) for name, weight in anchor.items()}
    term = ewc_term(model, anchor, fisher, strength=3.0)
    assert term(model, 0).item() == 0.0
    first = next(iter(trainable_parameters(model).values()))
    with torch.no_grad():
        first[0, 0] += 2.0
    penalty = term(model, 0)
    assert penalty.item() == pytest.approx(3.0 / 2 * 4.0)
    penalty.backward()
    assert first.grad is not None
    assert first.grad[0, 0].item() == pytest.approx(3.0 * 2.0)
