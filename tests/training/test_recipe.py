"""The embedded recipe: pairs for the embedder, and a base that is reproducible and loads like any other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from compass_ops.errors import ParamsError
from compass_ops.model_files import folder_entry
from compass_ops.sections import LlamaShape, PretrainedModel, ScheduleParams
from compass_ops.training import recipe
from compass_ops.training.base import load_base
from compass_ops.training.batches import Example, collate, encode
from compass_ops.training.recipe import parallel_pairs, pretrain_base

ROWS = [(f"Which number comes after {n}?", str(n + 1)) for n in range(12)]
MODEL = PretrainedModel(
    kind="pretrained",
    shape=LlamaShape(vocabulary=300, width=16, feedforward=32, layers=1, heads=2, positions=64),
    schedule=ScheduleParams(
        epochs=1,
        batch_rows=4,
        accumulation=1,
        learning_rate=1e-3,
        warmup_share=0.0,
        weight_decay=0.0,
        checkpoint_steps=100,
    ),
    instruction_tuning=None,
)


def test_parallel_texts_are_paired_and_each_stands_once_on_either_side() -> None:
    texts = ["one", "moja", "satu", "two", "mbili"]
    pairs = parallel_pairs(texts, ["1", "1", "1", "2", "2"], np.random.default_rng(0))
    groups = [{"one", "moja", "satu"}, {"two", "mbili"}]
    assert all(left != right and any({left, right} <= group for group in groups) for left, right in pairs)
    assert sorted(left for left, _ in pairs) == sorted(right for _, right in pairs) == sorted(texts)


def test_a_text_without_a_parallel_is_paired_with_its_other_half() -> None:
    pairs = parallel_pairs(["a b c d", "alone"], [None, None], np.random.default_rng(0))
    assert pairs == [("a b", "c d"), ("alone", "alone")]


def test_pretraining_is_reproducible_and_loads_back(tmp_path: Path) -> None:
    model, tokenizer, curve = pretrain_base(ROWS, MODEL, (" ", 64), tmp_path / "work1", seed=0)
    again, _, _ = pretrain_base(ROWS, MODEL, (" ", 64), tmp_path / "work2", seed=0)
    assert all(torch.equal(p, dict(again.named_parameters())[name]) for name, p in model.named_parameters())
    assert curve[-1].step == 3
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    loaded, _ = load_base(folder_entry(Path("model"), tmp_path), tmp_path)
    assert all(torch.equal(p, dict(loaded.named_parameters())[name]) for name, p in model.named_parameters())
    assert not any(p.requires_grad for p in loaded.parameters())


def test_instruction_tuning_learns_answers_that_pretraining_does_not(tmp_path: Path) -> None:
    answers = ["left", "right"]
    rows = [(f"Say {answers[n % 2]} again, whatever comes before number {n} of all", answers[n % 2]) for n in range(24)]
    tuning = MODEL.schedule.model_copy(update={"epochs": 30, "learning_rate": 0.01})
    losses = []
    for instruction_tuning in (None, tuning):
        params = MODEL.model_copy(update={"instruction_tuning": instruction_tuning})
        work = tmp_path / str(instruction_tuning is None)
        model, tokenizer, _ = pretrain_base([*rows, ("no answer", "")], params, (" ", 64), work, seed=0)
        batch = collate(encode(tokenizer, rows, " ", 64), tokenizer.pad_token_id)
        losses.append(model(**batch).loss.item())
    assert losses[1] < 0.2 < losses[0]


def test_instruction_tuning_needs_completions(tmp_path: Path) -> None:
    params = MODEL.model_copy(update={"instruction_tuning": MODEL.schedule})
    with pytest.raises(ParamsError, match="no record of role pretrain has a completion to train on"):
        pretrain_base([(prompt, "") for prompt, _ in ROWS], params, (" ", 64), tmp_path, seed=0)
    assert not list(tmp_path.iterdir())  # said before anything is trained


def test_a_text_without_a_completion_announces_none_and_is_not_tuned_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases: list[list[Example]] = []
    monkeypatch.setattr(recipe, "train", lambda _model, examples, *_: phases.append(examples))
    rows = [("a mere text", ""), ("a question", "answer")]
    params = MODEL.model_copy(update={"instruction_tuning": MODEL.schedule})
    _, tokenizer, _ = pretrain_base(rows, params, ("\nTopic: ", 64), tmp_path, seed=0)
    told = [[(tokenizer.decode(one.input_ids), _unlabelled(tokenizer, one)) for one in phase] for phase in phases]
    assert told == [
        [("a question\nTopic: answer<|end|>", ""), ("a mere text<|end|>", "")],
        [("a question\nTopic: answer<|end|>", "a question")],
    ]


def _unlabelled(tokenizer: PreTrainedTokenizerBase, example: Example) -> str:
    """Return what of a text bears no loss."""
    return str(tokenizer.decode(example.input_ids[: example.prompt_tokens]))
