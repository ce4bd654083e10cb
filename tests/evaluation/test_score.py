import math

import numpy as np
import pytest
import torch

from compass_ops.evaluation.score import (
    ScoreSettings,
    UnscorableError,
    _batches,
    _takes_trees,
    _Tree,
    score_choices,
)
from tests.evaluation.models import (
    ARCHITECTURES,
    CHOICES,
    PROMPTS,
    slow_log_likelihood,
    tiny_model,
    tiny_tokenizer,
)

SETTINGS = ScoreSettings(separator=" ", max_tokens=48, batch_tokens=256)


def _flat(scores: list[np.ndarray]) -> np.ndarray:
    assert all(own.dtype == np.float64 for own in scores)
    return np.concatenate(scores)


def _scores(model, tokenizer, settings=SETTINGS, prompts=PROMPTS, choices=CHOICES) -> np.ndarray:  # type: ignore[no-untyped-def]
    return _flat(score_choices(model, tokenizer, prompts, choices, settings))


def test_hand_computed_for_a_model_that_knows_nothing() -> None:
    """All weights zero: every token has probability 1 / vocabulary."""
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    tokens = len(tokenizer("The day is Tuesday")["input_ids"]) - len(tokenizer("The day is")["input_ids"])
    [[score, double]] = score_choices(model, tokenizer, ["The day is"], [["Tuesday", "Tuesday Tuesday"]], SETTINGS)
    assert score == pytest.approx(-tokens * math.log(360), rel=1e-6)
    assert double == pytest.approx(-2 * tokens * math.log(360), rel=1e-6)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_equal_to_one_row_per_choice(architecture: str, attention: str) -> None:
    model, tokenizer = tiny_model(architecture, attention=attention), tiny_tokenizer()
    assert _takes_trees(model.config, SETTINGS.max_tokens)
    prompts, choices = PROMPTS[:1] + PROMPTS[3:4] + PROMPTS[5:6], CHOICES[:1] + CHOICES[3:4] + CHOICES[5:6]
    prompts = [prompt.strip() for prompt in prompts]
    slow = [
        slow_log_likelihood(model, tokenizer, prompt, f" {choice}", SETTINGS.max_tokens)
        for prompt, own in zip(prompts, choices, strict=True)
        for choice in own
    ]
    found = _scores(model, tokenizer, prompts=prompts, choices=choices)
    assert np.ptp(slow) > 5  # the weights are not so small that every text looks alike
    np.testing.assert_allclose(found, slow, atol=1e-4)


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
@pytest.mark.parametrize("begin", [False, True])
def test_parity_with_lm_evaluation_harness(architecture: str, begin: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("lm_eval")
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = tiny_model(architecture), tiny_tokenizer(begin=begin)
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=3, max_length=SETTINGS.max_tokens)
    pairs = [(prompt, f" {choice}") for prompt, own in zip(PROMPTS, CHOICES, strict=True) for choice in own]
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    theirs = [log_likelihood for log_likelihood, _ in harness.loglikelihood(requests, disable_tqdm=True)]
    assert len(tokenizer(PROMPTS[3])["input_ids"]) > SETTINGS.max_tokens
    np.testing.assert_allclose(_scores(model, tokenizer), theirs, atol=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 70, 10_000])
def test_batch_size_changes_nothing(batch_tokens: int) -> None:
    model, tokenizer = tiny_model("qwen2"), tiny_tokenizer()
    other = _scores(model, tokenizer, ScoreSettings(" ", 48, batch_tokens))
    np.testing.assert_allclose(other, _scores(model, tokenizer), atol=1e-5)


def test_order_of_items_changes_nothing() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    backward = score_choices(model, tokenizer, PROMPTS[::-1], CHOICES[::-1], SETTINGS)[::-1]
    np.testing.assert_allclose(_flat(backward), _scores(model, tokenizer), atol=1e-5)


def test_same_call_same_bits() -> None:
    model, tokenizer = tiny_model("phi3"), tiny_tokenizer()
    np.testing.assert_array_equal(_scores(model, tokenizer), _scores(model, tokenizer))


def test_a_window_shorter_than_the_input_is_scored_row_by_row() -> None:
    model, tokenizer = tiny_model("mistral", sliding_window=8), tiny_tokenizer()
    assert not _takes_trees(model.config, SETTINGS.max_tokens)
    slow = [slow_log_likelihood(model, tokenizer, PROMPTS[0], f" {choice}", 48) for choice in CHOICES[0]]
    np.testing.assert_allclose(_scores(model, tokenizer, prompts=PROMPTS[:1], choices=CHOICES[:1]), slow, atol=1e-4)
    whole = tiny_model("mistral", sliding_window=None)
    assert np.abs(_scores(whole, tokenizer, prompts=PROMPTS[:1], choices=CHOICES[:1]) - slow).max() > 1e-2


def test_bf16_is_near_float32() -> None:
    model, tokenizer = tiny_model("llama", initializer_range=0.05), tiny_tokenizer()
    exact = _scores(model, tokenizer)
    np.testing.assert_allclose(_scores(model.to(torch.bfloat16), tokenizer), exact, rtol=0.02)


def test_batches_keep_to_their_budgets() -> None:
    rng = np.random.default_rng(0)
    trees = [_Tree([0] * int(rng.integers(1, 60)), [(slot, [0] * int(rng.integers(1, 5)))]) for slot in range(200)]
    batches = list(_batches(trees, 300, 360))
    assert sorted(slot for batch in batches for tree in batch for slot, _ in tree.branches) == list(range(200))
    assert max(len(batch) * max(tree.length for tree in batch) for batch in batches) <= 300
    narrow = list(_batches(trees, 10**9, 2**27 // 10))  # ten scored positions fill the budget for logits
    assert max(len(batch) * max(tree.tail for tree in batch) for batch in narrow) <= 10


def test_no_items() -> None:
    assert score_choices(tiny_model("llama"), tiny_tokenizer(), [], [], SETTINGS) == []


@pytest.mark.parametrize(("prompt", "choice"), [("A day", "Tuesday " * 80), ("", "")])
def test_a_choice_that_cannot_be_scored(prompt: str, choice: str) -> None:
    settings = ScoreSettings("", 48, 256)
    with pytest.raises(UnscorableError, match=r"must have 1 to 48 tokens of its own; got \d+\. Shorten it"):
        score_choices(tiny_model("llama"), tiny_tokenizer(), [prompt], [[choice, "b"]], settings)
