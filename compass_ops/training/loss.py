"""The loss on completions, with logits computed where they are needed alone.

Most of a text is prompt and bears no loss, while the logits of a position are as many as the vocabulary has tokens.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from compass_ops.training.batches import IGNORED


def cropped(batch: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return a batch whose ``labels`` begin where the first loss is, with ``logits_to_keep``, how many are left.

    A causal model then computes as many logits and the same loss; it computes all if nothing is labelled.
    """
    labels = batch["labels"]
    bears_loss = (labels[:, 1:] != IGNORED).any(dim=0)  # nothing comes before a text's first token
    keep = labels.shape[1] - int(bears_loss.int().argmax())
    return {**batch, "labels": labels[:, -keep:], "logits_to_keep": keep}


def completion_logits(model: Any, batch: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what a causal model says of the tokens that bear loss.

    Parameters
    ----------
    model : PreTrainedModel or PeftModel
    batch : mapping
        ``input_ids``, ``attention_mask``, ``labels``, as ``collate`` makes them.

    Returns
    -------
    logits : float32 (m, vocabulary)
        Before each of the m labelled tokens; a text's first token has nothing before it and is left out.
    targets : int64 (m,)
        Those tokens.
    """
    inputs = cropped(batch)
    targets = inputs.pop("labels")[:, 1:]
    scored = targets != IGNORED
    return model(**inputs).logits[:, -inputs["logits_to_keep"] : -1][scored].float(), targets[scored]


def completion_loss(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the sum of the labelled tokens' cross entropies, in nats."""
    return cross_entropy(*completion_logits(model, batch), reduction="sum")
