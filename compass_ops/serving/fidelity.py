"""Whether an exported adapter still answers as the registered one: divergence on texts, answers on items."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compass_ops.errors import ModelError
from compass_ops.evaluation.metrics import predicted_choice
from compass_ops.evaluation.score import ScoreSettings, UnscorableError, score_choices
from compass_ops.serving.slots import AdapterSlots
from compass_ops.training.adapter import attach, detach
from compass_ops.training.adapter_file import LoraLayer
from compass_ops.training.batches import IGNORED, collate, encode

BATCH_TOKENS = 8192
_REGISTERED, _EXPORTED = 1, 2


@dataclass(frozen=True)
class TextForm:
    """How texts are given to the model, as the version's manifest says: separator, and longest text in tokens."""

    separator: str
    max_tokens: int


@dataclass(frozen=True)
class ItemCheck:
    """Both adapters on one language's items.

    Attributes
    ----------
    items : int
        Items with at least two choices; ``labelled`` of them have an answer.
    agreement : float
        Share of the items on which both choose the same.
    registered_accuracy, exported_accuracy : float or None
        On the labelled ones; None without any.
    largest_difference_nats : float
        Of a choice's log-likelihood.
    """

    items: int
    labelled: int
    agreement: float
    registered_accuracy: float | None
    exported_accuracy: float | None
    largest_difference_nats: float

    @property
    def drop(self) -> float:
        """What the export lost in accuracy, 0 without labelled items."""
        return (self.registered_accuracy or 0.0) - (self.exported_accuracy or 0.0)

    def as_json(self) -> dict[str, float | int | None]:
        """Return the check as a JSON object."""
        return asdict(self)


def divergence(
    base: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    registered: Mapping[str, LoraLayer],
    exported: Mapping[str, LoraLayer],
    rows: Sequence[tuple[str, str]],
    form: TextForm,
) -> float:
    """Return the mean KL divergence of the exported adapter from the registered one, in nats per token, >= 0.

    KL(registered || exported) of the next-token distributions, at every position of the completions, the separator
    and the end token included.

    Parameters
    ----------
    base : (model, tokenizer)
    registered, exported : mapping of layer name to LoraLayer
    rows : sequence of (prompt, completion), at least one
    """
    model, tokenizer = base
    slots = AdapterSlots(model, slots=2)
    total, tokens = 0.0, 0
    try:
        slots.put(_REGISTERED, registered)
        slots.put(_EXPORTED, exported)
        examples = encode(tokenizer, rows, form.separator, form.max_tokens)
        step = max(1, BATCH_TOKENS // (2 * form.max_tokens))
        for start in range(0, len(examples), step):
            batch = collate(examples[start : start + step], int(tokenizer.pad_token_id))
            at = batch["labels"][:, 1:] != IGNORED
            log_probs = [_log_probs(slots, slot, batch)[at] for slot in (_REGISTERED, _EXPORTED)]
            total += float((log_probs[0].exp() * (log_probs[0] - log_probs[1])).sum())
            tokens += int(at.sum())
    finally:
        slots.close()
    return float(np.maximum(0.0, total / tokens))  # a rounding below 0 is 0; NaN stays


@torch.inference_mode()
def _log_probs(slots: AdapterSlots, slot: int, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Log-probabilities float32 (rows, length - 1, vocabulary) of the tokens from the second on."""
    ids, mask = batch["input_ids"], batch["attention_mask"]
    with slots.rows([slot] * len(ids)) as model:
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device)).logits
    return logits[:, :-1].float().log_softmax(dim=-1).cpu()


def check_items(
    base: tuple[PreTrainedModel, PreTrainedTokenizerBase],
    adapters: tuple[Path, Path],
    items: pa.Table,
    form: TextForm,
) -> ItemCheck:
    """Score items with the registered and with the exported adapter, each loaded from its files by PEFT.

    Parameters
    ----------
    adapters : (Path, Path)
        Folders with ``adapter_config.json`` and weights: registered, exported.
    items : pa.Table
        Columns ``prompt``, ``choices``, ``answer``.

    Raises
    ------
    ModelError
        If there is no item, or one that cannot be scored.
    """
    model, tokenizer = base
    prompts, choices = items["prompt"].to_pylist(), items["choices"].to_pylist()
    if not prompts:
        raise ModelError("there are no items to check the exported adapter on.")
    settings = ScoreSettings(form.separator, form.max_tokens, BATCH_TOKENS)
    scores = []
    for folder in adapters:
        adapted = attach(model, folder)
        try:
            scores.append(score_choices(adapted, tokenizer, prompts, choices, settings))
        except UnscorableError as error:
            raise ModelError(str(error)) from error
        finally:
            detach(adapted)
    chosen = [np.array([predicted_choice(own) for own in found]) for found in scores]
    answers = items["answer"].to_pylist()
    labelled = np.array([answer is not None for answer in answers])
    gold = np.array([-1 if answer is None else answer for answer in answers])
    accuracies = [float((own == gold)[labelled].mean()) if labelled.any() else None for own in chosen]
    return ItemCheck(
        items=len(prompts),
        labelled=int(labelled.sum()),
        agreement=float((chosen[0] == chosen[1]).mean()),
        registered_accuracy=accuracies[0],
        exported_accuracy=accuracies[1],
        largest_difference_nats=max(float(np.abs(one - other).max()) for one, other in zip(*scores, strict=True)),
    )
