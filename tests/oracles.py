"""Slow and obvious versions of what the library does fast."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from compass_ops.training.adapter import AdaptedModel, Weights, trainable_parameters
from compass_ops.training.batches import Example

FloatArray = NDArray[np.float64]


def jensen_shannon(first: FloatArray, second: FloatArray) -> float:
    """Jensen-Shannon divergence of two histograms in nats, term by term."""
    p, q = first / first.sum(), second / second.sum()
    total = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        total += (a * np.log(a / middle) if a > 0 else 0) / 2 + (b * np.log(b / middle) if b > 0 else 0) / 2
    return float(total)


def squared_mmd(first: NDArray[np.float32], second: NDArray[np.float32], frequencies: NDArray[np.float32]) -> float:
    """Squared MMD under the kernel mean of cos(w (x - y)) over the frequencies, all pairs one by one."""

    def mean_kernel(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
        return float(np.mean([[np.cos((x - y) @ frequencies).mean() for y in right] for x in left]))

    return mean_kernel(first, first) + mean_kernel(second, second) - 2 * mean_kernel(first, second)


def step_down(statistics: FloatArray) -> list[float]:
    """Westfall and Young's step-down max-T, hypothesis by hypothesis."""
    scaled = [(row - row.mean()) / row.std() for row in statistics]
    remaining = sorted(range(len(scaled)), key=lambda row: -scaled[row][0])
    adjusted, largest = [0.0] * len(scaled), 0.0
    while remaining:
        best = remaining[0]
        reached = 0
        for column in range(1, statistics.shape[1]):
            reached += max(scaled[row][column] for row in remaining) >= scaled[best][0]
        largest = max(largest, (1 + reached) / statistics.shape[1])
        adjusted[best] = largest
        remaining.pop(0)
    return adjusted


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, by their definition."""
    order = sorted(range(len(p)), key=lambda row: p[row])
    return [
        min(1.0, max((len(p) - place) * p[order[place]] for place in range(order.index(row) + 1)))
        for row in range(len(p))
    ]


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's adjusted p-values, by their definition."""
    order = sorted(range(len(p)), key=lambda row: p[row])
    return [
        min(1.0, min(len(p) / (place + 1) * p[order[place]] for place in range(order.index(row), len(p))))
        for row in range(len(p))
    ]


def fisher_diagonal(model: AdaptedModel, examples: Sequence[Example]) -> Weights:
    """Mean of squared gradients of the completion's log-likelihood, one example and one backward pass at a time."""
    parameters = trainable_parameters(model)
    total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for example in examples:
        logits = model(torch.tensor([example.input_ids])).logits[0].log_softmax(-1)
        answer = range(max(1, example.prompt_tokens), len(example.input_ids))
        log_likelihood = torch.stack([logits[place - 1, example.input_ids[place]] for place in answer]).sum()
        gradients = torch.autograd.grad(log_likelihood, list(parameters.values()))
        for name, gradient in zip(parameters, gradients, strict=True):
            total[name] += gradient**2 / len(examples)
    return {name: tensor.detach() for name, tensor in total.items()}


def replay_loss(
    model: torch.nn.Module, parent: torch.nn.Module, examples: Sequence[Example], temperature: float | None
) -> torch.Tensor:
    """Cross entropy and tau^2 KL(parent || model), token by token, means over all completions' tokens."""
    losses = []
    for example in examples:
        ids = torch.tensor([example.input_ids])
        own, old = model(ids).logits[0], parent(ids).logits[0].detach()
        for place in range(example.prompt_tokens, len(example.input_ids)):
            loss = -own[place - 1].log_softmax(-1)[example.input_ids[place]]
            if temperature is not None:
                p, q = ((logits[place - 1] / temperature).softmax(-1) for logits in (old, own))
                loss = loss + temperature**2 * (p * (p / q).log()).sum()
            losses.append(loss)
    return torch.stack(losses).mean()
