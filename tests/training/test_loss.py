"""The loss on completions equals the architecture's own, whichever positions are computed."""

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from compass_ops.model_files import folder_entry
from compass_ops.training.base import load_base
from compass_ops.training.batches import Example, collate
from compass_ops.training.loss import completion_logits, completion_loss, cropped
from tests.tiny_models import save_tiny_model

EXAMPLES = [Example([5, 6, 7, 8, 9, 10], 4), Example([11, 12, 13], 1), Example([14, 15, 16, 17], 3)]
WHOLE = [Example(example.input_ids, 0) for example in EXAMPLES]


@pytest.fixture(params=["llama", "qwen2", "phi3"])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> PreTrainedModel:
    save_tiny_model(request.param, tmp_path / "base")
    return load_base(folder_entry(Path("base"), tmp_path), tmp_path)[0]


@pytest.mark.parametrize("examples", [EXAMPLES, WHOLE, EXAMPLES[:1]])
def test_mean_equals_the_models_own_loss(model: PreTrainedModel, examples: list[Example]) -> None:
    batch = collate(examples, pad_id=0)
    count = sum(len(example.input_ids) - max(1, example.prompt_tokens) for example in examples)
    torch.testing.assert_close(completion_loss(model, batch) / count, model(**batch).loss)
    torch.testing.assert_close(model(**cropped(batch)).loss, model(**batch).loss)


def test_a_batch_without_labels_is_left_whole() -> None:
    batch = collate([Example([5, 6, 7], 3)], pad_id=0)
    assert cropped(batch)["logits_to_keep"] == 3


def test_each_row_of_logits_stands_before_its_target(model: PreTrainedModel) -> None:
    batch = collate(EXAMPLES, pad_id=0)
    logits, targets = completion_logits(model, batch)
    assert targets.tolist() == [9, 10, 12, 13, 17]
    every = model(**batch).logits
    places = [(0, 3), (0, 4), (1, 0), (1, 1), (2, 2)]
    torch.testing.assert_close(logits, torch.stack([every[row, column] for row, column in places]))


def test_logits_of_the_prompt_are_not_computed(model: PreTrainedModel) -> None:
    seen: list[int] = []
    model.get_output_embeddings().register_forward_hook(lambda _, __, out: seen.append(out.shape[1]))
    completion_logits(model, collate(EXAMPLES[:1], pad_id=0))
    assert seen == [3]  # before the two labelled tokens, and the last, which nothing follows
