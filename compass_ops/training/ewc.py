"""Elastic weight consolidation on an adapter: the Fisher diagonal and the quadratic penalty."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from compass_ops.training.adapter import AdaptedModel, Weights, trainable_parameters
from compass_ops.training.batches import Example, collate
from compass_ops.training.train import LossTerm


def fisher_diagonal(model: AdaptedModel, examples: Sequence[Example], pad_id: int) -> Weights:
    """Estimate the diagonal of the empirical Fisher information of the adapter's weights.

    F_i = mean over examples of (d log p(completion | prompt) / d theta_i)^2, gradients per example
    (Kirkpatrick et al. 2017, arXiv 1612.00796, with the observed completion for y: the "empirical" Fisher).

    Returns
    -------
    dict of name to float32 tensor, the shapes of the adapter's weights; values >= 0.
    """
    parameters = trainable_parameters(model)
    totals = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    device = next(iter(parameters.values())).device
    for example in examples:
        batch = {name: tensor.to(device) for name, tensor in collate([example], pad_id).items()}
        scored = (batch["labels"][:, 1:] >= 0).sum()
        log_likelihood = -model(**batch).loss * scored
        gradients = torch.autograd.grad(log_likelihood, list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            totals[name] += gradient.float() ** 2
    return {name: (total / len(examples)).cpu() for name, total in totals.items()}


def normalised(fisher: Mapping[str, torch.Tensor]) -> Weights:
    """Scale the diagonal to mean 1 over all weights, so that lambda means the same for every language."""
    total = sum(float(tensor.sum()) for tensor in fisher.values())
    count = sum(tensor.numel() for tensor in fisher.values())
    return {name: tensor * (count / total) if total > 0 else tensor for name, tensor in fisher.items()}


def ewc_term(model: AdaptedModel, anchor: Weights, fisher: Weights, strength: float) -> LossTerm:
    """Return strength x sum_i F_i / 2 (theta_i - theta*_i)^2 (METHOD: L_EWC of arXiv 2604.20720).

    Parameters
    ----------
    model : AdaptedModel
        Whose trainable adapter is penalised.
    anchor : weights of the parent adapter, theta*.
    fisher : its normalised Fisher diagonal, same names and shapes.
    strength : float
        lambda, >= 0.
    """
    parameters = trainable_parameters(model)
    device = next(iter(parameters.values())).device
    anchors = {name: tensor.to(device) for name, tensor in anchor.items()}
    fishers = {name: tensor.to(device) for name, tensor in fisher.items()}

    def term(_: nn.Module, __: int) -> torch.Tensor:
        penalties = [(fishers[name] * (p - anchors[name]) ** 2).sum() for name, p in parameters.items()]
        return strength / 2 * torch.stack(penalties).sum()

    return term
