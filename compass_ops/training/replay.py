"""Distribution-anchored replay: which past examples to keep, and the loss on them."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from compass_ops.training.batches import Example, collate
from compass_ops.training.train import LossTerm


def choose_anchors(clusters: NDArray[np.int32], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Choose rows to keep, each cluster in proportion to its rows (largest remainder), at random inside it.

    Parameters
    ----------
    clusters : int32 (n,)
        Cluster of each row that the adapter was trained on.
    size : int
        How many to keep; all if n <= size.
    rng : numpy.random.Generator

    Returns
    -------
    int64 (min(size, n),), sorted row numbers.
    """
    if len(clusters) <= size:
        return np.arange(len(clusters))
    labels, counts = np.unique(clusters, return_counts=True)
    exact = counts * size / len(clusters)
    quotas = np.floor(exact).astype(int)
    quotas[np.argsort(quotas - exact, kind="stable")[: size - quotas.sum()]] += 1
    chosen = [
        rng.choice(np.flatnonzero(clusters == label), quota, replace=False)
        for label, quota in zip(labels, quotas, strict=True)
    ]
    return np.sort(np.concatenate(chosen))


def replay_term(examples: Sequence[Example], pad_id: int, strength: float, batch_rows: int, seed: int) -> LossTerm:
    """Return strength x the mean completion loss on a batch of anchors (L_DAR of arXiv 2604.20720).

    Step s takes its batch from a permutation of the anchors drawn for that pass: a resumed run sees the same ones.
    """
    per_pass = max(1, len(examples) // batch_rows)

    def term(model: nn.Module, step: int) -> torch.Tensor:
        turn, place = divmod(step, per_pass)
        order = np.random.default_rng((seed, turn)).permutation(len(examples))
        rows = order[place * batch_rows : (place + 1) * batch_rows]
        device = next(model.parameters()).device
        batch = {name: t.to(device) for name, t in collate([examples[row] for row in rows], pad_id).items()}
        return strength * model(**batch).loss

    return term
