"""The loop: it learns, resumes to the same weights, adds terms once per step, and stops at a loss of no use."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from compass_ops.model_files import folder_entry
from compass_ops.training import train as loop
from compass_ops.training.adapter import Weights, new_adapter, weights_of
from compass_ops.training.base import load_base
from compass_ops.training.batches import Example, encode
from compass_ops.training.train import LossTerm, NonFiniteLossError, Run, Schedule, train
from tests.tiny_models import save_tiny_model

SCHEDULE = Schedule(
    epochs=3,
    batch_rows=4,
    accumulation=1,
    learning_rate=1e-2,
    warmup_share=0.1,
    weight_decay=0.0,
    checkpoint_steps=5,
)
ROWS = [(f"Which number comes after {n}?", str(n + 1)) for n in range(24)]


class Killed(Exception):
    """Stands for a process that ends in the middle."""


def run(
    folder: Path,
    schedule: Schedule = SCHEDULE,
    terms: tuple[LossTerm, ...] = (),
    work: str = "work",
    watch: loop.Watch = loop.unwatched,
) -> tuple[Weights, list[loop.CurvePoint]]:
    if not (folder / "base").exists():
        save_tiny_model("llama", folder / "base")
    base, tokenizer = load_base(folder_entry(Path("base"), folder), folder)
    model = new_adapter(base, {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}, seed=0)
    order = Run(folder / work, 0, watch, terms)
    curve = train(model, examples(tokenizer), tokenizer.pad_token_id, schedule, order)
    return weights_of(model), curve


def examples(tokenizer: PreTrainedTokenizerBase) -> list[Example]:
    return encode(tokenizer, ROWS, " ", 64)


def equal(left: Weights, right: Weights) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def test_the_loss_falls(tmp_path: Path) -> None:
    _, curve = run(tmp_path)
    assert curve[-1].step == 18
    assert curve[-1].loss < curve[0].loss - 0.3


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    whole, _ = run(tmp_path, work="whole")

    def kill_at_12(point: loop.CurvePoint) -> None:
        if point.step == 12:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, watch=kill_at_12)
    assert [folder.name for folder in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-10"]
    resumed, curve = run(tmp_path)
    assert equal(whole, resumed)
    assert curve[-1].step == 18


def test_a_killed_run_goes_on_to_the_same_curve(tmp_path: Path) -> None:
    """84 steps, a point every second one: checkpoints asked for every 5 are made every 6."""
    longer = replace(SCHEDULE, epochs=14)
    whole = run(tmp_path, longer, work="whole")[1]

    def kill_at_14(point: loop.CurvePoint) -> None:
        if point.step == 14:
            raise Killed

    with pytest.raises(Killed):
        run(tmp_path, longer, watch=kill_at_14)
    assert [folder.name for folder in (tmp_path / "work").glob("checkpoint-*")] == ["checkpoint-12"]
    assert run(tmp_path, longer)[1] == whole
    assert [point.step for point in whole] == list(range(2, 85, 2))


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path) -> None:
    whole, _ = run(tmp_path, work="whole")
    (tmp_path / "work" / "checkpoint-10").mkdir(parents=True)
    (tmp_path / "work" / "checkpoint-10" / "trainer_state.json").write_text('{"global_')
    assert equal(whole, run(tmp_path)[0])


def test_a_term_counts_once_per_step_whatever_the_accumulation(tmp_path: Path) -> None:
    def constant(_: nn.Module, __: int) -> torch.Tensor:
        return torch.tensor(1000.0)

    for accumulation in (1, 2, 4):  # of 4, an epoch's last step has two batches
        schedule = Schedule(**{**SCHEDULE.__dict__, "accumulation": accumulation})
        _, curve = run(tmp_path, schedule, (constant,), f"work{accumulation}")
        assert all(1000 < point.loss < 1020 for point in curve)


def test_accumulated_batches_weigh_each_token_alike(tmp_path: Path) -> None:
    found = []
    for batch_rows, accumulation in ((4, 1), (2, 2)):  # all four rows in every step
        schedule = Schedule(**{**SCHEDULE.__dict__, "batch_rows": batch_rows, "accumulation": accumulation})
        base, tokenizer = load_base(folder_entry(save_tiny_model("llama", tmp_path / "base"), tmp_path), tmp_path)
        model = new_adapter(base, {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}, seed=0)
        rows = [("one", "1"), ("two", "2 and 2 and 2 and 2"), ("three", "3"), ("four", "4 and 4")]
        order = Run(tmp_path / str(batch_rows), 0)
        train(model, encode(tokenizer, rows, " ", 64), tokenizer.pad_token_id, schedule, order)
        found.append(weights_of(model))
    for name, weight in found[0].items():
        torch.testing.assert_close(weight, found[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("accumulation", [1, 4])
def test_terms_see_every_batch_once_also_in_a_resumed_run(accumulation: int, tmp_path: Path) -> None:
    """Of four batches to a step, an epoch of six has a step of four and one of two: numbers 6 and 7 are left out."""
    expected = [
        step * accumulation + place
        for step in range(18 if accumulation == 1 else 6)
        for place in range(1 if accumulation == 1 else (4, 2)[step % 2])
    ]
    numbers: list[int] = []
    kills = [expected[len(expected) // 2]]

    def record(_: nn.Module, number: int) -> torch.Tensor:
        if number in kills:
            kills.remove(number)
            raise Killed
        numbers.append(number)
        return torch.tensor(0.0)

    schedule = replace(SCHEDULE, accumulation=accumulation, checkpoint_steps=1)
    with pytest.raises(Killed):
        run(tmp_path, schedule, (record,))
    run(tmp_path, schedule, (record,))
    assert sorted(set(numbers)) == expected
    assert len(numbers) - len(expected) < accumulation, "a step that was broken off is repeated, no other"


def test_bf16_leaves_the_model_as_it_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerate puts autocast around ``forward`` and leaves it there."""
    monkeypatch.setattr(loop, "device_and_dtype", lambda: (torch.device("cpu"), torch.bfloat16))
    save_tiny_model("llama", tmp_path / "base")
    base, tokenizer = load_base(folder_entry(Path("base"), tmp_path), tmp_path)
    model = new_adapter(base, {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"}, seed=0)
    train(model, examples(tokenizer), tokenizer.pad_token_id, SCHEDULE, Run(tmp_path / "work", 0))
    ids = torch.tensor([examples(tokenizer)[0].input_ids])
    with torch.no_grad():
        torch.testing.assert_close(model(input_ids=ids).logits, type(model).forward(model, input_ids=ids).logits)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLossError, match=r"the loss is nan at step 1\. Lower this schedule's learning_rate"):
        run(tmp_path, terms=(lambda _, __: torch.tensor(float("nan")),))


def test_weights_that_are_no_numbers_after_the_last_step_are_found(tmp_path: Path) -> None:
    """81 steps, a point every second one: no point sees the last."""

    def broken_at_the_end(model: nn.Module, step: int) -> torch.Tensor:
        weight = next(own for own in model.parameters() if own.requires_grad)
        return weight.sum() * (float("nan") if step == 80 else 0.0)

    with pytest.raises(NonFiniteLossError, match=r"weights are not finite after step 81\. Lower this"):
        run(tmp_path, replace(SCHEDULE, epochs=27, batch_rows=8), (broken_at_the_end,))
