"""The Fisher diagonal against one backward pass per example."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from compass_ops.errors import ModelError
from compass_ops.model_files import folder_entry
from compass_ops.training.adapter import AdaptedModel, new_adapter
from compass_ops.training.base import load_base
from compass_ops.training.batches import Example, encode
from compass_ops.training.fisher import fisher_diagonal
from tests import oracles
from tests.tiny_models import ARCHITECTURES, save_tiny_model

ROWS = [("Which day?", "Tuesday"), ("Jaká měna?", "koruna česká"), ("Q", "A"), ("Siku gani?", "Jumanne"), ("日", "火")]


def loaded(folder: Path, architecture: str) -> tuple[PreTrainedModel, list[Example], int]:
    save_tiny_model(architecture, folder)
    base, tokenizer = load_base(folder_entry(folder, folder), folder)
    return base, encode(tokenizer, ROWS, " ", 40), tokenizer.pad_token_id


def trained(base: PreTrainedModel, *, dora: bool = False) -> AdaptedModel:
    """A LoRA or DoRA adapter on every linear layer, away from its start, where B is zero."""
    lora = {"r": 3, "lora_alpha": 6, "lora_dropout": 0.3, "target_modules": "all-linear", "use_dora": dora}
    model = new_adapter(base, lora, seed=0).eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_it_equals_one_backward_pass_per_example_at_any_batch_size(
    architecture: str, dora: bool, tmp_path: Path
) -> None:
    base, examples, pad_id = loaded(tmp_path, architecture)
    model = trained(base, dora=dora)
    expected = oracles.fisher_diagonal(model, examples)
    assert any("magnitude" in name for name in expected) == dora
    for batch_rows in (1, 2, 5, 100):
        found = fisher_diagonal(model, examples, pad_id, batch_rows)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert value.max() > 0
            error = (found[name] - value).abs().max() / value.max()
            assert error < 1e-5, (name, batch_rows, error)


@pytest.mark.parametrize("dora", [False, True])
def test_under_bf16_it_is_near_that_of_float32(dora: bool, tmp_path: Path) -> None:
    """What PEFT sends into A stays float32 there, and what comes back is bf16."""
    base, examples, pad_id = loaded(tmp_path, "llama")
    model = trained(base, dora=dora)
    expected = fisher_diagonal(model, examples, pad_id, 2)
    model.forward = torch.autocast("cpu", torch.bfloat16)(model.forward)
    found = fisher_diagonal(model, examples, pad_id, 2)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0.1, atol=0.05 * float(value.max()))


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    base, examples, pad_id = loaded(tmp_path, "llama")
    model = trained(base, dora=True)
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    fisher_diagonal(model, examples, pad_id, 2)
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_without_a_rule_is_refused(tmp_path: Path) -> None:
    base, examples, pad_id = loaded(tmp_path, "llama")
    model = new_adapter(base, {"r": 2, "target_modules": ["embed_tokens"]}, seed=0).eval()
    with pytest.raises(ModelError, match="exact for the weights of LoRA and DoRA on linear"):
        fisher_diagonal(model, examples, pad_id, 2)
