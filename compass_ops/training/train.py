"""The training loop: `transformers.Trainer` on the completion's loss, with extra loss terms passed in."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from compass_ops.errors import CompassError
from compass_ops.training.base import device_and_dtype
from compass_ops.training.batches import Example, collate
from compass_ops.training.loss import cropped

# (model, number of the batch) -> scalar, whose mean over a step's batches is added to the task's loss. A function of
# the number, so that a resumed run repeats it.
LossTerm = Callable[[nn.Module, int], torch.Tensor]


_ADVICE = "Lower this schedule's learning_rate, or look for damaged texts among what it trains on."


class NonFiniteLossError(CompassError):
    """The loss, or a weight, became NaN or infinite."""


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes
    ----------
    epochs : int
        Passes over the examples, >= 1.
    batch_rows : int
        Examples per optimizer step and device, before accumulation.
    accumulation : int
        Batches per optimizer step, >= 1.
    learning_rate : float
        Peak of AdamW's rate; linear warm-up, then linear decay to 0.
    warmup_share : float
        Share of the steps spent warming up, in [0, 1].
    weight_decay : float
        AdamW's.
    checkpoint_steps : int
        Optimizer steps between checkpoints, from which an interrupted run goes on; rounded up to a point of the curve.
    """

    epochs: int
    batch_rows: int
    accumulation: int
    learning_rate: float
    warmup_share: float
    weight_decay: float
    checkpoint_steps: int

    def steps(self, rows: int) -> int:
        """Return the optimizer steps that training on so many examples takes."""
        return math.ceil(math.ceil(rows / self.batch_rows) / self.accumulation) * self.epochs


@dataclass(frozen=True)
class CurvePoint:
    """Mean loss since the point before, at an optimizer step."""

    step: int
    loss: float


Watch = Callable[[CurvePoint], None]


def unwatched(_: CurvePoint) -> None:
    """Let a curve pass unseen."""


@dataclass(frozen=True)
class Run:
    """One training run: where its checkpoints go, its seed, who watches its curve, terms added to the task's loss."""

    work: Path
    seed: int
    watch: Watch = unwatched
    terms: Sequence[LossTerm] = ()


def train(model: nn.Module, examples: Sequence[Example], pad_id: int, schedule: Schedule, run: Run) -> list[CurvePoint]:
    """Train the model's trainable parameters in place and return the loss curve.

    Batches hold texts of similar length. bf16 is used where the device has it. If ``run.work`` holds checkpoints
    of an interrupted run of the same arguments, training goes on from the newest.

    Raises
    ------
    NonFiniteLossError
        If the loss becomes NaN or infinite, naming the step, or a weight is at the end.
    """
    total, (_, dtype) = schedule.steps(len(examples)), device_and_dtype()
    shown = max(1, total // 40)  # steps from one point of the curve to the next
    arguments = TrainingArguments(
        output_dir=str(run.work),
        num_train_epochs=schedule.epochs,
        per_device_train_batch_size=schedule.batch_rows,
        gradient_accumulation_steps=schedule.accumulation,
        learning_rate=schedule.learning_rate,
        warmup_steps=round(schedule.warmup_share * total),
        weight_decay=schedule.weight_decay,
        lr_scheduler_type="linear",
        logging_steps=shown,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=math.ceil(schedule.checkpoint_steps / shown) * shown,  # or a resumed run's next point lacks steps
        save_total_limit=1,
        bf16=dtype is torch.bfloat16,
        use_cpu=not torch.cuda.is_available(),
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        seed=run.seed,
        data_seed=run.seed,
    )
    trainer = _TermTrainer(
        model=model,
        args=arguments,
        train_dataset=_Rows(examples),
        data_collator=lambda rows: collate(rows, pad_id),
        callbacks=[_Follow(run.watch)],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.terms = run.terms
    trainer.train(resume_from_checkpoint=_newest_checkpoint(run.work))
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # or bf16's autocast stays on the model
    _check_finite(model, total)
    model.eval()
    return [CurvePoint(log["step"], log["loss"]) for log in trainer.state.log_history if "loss" in log]


def _check_finite(model: nn.Module, step: int) -> None:
    """Look at the weights too: the steps after the curve's last point have a loss that nobody sees."""
    if not all(weight.isfinite().all() for weight in model.parameters() if weight.requires_grad):
        raise NonFiniteLossError(f"weights are not finite after step {step}. {_ADVICE}")


class _GroupedByLength(torch.utils.data.Sampler[int]):
    """Rows shuffled, then sorted by length inside runs of 50 batches, so that little is padding.

    The order depends on seed and epoch alone (the Trainer's own sampler draws from the global generator, which a
    resumed run cannot rewind).
    """

    def __init__(self, lengths: Sequence[int], batch_rows: int, seed: int) -> None:
        self._lengths, self._run, self._seed = np.asarray(lengths), 50 * batch_rows, seed
        self._batch_rows = batch_rows
        self._epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the data loader at the start of each epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self._seed, self._epoch))
        shuffled = rng.permutation(len(self._lengths))
        runs = [shuffled[start : start + self._run] for start in range(0, len(shuffled), self._run)]
        ordered = np.concatenate([run[np.argsort(self._lengths[run], kind="stable")] for run in runs])
        whole = len(ordered) // self._batch_rows * self._batch_rows
        batches = ordered[:whole].reshape(-1, self._batch_rows)
        return iter(np.concatenate([batches[rng.permutation(len(batches))].ravel(), ordered[whole:]]).tolist())


class _Rows(torch.utils.data.Dataset[Example]):
    """Examples as the Trainer wants them."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]

    def lengths(self) -> list[int]:
        """Return the number of tokens of each example."""
        return [len(example.input_ids) for example in self._examples]


class _TermTrainer(Trainer):
    """The Trainer whose loss is the task's plus the given terms."""

    terms: Sequence[LossTerm] = ()
    _place = (-1, 0)  # optimizer step, batch within it

    def _get_train_sampler(self, train_dataset: Any = None) -> _GroupedByLength:
        return _GroupedByLength(self.train_dataset.lengths(), self.args.train_batch_size, self.args.data_seed)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        """Add the terms' mean over the batches of an optimizer step, whatever the accumulation."""
        result = super().compute_loss(model, cropped(inputs), return_outputs, num_items_in_batch)
        already_scaled = num_items_in_batch is not None and self.model_accepts_loss_kwargs
        share = 1 / self.current_gradient_accumulation_steps if already_scaled else 1.0
        batch = self._next_batch()
        extra = sum(term(model, batch) * share for term in self.terms)
        if return_outputs:
            loss, outputs = result
            return loss + extra, outputs
        return result + extra

    def _next_batch(self) -> int:
        """Number the batches of all steps, from the step alone: a resumed run goes on with the same numbers."""
        step, (last, place) = self.state.global_step, self._place
        self._place = (step, place + 1 if step == last else 0)
        return step * self.args.gradient_accumulation_steps + self._place[1]


class _Follow(TrainerCallback):
    """Tells whoever watches each point of the curve; ends a run whose loss is NaN or infinite."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
        """Look at the mean loss since the last log."""
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise NonFiniteLossError(f"the loss is {logs['loss']} at step {state.global_step}. {_ADVICE}")
        self._watch(CurvePoint(state.global_step, logs["loss"]))


def _newest_checkpoint(work: Path) -> str | None:
    """Return the newest complete checkpoint: the Trainer writes trainer_state.json last."""

    def complete(folder: Path) -> bool:
        try:
            json.loads((folder / "trainer_state.json").read_text("utf-8"))
        except (OSError, json.JSONDecodeError):
            return False
        return True

    found = sorted(work.glob("checkpoint-*"), key=lambda folder: int(folder.name.rsplit("-", 1)[1]))
    return next((str(folder) for folder in reversed(found) if complete(folder)), None)
