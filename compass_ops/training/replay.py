"""Distribution-anchored replay: which past examples to keep, and the loss on them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy, kl_div

from compass_ops.training.adapter import AdaptedModel, Weights, trainable_parameters
from compass_ops.training.batches import Example, collate
from compass_ops.training.loss import completion_logits
from compass_ops.training.train import LossTerm


@dataclass(frozen=True)
class Anchors:
    """Rows to keep: int64 (m,) sorted row numbers, and float64 (m,) how many rows of the history each stands for."""

    rows: NDArray[np.int64]
    stands_for: NDArray[np.float64]


def choose_anchors(
    strata: NDArray[np.int64], stands_for: NDArray[np.float64], size: int, rng: np.random.Generator
) -> Anchors:
    """Choose rows to keep by systematic sampling through the strata, each with a chance in proportion to its weight.

    Madow 1949 (Annals of Mathematical Statistics 20): rows are laid end to end in the order of their strata, and every
    W/size-th place from a random start on is drawn. So each stratum without heavy rows has the whole number below or
    above its share of the history, on average exactly its share, also where strata are more than anchors. A row that
    was kept before stands for many of the history, so that what was learned long ago keeps its share.

    Parameters
    ----------
    strata : int64 (n,)
        Stratum of each row at hand, such as its cluster and language as one number; neighbours are alike.
    stands_for : float64 (n,), > 0
        Rows of the history that each stands for; 1 for a new one.
    size : int
        How many to keep; all if n <= size. A row heavier than the interval is kept with the weight it has; the others
        kept stand for an equal part of the rest each.
    rng : numpy.random.Generator
    """
    if len(strata) <= size:
        return Anchors(np.arange(len(strata)), stands_for.copy())
    heavy, interval = _heavy(stands_for, size)
    order = np.lexsort((rng.random(len(strata)), strata))
    line = order[~heavy[order]]
    places = (rng.random() + np.arange(size - int(heavy.sum()))) * interval
    drawn = np.searchsorted(stands_for[line].cumsum(), places, side="right")
    rows = np.sort(np.concatenate([np.flatnonzero(heavy), line[np.minimum(drawn, len(line) - 1)]]))
    return Anchors(rows, np.where(heavy, stands_for, interval)[rows])


def calibrated(anchors: Anchors, clusters: NDArray[np.int64], stands_for: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return float64 (m,): the anchors' weights, scaled so that each cluster's sum is what it is in the history.

    Clusters smaller than an anchor's part of the history are taken together: one that happens to be drawn stands for
    those that were not. Only where none of them was drawn do the others take their weight.

    Parameters
    ----------
    anchors : Anchors
        Chosen among the rows at hand.
    clusters : int64 (n,)
        Cluster of each row at hand.
    stands_for : float64 (n,), > 0
        As for ``choose_anchors``.
    """
    sizes = np.bincount(clusters, stands_for)
    groups = np.where(sizes[clusters] >= stands_for.sum() / len(anchors.rows), clusters, len(sizes))
    kept, history = groups[anchors.rows], np.bincount(groups, stands_for)
    drawn = np.bincount(kept, anchors.stands_for, len(history))
    weights = (anchors.stands_for * history[kept]) / drawn[kept]
    return np.asarray(weights * stands_for.sum() / weights.sum())


def _heavy(weights: NDArray[np.float64], size: int) -> tuple[NDArray[np.bool_], float]:
    """Return bool (n,), which rows weigh as much as an interval or more, and the interval of the others."""
    heavy = np.zeros(len(weights), np.bool_)
    while True:
        interval = float(weights[~heavy].sum()) / (size - int(heavy.sum()))
        more = ~heavy & (weights >= interval)
        if not more.any():
            return heavy, interval
        heavy |= more


def weighted_sample(weights: NDArray[np.float64], size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw ``size`` of n rows without replacement, each draw in proportion to the weights left (all if n <= size).

    Exponential keys, Efraimidis and Spirakis 2006. Returns sorted row numbers, int64.
    """
    return np.sort(np.argsort(rng.exponential(size=len(weights)) / weights)[:size])


def divergence(new: torch.Tensor, old: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return tau^2 x the mean over tokens of KL(p_old || p_new) at temperature tau, in nats.

    Hinton et al. 2015 (arXiv 1503.02531): the factor keeps the gradient's size whatever tau.

    Parameters
    ----------
    new, old : float (tokens, vocabulary)
        Logits; ``old`` bears no gradient.
    temperature : float, > 0
    """
    student, teacher = ((logits.float() / temperature).log_softmax(-1) for logits in (new, old))
    return temperature**2 * kl_div(student, teacher, reduction="batchmean", log_target=True)


@dataclass(frozen=True)
class Replay:
    """What is replayed, and how.

    Attributes
    ----------
    examples : sequence of Example
        The anchors, not empty.
    pad_id : int
    strength : float
        beta, >= 0.
    rows : int
        Anchors per batch, >= 1; a step of several batches replays different ones in each.
    seed : int
        Of their order.
    """

    examples: Sequence[Example]
    pad_id: int
    strength: float
    rows: int
    seed: int

    def batch(self, number: int) -> list[Example]:
        """Return a batch's anchors: part of a permutation drawn for that pass, so that a resumed run sees the same."""
        size = min(self.rows, len(self.examples))
        turn, place = divmod(number, len(self.examples) // size)
        order = np.random.default_rng((self.seed, turn)).permutation(len(self.examples))
        return [self.examples[row] for row in order[place * size : (place + 1) * size]]


def replay_term(replay: Replay, model: AdaptedModel, parent: Weights, temperature: float | None) -> LossTerm:
    """Return beta x (cross entropy + tau^2 KL(parent || model)) on a batch of anchors (L_DAR of arXiv 2604.20720).

    Both are means over the completions' tokens. The divergence (DER++, arXiv 2004.07211) is this project's; with
    ``temperature`` None the cross entropy stands alone, as in the paper. The parent answers through the same model,
    whose adapter has the parent's weights meanwhile: no second model, and no table of the vocabulary's size, is kept.
    """
    parameters = trainable_parameters(model)
    device = next(iter(parameters.values())).device
    old = {name: parent[name].to(device, parameter.dtype) for name, parameter in parameters.items()}

    def term(model: nn.Module, number: int) -> torch.Tensor:
        batch = {name: tensor.to(device) for name, tensor in collate(replay.batch(number), replay.pad_id).items()}
        logits, targets = completion_logits(model, batch)
        loss = cross_entropy(logits, targets)
        if temperature is None:
            return replay.strength * loss
        with torch.no_grad(), _at(model, parameters, old):
            teacher, _ = completion_logits(model, batch)
        return replay.strength * (loss + divergence(logits, teacher, temperature))

    return term


@contextmanager
def _at(model: nn.Module, parameters: dict[str, nn.Parameter], weights: Weights) -> Iterator[None]:
    """Within the block the adapter has these weights and no dropout; the tensors of a graph in the making stay."""
    training, own = model.training, {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = weights[name]
        model.eval()
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = own[name]
        model.train(training)
