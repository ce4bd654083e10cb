"""Anchors by hand-computed quotas; the replay term against a loop over tokens and two models."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from compass_ops.model_files import folder_entry
from compass_ops.training.adapter import AdaptedModel, new_adapter, trainable_parameters, weights_of
from compass_ops.training.base import load_base
from compass_ops.training.batches import Example
from compass_ops.training.replay import (
    Anchors,
    Replay,
    calibrated,
    choose_anchors,
    divergence,
    replay_term,
    weighted_sample,
)
from tests.oracles import replay_loss
from tests.tiny_models import save_tiny_model


def new_rows(strata: list[int], sizes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    rows = np.repeat(np.array(strata, np.int64), sizes)
    return rows, np.ones(len(rows))


def test_each_stratum_keeps_its_share() -> None:
    strata, weights = new_rows([0, 1, 2], [50, 30, 20])
    kept = choose_anchors(strata, weights, 10, np.random.default_rng(0))
    assert np.bincount(strata[kept.rows]).tolist() == [5, 3, 2]
    assert kept.rows.tolist() == sorted(set(kept.rows.tolist()))
    assert kept.stands_for.tolist() == [10.0] * 10


def test_a_stratum_has_the_whole_number_below_or_above_its_share() -> None:
    strata, weights = new_rows([0, 1, 2], [5, 3, 2])  # shares of 4: 2.0, 1.2, 0.8
    rng = np.random.default_rng(0)
    kept = [choose_anchors(strata, weights, 4, rng) for _ in range(2000)]
    counts = np.array([np.bincount(strata[one.rows], minlength=3) for one in kept])
    assert {tuple(row) for row in counts} == {(2, 1, 1), (2, 2, 0)}
    assert counts.mean(axis=0) == pytest.approx([2.0, 1.2, 0.8], abs=0.04)
    assert all(one.stands_for.tolist() == [2.5] * 4 for one in kept)


def test_a_small_history_is_kept_whole() -> None:
    kept = choose_anchors(np.zeros(3, np.int64), np.array([1.0, 4.0, 1.0]), 64, np.random.default_rng(0))
    assert (kept.rows.tolist(), kept.stands_for.tolist()) == ([0, 1, 2], [1.0, 4.0, 1.0])


def test_the_past_keeps_its_share_though_few_of_its_rows_are_left() -> None:
    strata = np.repeat(np.array([0, 1], np.int64), [10, 100])  # 10 anchors of 300 rows, 100 new rows
    weights = np.repeat(np.array([30.0, 1.0]), [10, 100])
    kept = choose_anchors(strata, weights, 12, np.random.default_rng(0))
    assert np.bincount(strata[kept.rows]).tolist() == [9, 3]
    assert np.bincount(strata[kept.rows], kept.stands_for) == pytest.approx([300, 100])


def test_rows_too_heavy_for_their_chance_are_kept_as_they_are() -> None:
    strata = np.repeat(np.array([0, 1], np.int64), [2, 100])
    weights = np.repeat(np.array([150.0, 1.0]), [2, 100])  # an interval of 400 / 12
    kept = choose_anchors(strata, weights, 12, np.random.default_rng(0))
    assert np.bincount(strata[kept.rows]).tolist() == [2, 10]
    assert kept.stands_for.tolist() == [150.0, 150.0] + [10.0] * 10


def test_a_row_can_be_heavy_only_once_heavier_ones_are_set_aside() -> None:
    weights = np.array([90.0, 4.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])  # 100 / 3, then 10 / 2, then 6 / 1
    kept = choose_anchors(np.zeros(8, np.int64), weights, 3, np.random.default_rng(0))
    assert kept.rows[0] == 0
    assert kept.stands_for.tolist() == [90.0, 5.0, 5.0]


def test_every_row_has_a_chance_in_proportion_to_its_weight_though_strata_are_more_than_anchors() -> None:
    rng = np.random.default_rng(0)
    weights = np.repeat([7.0, 1.0], [10, 50])  # ten anchors of 70 rows, and 50 new rows, each in a stratum of its own
    strata = rng.permutation(60)
    drawn = np.zeros(60)
    for _ in range(4000):
        drawn[choose_anchors(strata, weights, 12, rng).rows] += 1 / 4000
    assert drawn[:10] == pytest.approx([0.7] * 10, abs=0.04)
    assert drawn[10:] == pytest.approx([0.1] * 50, abs=0.03)


def test_the_chosen_stand_for_the_whole_history() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        n = int(rng.integers(2, 60))
        strata, weights, size = rng.integers(0, 9, n), rng.exponential(size=n) ** 3 + 1e-6, int(rng.integers(1, n))
        kept = choose_anchors(strata, weights, size, rng)
        assert len(set(kept.rows.tolist())) == size
        assert kept.stands_for.sum() == pytest.approx(weights.sum())
        assert kept.rows.tolist() == sorted(kept.rows.tolist())


def test_rows_are_drawn_by_their_weights() -> None:
    rng = np.random.default_rng(0)
    first = [weighted_sample(np.array([3.0, 1.0]), 1, rng)[0] for _ in range(4000)]
    assert np.mean(first) == pytest.approx(0.25, abs=0.03)
    assert weighted_sample(np.ones(3), 5, rng).tolist() == [0, 1, 2]


def test_the_history_of_each_cluster_keeps_its_size() -> None:
    clusters, stands_for = np.array([0, 0, 0, 1, 1, 1]), np.array([4.0, 2.0, 2.0, 3.0, 1.0, 4.0])
    uneven = Anchors(np.array([0, 1, 3]), np.array([6.0, 2.0, 5.0]))
    assert calibrated(uneven, clusters, stands_for).tolist() == [6.0, 2.0, 8.0]


def test_a_small_cluster_that_is_drawn_stands_for_those_that_are_not() -> None:
    clusters, stands_for = np.repeat(np.arange(11), [50] + [5] * 10), np.ones(100)
    kept = Anchors(np.array([0, 1, 2, 50, 55]), np.full(5, 20.0))
    assert calibrated(kept, clusters, stands_for) == pytest.approx([50 / 3] * 3 + [25.0] * 2)


def test_over_versions_the_anchors_stay_in_proportion_though_clusters_are_more() -> None:
    rng, chains = np.random.default_rng(0), 300
    sizes = np.array([200] + [5] * 40)
    stood, replayed = np.zeros(41), np.zeros(41)
    for _ in range(chains):
        clusters, weights = np.zeros(0, np.int64), np.zeros(0)
        for _ in range(4):  # versions, each with as many new rows of every cluster
            clusters = np.concatenate([clusters, np.repeat(np.arange(41), sizes)])
            weights = np.concatenate([weights, np.ones(sizes.sum())])
            kept = choose_anchors(clusters, weights, 20, rng)
            weights, clusters = calibrated(kept, clusters, weights), clusters[kept.rows]
        stood += np.bincount(clusters, weights, 41) / weights.sum() / chains
        replayed += np.bincount(clusters, minlength=41) / len(clusters) / chains
    for share in (stood, replayed):
        assert share[0] == pytest.approx(0.5, abs=0.02)
        assert share[1:] == pytest.approx([0.0125] * 40, abs=0.006)


class Recorder(nn.Module):
    """Records the first token of each row it is given, and finds all of eight tokens equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[int]] = []

    def forward(self, input_ids: torch.Tensor, logits_to_keep: int, **_: torch.Tensor) -> object:
        self.seen.append(sorted(input_ids[:, 0].tolist()))
        return type("Output", (), {"logits": torch.zeros(len(input_ids), logits_to_keep, 8)})


def adapted(folder: Path, dora: bool = False) -> AdaptedModel:
    base, _ = load_base(folder_entry(save_tiny_model("llama", folder), folder), folder)
    lora = {"r": 2, "lora_alpha": 4, "lora_dropout": 0.5, "target_modules": "all-linear", "use_dora": dora}
    return new_adapter(base, lora, seed=0)


def move(model: AdaptedModel, seed: int) -> None:
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(0.1 * torch.randn_like(parameter))


def test_every_anchor_is_replayed_once_per_pass_and_a_step_always_has_its_batch(tmp_path: Path) -> None:
    parent = adapted(tmp_path)
    replay = Replay([Example([n, 1], 0) for n in range(6)], pad_id=0, strength=0.5, rows=2, seed=4)
    term, model = replay_term(replay, parent, weights_of(parent), None), Recorder()
    assert [term(model, step).item() for step in (0, 1, 2)] == pytest.approx([0.5 * np.log(8)] * 3)
    assert sorted(token for batch in model.seen for token in batch) == list(range(6))
    term(model, 1)
    assert model.seen[3] == model.seen[1]


def test_more_rows_than_anchors_replay_them_all() -> None:
    replay = Replay([Example([n, 1], 0) for n in range(3)], pad_id=0, strength=1.0, rows=8, seed=0)
    assert sorted(example.input_ids[0] for example in replay.batch(5)) == [0, 1, 2]


def test_the_divergence_by_hand() -> None:
    # tau 2: p_old = softmax(0, 2 ln 3 / 2) = (1/4, 3/4), p_new = (1/2, 1/2)
    old, new = torch.tensor([[0.0, 2 * np.log(3)]]), torch.zeros(1, 2)
    expected = 4 * (0.25 * np.log(0.25 / 0.5) + 0.75 * np.log(0.75 / 0.5))
    assert divergence(new, old, 2.0).item() == pytest.approx(expected, rel=1e-5)
    assert divergence(old, old, 2.0).item() == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("temperature", [None, 1.0, 3.0])
def test_the_term_is_a_loop_over_tokens_with_two_models(dora: bool, temperature: float | None, tmp_path: Path) -> None:
    model = adapted(tmp_path, dora)
    move(model, 1)
    parent = copy.deepcopy(model).eval()
    start = weights_of(model)
    move(model, 2)
    model.eval()  # the student without dropout too, so that the two can be compared
    examples = [Example([5, 6, 7, 8], 2), Example([9, 10, 11, 12, 13], 3), Example([4, 3], 1)]
    term = replay_term(Replay(examples, 0, 0.7, 3, 0), model, start, temperature)
    loss, expected = term(model, 0), 0.7 * replay_loss(model, parent, examples, temperature)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    parameters = list(trainable_parameters(model).values())
    for own, slow in zip(torch.autograd.grad(loss, parameters), torch.autograd.grad(expected, parameters), strict=True):
        assert torch.allclose(own, slow, atol=1e-5)


def test_the_parent_answers_without_dropout_and_leaves_no_trace(tmp_path: Path) -> None:
    model = adapted(tmp_path)
    start = weights_of(model)
    move(model, 2)
    moved = {name: weight.clone() for name, weight in weights_of(model).items()}
    model.train()
    term = replay_term(Replay([Example([5, 6, 7], 1)], 0, 1.0, 1, 0), model, start, 2.0)
    before = model(torch.tensor([[5, 6, 7]])).logits.sum()  # a graph in the making, as the task's loss is
    term(model, 0)
    before.backward()
    assert model.training
    assert all(torch.equal(weight, moved[name]) for name, weight in weights_of(model).items())
