"""Fisher diagonal and penalty against hand-computed values and a slow oracle."""

from pathlib import Path

import pytest
import torch

from compass_ops.model_files import folder_entry
from compass_ops.training.adapter import new_adapter, trainable_parameters, weights_of
from compass_ops.training.base import load_base
from compass_ops.training.batches import encode
from compass_ops.training.ewc import ewc_term, fisher_diagonal, normalised
from tests.tiny_models import save_tiny_model


def test_fisher_is_the_mean_of_squared_per_example_gradients_of_the_log_likelihood(tmp_path: Path) -> None:
    base, tokenizer = load_base(folder_entry(save_tiny_model("llama", tmp_path), tmp_path), tmp_path)
    model = new_adapter(base, {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]}, seed=0).eval()
    examples = encode(tokenizer, [("Which day?", "Tuesday"), ("Jaká měna?", "koruna"), ("Q", "A")], " ", 40)
    fisher = fisher_diagonal(model, examples, tokenizer.pad_token_id)

    parameters = trainable_parameters(model)
    expected = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for example in examples:
        logits = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
        answer = range(max(1, example.prompt_tokens), len(example.input_ids))
        log_likelihood = sum(logits[place - 1, example.input_ids[place]] for place in answer)
        model.zero_grad()
        log_likelihood.backward()
        for name, parameter in parameters.items():
            expected[name] += parameter.grad**2 / len(examples)  # type: ignore[operator]
    assert any(value.max() > 0 for value in expected.values())
    for name, value in expected.items():
        assert torch.allclose(fisher[name], value, rtol=1e-4, atol=1e-9), name


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
