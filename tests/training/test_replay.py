"""Anchors by hand-computed quotas; the replay term's batches repeat with the step."""

import numpy as np
import torch
from torch import nn

from compass_ops.training.batches import Example
from compass_ops.training.replay import choose_anchors, replay_term


def test_each_cluster_keeps_its_share() -> None:
    clusters = np.repeat(np.array([0, 1, 2], np.int32), [50, 30, 20])
    kept = choose_anchors(clusters, 10, np.random.default_rng(0))
    assert np.bincount(clusters[kept]).tolist() == [5, 3, 2]
    assert kept.tolist() == sorted(set(kept.tolist()))


def test_remainders_go_to_the_largest_fractions() -> None:
    clusters = np.repeat(np.array([0, 1, 2], np.int32), [5, 3, 2])  # exact quotas of 4: 2.0, 1.2, 0.8
    kept = choose_anchors(clusters, 4, np.random.default_rng(0))
    assert np.bincount(clusters[kept]).tolist() == [2, 1, 1]


def test_a_small_history_is_kept_whole() -> None:
    assert choose_anchors(np.zeros(3, np.int32), 64, np.random.default_rng(0)).tolist() == [0, 1, 2]


class Recorder(nn.Module):
    """Records the first token of each row it is given, and returns a loss of 2."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: list[list[int]] = []

    def forward(self, input_ids: torch.Tensor, **_: torch.Tensor) -> object:
        self.seen.append(sorted(input_ids[:, 0].tolist()))
        return type("Output", (), {"loss": torch.tensor(2.0)})


def test_every_anchor_is_replayed_once_per_pass_and_a_step_always_has_its_batch() -> None:
    model = Recorder()
    term = replay_term([Example([n, 1], 0) for n in range(6)], pad_id=0, strength=0.5, batch_rows=2, seed=4)
    assert [term(model, step).item() for step in (0, 1, 2)] == [1.0, 1.0, 1.0]
    assert sorted(token for batch in model.seen for token in batch) == list(range(6))
    term(model, 1)
    assert model.seen[3] == model.seen[1]
