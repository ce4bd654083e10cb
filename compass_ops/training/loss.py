"""The loss on completions, with logits computed where they are needed alone.

Most of a text is prompt and bears no loss, while the logits of a position are as many as the vocabulary has tokens.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from compass_ops.training.batches import IGNORED


def completion_logits(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a causal model says of the tokens that bear loss.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    batch : mapping
        ``input_ids``, ``attention_mask``, ``labels``, as ``collate`` makes them; at least one label.

    Returns
    -------
    logits : float32 (m, vocabulary)
        Before each of the m labelled tokens; a text's first token has nothing before it and is left out.
    targets : int64 (m,)
        Those tokens.
    """
    labels = batch["labels"][:, 1:]
    scored = labels != IGNORED
    first = int(scored.any(dim=0).nonzero()[0])  # all positions from here on are computed, in every row
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    kept = model(**inputs, logits_to_keep=labels.shape[1] + 1 - first).logits[:, :-1]
    return kept[scored[:, first:]].float(), labels[scored]


def completion_loss(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | int]:
    """Return the sum of the labelled tokens' cross entropies, in nats, and how many they are."""
    logits, targets = completion_logits(model, batch)
    return cross_entropy(logits, targets, reduction="sum"), len(targets)
