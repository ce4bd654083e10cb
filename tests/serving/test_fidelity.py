from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from compass_ops.errors import ModelError
from compass_ops.model_files import folder_entry
from compass_ops.serving.fidelity import TextForm, check_items, divergence
from compass_ops.training.adapter import attach, detach, new_adapter, save_adapter, set_weights, weights_of
from compass_ops.training.adapter_file import read_layers
from compass_ops.training.base import load_base
from tests.serving.world import LORA
from tests.tiny_models import save_tiny_model

ROWS = [("Which day comes after Monday?", "Tuesday"), ("Jaká měna?", "koruna česká"), ("a", "b")]
FORM = TextForm(" ", 64)


class Two:
    """A base and two adapters on it."""

    def __init__(self, root: Path) -> None:
        save_tiny_model("llama", root / "base")
        self.base: tuple[Any, Any] = load_base(folder_entry(root / "base", root), root)
        self.folders = tuple(self.adapter(root / name, seed) for seed, name in enumerate(("one", "other")))

    def adapter(self, folder: Path, seed: int) -> Path:
        model = new_adapter(self.base[0], LORA, seed)
        rng = torch.Generator().manual_seed(seed)
        set_weights(model, {n: w + 0.1 * torch.randn(w.shape, generator=rng) for n, w in weights_of(model).items()})
        save_adapter(model, folder)
        detach(model)
        return folder

    def log_probs(self, folder: Path, tokens: list[int]) -> torch.Tensor:
        model = attach(self.base[0], folder)
        with torch.no_grad():
            found = model(input_ids=torch.tensor([tokens])).logits[0].double().log_softmax(dim=-1)
        detach(model)
        return found


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


def test_divergence_is_the_mean_over_the_completions_tokens(two: Two) -> None:
    """By hand: one text at a time, one position after the other, in float64, each adapter by PEFT."""
    tokenizer, terms = two.base[1], []
    for prompt, completion in ROWS:
        start = len(tokenizer(prompt)["input_ids"])
        tokens = [*tokenizer(f"{prompt} {completion}")["input_ids"], tokenizer.eos_token_id]
        one, other = (two.log_probs(folder, tokens) for folder in two.folders)
        terms += [
            float((one[place].exp() * (one[place] - other[place])).sum()) for place in range(start - 1, len(tokens) - 1)
        ]
    layers = [read_layers(folder) for folder in two.folders]
    assert divergence(two.base, layers[0], layers[1], ROWS, FORM) == pytest.approx(sum(terms) / len(terms), rel=1e-4)
    assert divergence(two.base, layers[0], layers[0], ROWS, FORM) == 0
    assert not any(module._forward_hooks for module in two.base[0].modules())


def items(answers: list[int | None]) -> pa.Table:
    choices = [["Tuesday", "Friday", "koruna"], ["koruna", "euro"], ["b", "c", "d", "e"], ["x", "y"]]
    prompts = ["After Monday?", "Jaká měna?", "a", "w"]
    return pa.table({"prompt": prompts, "choices": choices, "answer": pa.array(answers, pa.int64())})


def test_items_are_compared_choice_by_choice(two: Two) -> None:
    one, other = two.folders
    same = check_items(two.base, (one, one), items([0, 0, 0, None]), FORM)
    assert (same.items, same.labelled, same.agreement, same.largest_difference_nats) == (4, 3, 1.0, 0.0)
    assert same.registered_accuracy == same.exported_accuracy
    assert same.drop == 0
    found = check_items(two.base, (one, other), items([None] * 4), FORM)
    assert found.largest_difference_nats > 0
    assert (found.registered_accuracy, found.exported_accuracy, found.drop) == (None, None, 0.0)


def test_accuracy_that_is_lost_is_a_drop(two: Two) -> None:
    """Gold is what the registered one answers: the other is right exactly where they agree."""
    from compass_ops.evaluation.score import ScoreSettings, score_choices

    one, other = two.folders
    table = items([None] * 4)
    model = attach(two.base[0], one)
    prompts, choices = table["prompt"].to_pylist(), table["choices"].to_pylist()
    gold: list[int | None] = [
        int(own.argmax()) for own in score_choices(model, two.base[1], prompts, choices, ScoreSettings(" ", 64, 512))
    ]
    detach(model)
    found = check_items(two.base, (one, other), items(gold), FORM)
    assert found.registered_accuracy == 1
    assert found.exported_accuracy == found.agreement == 1 - found.drop


def test_no_items_and_unscorable_items_are_an_error(two: Two) -> None:
    with pytest.raises(ModelError, match="no items to check"):
        check_items(two.base, (two.folders[0], two.folders[1]), items([0, 0, 0, 0]).slice(0, 0), FORM)
    with pytest.raises(ModelError, match="must have 1 to 2 tokens"):
        check_items(two.base, (two.folders[0], two.folders[1]), items([0, 0, 0, 0]), TextForm(" ", 2))
