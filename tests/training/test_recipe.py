"""The embedded recipe: pairs for the embedder, and a base that is reproducible and loads like any other."""

from pathlib import Path

import numpy as np
import torch

from compass_ops.model_files import folder_entry
from compass_ops.sections import LlamaShape, PretrainedModel, ScheduleParams
from compass_ops.training.base import load_base
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
