"""Elastic weight consolidation on an adapter: the normalised Fisher diagonal and the quadratic penalty."""

from collections.abc import Mapping

import torch
from torch import nn

from compass_ops.training.adapter import AdaptedModel, Weights, trainable_parameters
from compass_ops.training.train import LossTerm


def normalised(fisher: Mapping[str, torch.Tensor]) -> Weights:
    """Scale the diagonal to mean 1 over all weights, so that lambda means the same for every language.

    A departure from METHOD 3.1, which scales each group of modules by itself: what one group is worth beside another
    stays as measured. Not compared.
    """
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
    fisher : its Fisher diagonal, same names and shapes; normalised, or as it is in the paper's method.
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
