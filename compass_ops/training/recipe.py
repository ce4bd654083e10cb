"""The embedded recipe: a small base model and a static embedder, made from the records of role ``pretrain``."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compass_ops.sections import PretrainedModel, ScheduleParams
from compass_ops.seeding import derived_seed
from compass_ops.training.base import new_llama, train_tokenizer
from compass_ops.training.batches import encode
from compass_ops.training.train import CurvePoint, Run, Schedule, train


def schedule_from(params: ScheduleParams) -> Schedule:
    """Turn the params' schedule into the training loop's."""
    return Schedule(**params.model_dump())


def pretrain_base(
    rows: Sequence[tuple[str, str]], params: PretrainedModel, text: tuple[str, int], work: Path, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[CurvePoint]]:
    """Train a tokenizer and a small Llama on (prompt, completion) rows; all tokens bear loss.

    ``text`` is the separator between prompt and completion and the longest text in tokens.
    """
    separator, max_tokens = text
    tokenizer = train_tokenizer([f"{prompt}{separator}{answer}" for prompt, answer in rows], params.shape.vocabulary)
    model = new_llama(params.shape, tokenizer, derived_seed(seed, "base", "initial weights"))
    examples = encode(tokenizer, rows, separator, max_tokens, completion_only=False)
    run = Run(work, derived_seed(seed, "base", "order"))
    curve = train(model, examples, tokenizer.pad_token_id, schedule_from(params.schedule), run)
    return model, tokenizer, curve


def parallel_pairs(
    texts: Sequence[str], parallel_ids: Sequence[str | None], rng: np.random.Generator
) -> list[tuple[str, str]]:
    """Pair each text with a parallel one of the same id; a text without a parallel, its first half with its second.

    Halves of one text are about the same, which is what the embedder is to learn where nothing is parallel.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for row, parallel_id in enumerate(parallel_ids):
        groups[parallel_id if parallel_id is not None else f"row {row}"].append(row)
    pairs = []
    for rows in groups.values():
        order = rng.permutation(rows)
        if len(order) == 1:
            words = texts[order[0]].split()
            middle = max(1, len(words) // 2)
            pairs.append((" ".join(words[:middle]), " ".join(words[middle:]) or words[0]))
        else:
            pairs.extend((texts[left], texts[right]) for left, right in zip(order, np.roll(order, 1), strict=True))
    return pairs
