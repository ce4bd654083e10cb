"""Answers to prompts: batches padded on the left, greedy decoding."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from compass_ops.corpus.records import normal_text
from compass_ops.errors import ModelError


@dataclass(frozen=True)
class AnswerSettings:
    """How far and how many at a time.

    Attributes
    ----------
    max_tokens : int
        Longest answer, in tokens, >= 1.
    batch_tokens : int
        Tokens per batch, padding and answers included, >= 1. A longer row is a batch by itself.
    """

    max_tokens: int
    batch_tokens: int


def encode_prompts(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], max_tokens: int
) -> list[list[int]]:
    """Return every prompt's tokens, as training and evaluation encode it: NFC, without white space at its ends.

    Raises
    ------
    ModelError
        Naming the row whose prompt is no text, is empty, or leaves no room for ``max_tokens`` in the base's positions.
    """
    if max_tokens < 1:
        raise ModelError(f"max_tokens must be at least 1; got {max_tokens}.")
    for row, prompt in enumerate(prompts):
        if not isinstance(prompt, str) or not prompt.strip():
            raise ModelError(f"row {row}: the prompt must be a text that is not empty; got {prompt!r}.")
    encoded = tokenizer([normal_text(prompt) for prompt in prompts])["input_ids"] if len(prompts) else []
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for row, tokens in enumerate(encoded):
        if positions is not None and len(tokens) + max_tokens > positions:
            raise ModelError(
                f"row {row}: the prompt has {len(tokens)} tokens and the answer may have {max_tokens}, but the base "
                f"model takes {positions} together. Shorten the prompt or lower max_tokens."
            )
    return encoded


def batches(encoded: Sequence[Sequence[int]], settings: AnswerSettings) -> Iterator[list[int]]:
    """Yield row numbers in batches of similar lengths, the longest first, within ``batch_tokens``."""
    batch: list[int] = []
    longest = 0
    for row in sorted(range(len(encoded)), key=lambda row: (-len(encoded[row]), row)):
        longest = longest or len(encoded[row])
        if batch and (len(batch) + 1) * (longest + settings.max_tokens) > settings.batch_tokens:
            yield batch
            batch, longest = [], len(encoded[row])
        batch.append(row)
    if batch:
        yield batch


def answer_batch(
    model: Any, tokenizer: PreTrainedTokenizerBase, encoded: Sequence[Sequence[int]], settings: AnswerSettings
) -> list[str]:
    """Return the answers to one batch of encoded prompts: greedy, up to an end token, the separator still before them.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Causal, in eval mode.
    encoded : sequence of sequences of int, length n >= 1
        Of ``encode_prompts``.
    """
    longest = max(len(tokens) for tokens in encoded)
    ids = torch.full((len(encoded), longest), int(tokenizer.pad_token_id))
    mask = torch.zeros((len(encoded), longest), dtype=torch.long)
    for row, tokens in enumerate(encoded):
        ids[row, longest - len(tokens) :] = torch.tensor(tokens)
        mask[row, longest - len(tokens) :] = 1
    ends = _end_tokens(model, tokenizer)
    made = _greedy(model, ids.to(model.device), mask.to(model.device), ends, settings.max_tokens)
    return [_text(tokenizer, tokens, ends) for tokens in made.tolist()]


@torch.inference_mode()
def _greedy(model: Any, ids: torch.Tensor, mask: torch.Tensor, ends: list[int], steps: int) -> torch.Tensor:
    """Return the most likely continuation, int64 (rows, at most ``steps``), until every row has met an end token.

    Not ``model.generate``: it takes what is not set from the base's own config, sampling and penalties included.
    """
    stops = torch.tensor(ends, device=ids.device)
    open_rows = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    positions, cache, made = (mask.cumsum(dim=1) - 1).clamp(min=0), None, []
    for _ in range(steps):
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        ids, cache = out.logits[:, -1:].argmax(dim=-1), out.past_key_values
        made.append(ids)
        open_rows &= ~torch.isin(ids[:, 0], stops)
        if not open_rows.any():
            break
        mask = torch.cat([mask, torch.ones_like(ids)], dim=1)
        positions = positions[:, -1:] + 1
    return torch.cat(made, dim=1)


def answers(
    model: Any, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str], separator: str, settings: AnswerSettings
) -> list[str]:
    """Return the model's answer to every prompt, in their order.

    ``separator`` is the text between prompt and answer in training: the model writes it, and it is taken off.
    """
    encoded = encode_prompts(model, tokenizer, prompts, settings.max_tokens)
    found: dict[int, str] = {}
    for rows in batches(encoded, settings):
        found |= zip(rows, answer_batch(model, tokenizer, [encoded[row] for row in rows], settings), strict=True)
    return [found[row].removeprefix(separator) for row in range(len(encoded))]


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Tokens that end an answer: the tokenizer's, which training appends, and those of the base's own config."""
    own = model.generation_config.eos_token_id
    listed = own if isinstance(own, list) else [own]
    return sorted({int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None})


def _text(tokenizer: PreTrainedTokenizerBase, tokens: list[int], ends: list[int]) -> str:
    length = next((place for place, token in enumerate(tokens) if token in ends), len(tokens))
    return str(tokenizer.decode(tokens[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False))
