"""Records to token sequences, and sequences to padded batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

IGNORED = -100  # what torch.nn.functional.cross_entropy leaves out


@dataclass(frozen=True)
class Example:
    """One text: token ids, and how many of them, from the left, are prompt and bear no loss."""

    input_ids: list[int]
    prompt_tokens: int


def encode(
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[tuple[str, str]],
    separator: str,
    max_tokens: int,
    *,
    completion_only: bool = True,
) -> list[Example]:
    """Encode (prompt, completion) pairs as prompt + separator + completion + end token.

    The separator belongs to the completion, as in evaluation. A text over ``max_tokens`` loses the prompt's left end;
    of an over-long completion the right end goes. With ``completion_only`` false all tokens bear loss (pretraining).
    """
    prompts = tokenizer([prompt for prompt, _ in rows], add_special_tokens=True)["input_ids"]
    wholes = tokenizer([f"{prompt}{separator}{completion}" for prompt, completion in rows], add_special_tokens=True)
    examples = []
    for prompt_ids, whole in zip(prompts, wholes["input_ids"], strict=True):
        answer = [*whole[len(prompt_ids) :], tokenizer.eos_token_id][:max_tokens]
        kept = whole[: len(prompt_ids)][max(0, len(prompt_ids) + len(answer) - max_tokens) :]
        examples.append(Example(kept + answer, len(kept) if completion_only else 0))
    return examples


def token_costs(
    tokenizer: PreTrainedTokenizerBase, separator: str, max_tokens: int
) -> Callable[[pa.Table], NDArray[np.int64]]:
    """Return the function that counts what each of n records takes of a training budget in tokens, int64 (n,)."""

    def costs(table: pa.Table) -> NDArray[np.int64]:
        rows = list(zip(table.column("prompt").to_pylist(), table.column("completion").to_pylist(), strict=True))
        examples = encode(tokenizer, rows, separator, max_tokens) if rows else []
        return np.array([len(example.input_ids) for example in examples], np.int64)

    return costs


def collate(examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Pad on the right: ``input_ids``, ``attention_mask`` and ``labels``, each int64 (rows, longest)."""
    longest = max(len(example.input_ids) for example in examples)
    ids = torch.full((len(examples), longest), pad_id)
    mask = torch.zeros((len(examples), longest), dtype=torch.long)
    labels = torch.full((len(examples), longest), IGNORED)
    for row, example in enumerate(examples):
        end = len(example.input_ids)
        ids[row, :end] = torch.tensor(example.input_ids)
        mask[row, :end] = 1
        labels[row, example.prompt_tokens : end] = ids[row, example.prompt_tokens : end]
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}
