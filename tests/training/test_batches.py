"""Texts to tokens: which tokens bear loss, and what is cut."""

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from compass_ops.training.base import train_tokenizer
from compass_ops.training.batches import IGNORED, Example, collate, encode
from tests.tiny_models import TEXTS


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return train_tokenizer(TEXTS * 4, 300)


def test_only_the_completion_and_the_end_bear_loss(tokenizer: PreTrainedTokenizerBase) -> None:
    (example,) = encode(tokenizer, [("Which day?", "Tuesday")], " ", 50)
    batch = collate([example], tokenizer.pad_token_id)
    scored = batch["labels"][0][batch["labels"][0] != IGNORED]
    assert tokenizer.decode(scored) == f" Tuesday{tokenizer.eos_token}"
    assert tokenizer.decode(example.input_ids[: example.prompt_tokens]) == "Which day?"


def test_pretraining_scores_every_token(tokenizer: PreTrainedTokenizerBase) -> None:
    (example,) = encode(tokenizer, [("Jaká měna?", "koruna")], " ", 50, completion_only=False)
    assert example.prompt_tokens == 0
    assert tokenizer.decode(example.input_ids) == f"Jaká měna? koruna{tokenizer.eos_token}"


def test_a_long_prompt_loses_its_left_end_and_keeps_the_completion(tokenizer: PreTrainedTokenizerBase) -> None:
    (whole,) = encode(tokenizer, [("Which day comes after Monday?" * 9, "Tuesday")], " ", 1000)
    (cut,) = encode(tokenizer, [("Which day comes after Monday?" * 9, "Tuesday")], " ", 20)
    assert len(cut.input_ids) == 20
    assert cut.input_ids == whole.input_ids[-20:]
    answer = len(whole.input_ids) - whole.prompt_tokens
    assert cut.prompt_tokens == 20 - answer


def test_a_long_completion_is_cut_at_the_right(tokenizer: PreTrainedTokenizerBase) -> None:
    (whole,) = encode(tokenizer, [("Q", "koruna " * 30)], " ", 1000)
    (cut,) = encode(tokenizer, [("Q", "koruna " * 30)], " ", 10)
    assert cut.prompt_tokens == 0
    assert cut.input_ids == whole.input_ids[whole.prompt_tokens :][:10]


def test_padding_is_masked_and_bears_no_loss() -> None:
    batch = collate([Example([7, 8, 9], 1), Example([5, 6], 0)], pad_id=1)
    assert torch.equal(batch["input_ids"], torch.tensor([[7, 8, 9], [5, 6, 1]]))
    assert torch.equal(batch["attention_mask"], torch.tensor([[1, 1, 1], [1, 1, 0]]))
    assert torch.equal(batch["labels"], torch.tensor([[IGNORED, 8, 9], [5, 6, IGNORED]]))
