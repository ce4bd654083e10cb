"""Batched, left-padded, greedy answers are those of one prompt at a time, one token after the other."""

from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
import torch
from transformers import GenerationConfig

from compass_ops.errors import ModelError
from compass_ops.model_files import folder_entry
from compass_ops.serving.generate import AnswerSettings, answer_batch, answers, batches, encode_prompts
from compass_ops.training.base import load_base
from tests.serving.world import PROMPTS
from tests.tiny_models import ARCHITECTURES, save_tiny_model

SETTINGS = AnswerSettings(max_tokens=6, batch_tokens=4096)


def loaded(folder: Path, architecture: str = "llama") -> tuple[Any, Any]:
    save_tiny_model(architecture, folder)
    return load_base(folder_entry(folder, folder), folder)


def one_by_one(model: Any, tokenizer: Any, prompts: list[str], settings: AnswerSettings) -> list[str]:
    texts = []
    for prompt in prompts:
        tokens = tokenizer(prompt.rstrip())["input_ids"]
        made: list[int] = []
        while len(made) < settings.max_tokens and tokenizer.eos_token_id not in made:
            with torch.no_grad():
                made.append(int(model(input_ids=torch.tensor([tokens + made])).logits[0, -1].argmax()))
        kept = [token for token in made if token != tokenizer.eos_token_id]
        texts.append(tokenizer.decode(kept, skip_special_tokens=True).removeprefix(" "))
    return texts


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("batch_tokens", [1, 40, 4096])
def test_batches_answer_as_single_prompts_do(architecture: str, batch_tokens: int, tmp_path: Path) -> None:
    model, tokenizer = loaded(tmp_path, architecture)
    settings = AnswerSettings(6, batch_tokens)
    prompts = [*PROMPTS, "white space at the end  "]
    assert answers(model, tokenizer, prompts, " ", settings) == one_by_one(model, tokenizer, prompts, settings)


def test_a_bases_own_sampling_and_end_tokens(tmp_path: Path) -> None:
    """A chat model's config asks for sampling and has several end tokens: the first is left out, the others count."""
    model, tokenizer = loaded(tmp_path)
    expected = answers(model, tokenizer, PROMPTS, " ", SETTINGS)
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=5.0, repetition_penalty=9.0, eos_token_id=[tokenizer.eos_token_id]
    )
    assert answers(model, tokenizer, PROMPTS, " ", SETTINGS) == expected
    tokens = tokenizer(PROMPTS[0])["input_ids"]
    with torch.no_grad():
        first = int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax())
    model.generation_config = GenerationConfig(eos_token_id=[tokenizer.eos_token_id, first])
    assert answers(model, tokenizer, PROMPTS[:1], " ", SETTINGS) == [""]


def test_the_separator_is_taken_off_once(tmp_path: Path) -> None:
    model, tokenizer = loaded(tmp_path)
    (whole,) = answers(model, tokenizer, PROMPTS[:1], "", SETTINGS)
    assert answers(model, tokenizer, PROMPTS[:1], whole[:2], SETTINGS) == [whole[2:]]


def test_batches_by_hand() -> None:
    """Longest first; 3 rows of 4 + 2 tokens are 18, a fourth would be 24 > 20."""
    encoded = [[0] * length for length in (1, 4, 3, 2, 4)]
    assert list(batches(encoded, AnswerSettings(2, 20))) == [[1, 4, 2], [3, 0]]
    assert list(batches([], SETTINGS)) == []


@pytest.mark.parametrize("prompt", ["", " \n", None, 7])
def test_a_prompt_that_is_no_text_is_named(prompt: Any, tmp_path: Path) -> None:
    model, tokenizer = loaded(tmp_path)
    with pytest.raises(ModelError, match="row 1: the prompt must be a text that is not empty"):
        encode_prompts(model, tokenizer, ["fine", prompt], 4)


def test_the_positions_of_the_base_bound_prompt_and_answer(tmp_path: Path) -> None:
    model, tokenizer = loaded(tmp_path)
    tokens = len(tokenizer("x" * 100)["input_ids"])
    room = model.config.max_position_embeddings - tokens
    (encoded,) = encode_prompts(model, tokenizer, ["x" * 100], room)
    assert len(answer_batch(model, tokenizer, [encoded], AnswerSettings(room, 1))) == 1
    with pytest.raises(ModelError, match=f"has {tokens} tokens and the answer may have {room + 1}, .* takes 128 tog"):
        encode_prompts(model, tokenizer, ["x" * 100], room + 1)
    with pytest.raises(ModelError, match="max_tokens must be at least 1; got 0"):
        encode_prompts(model, tokenizer, ["x"], 0)


def test_a_prompt_is_encoded_as_a_record_is(tmp_path: Path) -> None:
    """Users' keyboards send marks as characters of their own; records are composed."""
    model, tokenizer = loaded(tmp_path)
    composed, apart = normalize("NFC", "Ọjọ́ wo ni?"), "  " + normalize("NFD", "Ọjọ́ wo ni?") + " "
    assert apart.strip() != composed
    assert encode_prompts(model, tokenizer, [apart], 4) == [tokenizer(composed)["input_ids"]]
