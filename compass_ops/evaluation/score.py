"""Choice log-likelihood: how probable a model finds each answer after its prompt.

Texts are encoded as lm-evaluation-harness 0.4.13 does (``HFLM``, causal), so scores agree with its own. All
choices of an item share one row: the prompt once, then each choice as a branch that sees the prompt and itself
alone (a tree mask, positions restarted); logits are computed from the prompt's last token on.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compass_ops.errors import CompassError

SCORER_VERSION = 1  # raise it when the same model and items would get other scores

# Architectures on which tests show tree rows equal to one row per choice.
_TREE_ARCHITECTURES = frozenset({"llama", "mistral", "phi3", "qwen2", "qwen3"})
_TREE_ATTENTION = frozenset({"eager", "sdpa"})
_LOGITS_PER_BATCH = 2**27  # numbers; half a GiB in float32
_ROWS_PER_SOFTMAX = 256
_PROMPT, _PADDING = 0, -1  # branch numbers; choices count from 1


class UnscorableError(CompassError):
    """An item whose choices cannot be compared."""


@dataclass(frozen=True)
class ScoreSettings:
    """How items are put before the model.

    Attributes
    ----------
    separator : str
        Text between prompt and choice; it belongs to the choice.
    max_tokens : int
        Longest input; a prompt over it loses its left end.
    batch_tokens : int
        Input tokens per batch, padding included, >= 1. A longer row is a batch by itself.
    """

    separator: str
    max_tokens: int
    batch_tokens: int

    def decisive(self) -> dict[str, str | int]:
        """Return those that scores depend on: how rows are batched changes none."""
        return {"separator": self.separator, "max_tokens": self.max_tokens}


@dataclass(frozen=True)
class _Tree:
    """One row: context tokens, and (slot of the result, continuation tokens) for each branch."""

    context: list[int]
    branches: list[tuple[int, list[int]]]

    @property
    def tail(self) -> int:
        """Positions whose next token is scored: the context's last, and each branch but its last token."""
        return 1 + sum(len(continuation) - 1 for _, continuation in self.branches)

    @property
    def length(self) -> int:
        return len(self.context) - 1 + self.tail


def score_choices(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    choices: Sequence[Sequence[str]],
    settings: ScoreSettings,
) -> list[NDArray[np.float64]]:
    """Return the log-likelihood of every choice, given its prompt.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
        Causal, in eval mode; on any device, in any floating type.
    tokenizer : PreTrainedTokenizerBase
        The model's.
    prompts : sequence of str, length n
    choices : sequence of sequences of str, length n
        At least one choice each.
    settings : ScoreSettings

    Returns
    -------
    list of float64 (number of choices,), length n
        Natural log-probability of separator + choice, summed over its tokens, computed in float32; <= 0.

    Raises
    ------
    UnscorableError
        If a choice has no token of its own, or more tokens than the model takes.
    """
    flat = [
        (prompt, settings.separator + choice) for prompt, own in zip(prompts, choices, strict=True) for choice in own
    ]
    pairs = _encoded(tokenizer, flat, settings.max_tokens)
    item_of = [item for item, own in enumerate(choices) for _ in own]
    trees = _trees(pairs, item_of, packed=_takes_trees(model.config, settings.max_tokens))
    sums = np.zeros(len(flat))
    with torch.inference_mode():
        for batch in _batches(trees, settings.batch_tokens, model.config.get_text_config().vocab_size):
            slots, log_probs = _batch_log_probs(model, batch)
            np.add.at(sums, slots, log_probs)
    ends = np.cumsum([len(own) for own in choices], dtype=np.int64)
    return np.split(sums, ends[:-1]) if len(choices) else []


def _encoded(
    tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]], max_tokens: int
) -> list[tuple[list[int], list[int]]]:
    """Encode (prompt, continuation) pairs as (context, continuation) tokens of at most max_tokens + 1 together.

    Prompt and continuation are tokenised together and divided at the prompt's own length; white space at the
    prompt's end goes to the continuation. The last token is never an input, hence the one above ``max_tokens``.
    """
    moved = [(prompt.rstrip(), prompt[len(prompt.rstrip()) :] + continuation) for prompt, continuation in pairs]
    contexts = _tokens(tokenizer, [context for context, _ in moved])
    wholes = _tokens(tokenizer, [context + continuation for context, continuation in moved])
    encoded = []
    for (text, continuation_text), context, whole in zip(moved, contexts, wholes, strict=True):
        if text:
            continuation = whole[len(context) :]
        else:
            context, continuation = _after_nothing(tokenizer, continuation_text)
        if not context or not continuation or len(continuation) > max_tokens:
            raise UnscorableError(
                f"The choice {continuation_text!r} after {text[-60:]!r} must have 1 to {max_tokens} tokens of its "
                f"own; got {len(continuation)}. Shorten it, begin it with a separator, or raise base.max_tokens."
            )
        room = max_tokens + 1 - len(continuation)
        encoded.append((context[-room:], continuation))
    return encoded


def _after_nothing(tokenizer: PreTrainedTokenizerBase, continuation: str) -> tuple[list[int], list[int]]:
    """Encode a continuation without a prompt: after the begin (else end) token, or its own first if equal."""
    tokens = tokenizer(continuation, add_special_tokens=False)["input_ids"]
    prefix = _prefix_token(tokenizer)
    if prefix is None or tokens[:1] == [prefix]:
        return tokens[:1], tokens[1:]
    return [prefix], tokens


def _prefix_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    return tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id


def _tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Tokenise each distinct text once, with special tokens unless it already begins with the begin token."""
    prefix = _prefix_token(tokenizer)
    begin = None if prefix is None else tokenizer.decode(prefix)
    known: dict[str, list[int]] = {}
    for special in (True, False):
        chosen = [text for text in dict.fromkeys(texts) if special != (begin is not None and text.startswith(begin))]
        if chosen:
            known |= zip(chosen, tokenizer(chosen, add_special_tokens=special)["input_ids"], strict=True)
    return [known[text] for text in texts]


def _takes_trees(config: Any, max_tokens: int) -> bool:
    """Whether the model computes with a tree mask what it computes row by row.

    Not where attention reaches back a window shorter than the input: a ready-made mask replaces the window's.
    """
    window = getattr(config, "sliding_window", None)
    return (
        config.model_type in _TREE_ARCHITECTURES
        and config._attn_implementation in _TREE_ATTENTION
        and (window is None or window >= max_tokens)
    )


def _trees(pairs: Sequence[tuple[list[int], list[int]]], item_of: Sequence[int], *, packed: bool) -> list[_Tree]:
    """Join an item's continuations that follow the same context; slots number the pairs."""
    trees: dict[object, _Tree] = {}
    for slot, ((context, continuation), item) in enumerate(zip(pairs, item_of, strict=True)):
        key = (item, tuple(context)) if packed else slot
        trees.setdefault(key, _Tree(context, [])).branches.append((slot, continuation))
    return list(trees.values())


def _batches(trees: Sequence[_Tree], batch_tokens: int, vocabulary: int) -> Iterator[list[_Tree]]:
    """Yield batches of similar lengths, the longest first, within the budgets for tokens and logits."""
    batch: list[_Tree] = []
    longest = widest = 0
    for tree in sorted(trees, key=lambda tree: (-tree.length, -tree.tail)):
        length, width = max(longest, tree.length), max(widest, tree.tail)
        rows = len(batch) + 1
        if batch and (rows * length > batch_tokens or rows * width * vocabulary > _LOGITS_PER_BATCH):
            yield batch
            batch, length, width = [], tree.length, tree.tail
        batch.append(tree)
        longest, widest = length, width
    if batch:
        yield batch


def _batch_log_probs(model: PreTrainedModel, trees: Sequence[_Tree]) -> tuple[list[int], NDArray[np.float64]]:
    """Return (slot of each scored token, its log-probability)."""
    length, tail = max(tree.length for tree in trees), max(tree.tail for tree in trees)
    ids, positions = np.zeros((2, len(trees), length), dtype=np.int64)
    branches = np.full((len(trees), length), _PADDING)
    slots: list[int] = []
    scored: list[tuple[int, int, int]] = []  # row, column among the last `tail`, token that should come next
    for row, tree in enumerate(trees):
        # Rows end together, so that the positions to be scored are the last ones of every row.
        start, end = length - tree.length, length - tree.length + len(tree.context)
        ids[row, start:end] = tree.context
        positions[row, start:end] = np.arange(len(tree.context))
        branches[row, start:end] = _PROMPT
        last_of_prompt = end - 1
        for branch, (slot, continuation) in enumerate(tree.branches, start=1):
            inputs = continuation[:-1]
            stop = end + len(inputs)
            ids[row, end:stop] = inputs
            positions[row, end:stop] = len(tree.context) + np.arange(len(inputs))
            branches[row, end:stop] = branch
            columns = [last_of_prompt, *range(end, stop)]
            scored += [
                (row, column - length + tail, token) for column, token in zip(columns, continuation, strict=True)
            ]
            slots += [slot] * len(continuation)
            end = stop
    packed = any(len(tree.branches) > 1 for tree in trees)
    device = model.device
    logits = model(
        input_ids=torch.from_numpy(ids).to(device),
        position_ids=torch.from_numpy(positions).to(device),
        attention_mask=_mask(torch.from_numpy(branches).to(device), model.dtype, packed=packed),
        logits_to_keep=tail,
        use_cache=False,
    ).logits[:, -tail:]
    return slots, _token_log_probs(logits, torch.tensor(scored, device=device))


def _mask(branches: torch.Tensor, dtype: torch.dtype, *, packed: bool) -> torch.Tensor:
    """Return the tree mask, additive (rows, 1, length, length), or the plain padding mask int64 (rows, length).

    A token sees what lies before it in its own branch and in the prompt; padding sees padding, so that no
    row of the softmax is empty.
    """
    if not packed:
        return (branches != _PADDING).long()
    query, key = branches[:, :, None], branches[:, None, :]
    seen = ((key == query) | ((key == _PROMPT) & (query != _PADDING))).tril()
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def _token_log_probs(logits: torch.Tensor, scored: torch.Tensor) -> NDArray[np.float64]:
    """Log-probabilities in float32 at (row, column, token) triples, a few at a time: vocabularies are large."""
    parts = []
    for rows, columns, tokens in (part.unbind(dim=1) for part in scored.split(_ROWS_PER_SOFTMAX)):
        wanted = logits[rows, columns].float()
        parts.append(wanted.gather(1, tokens[:, None])[:, 0] - wanted.logsumexp(dim=1))
    return torch.cat(parts).double().cpu().numpy()
