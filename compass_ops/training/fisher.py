"""The exact diagonal of the empirical Fisher information of an adapter, a batch of examples at a time.

Gradients per example come from one forward and one backward pass: in a linear layer the gradient of an example is
the product of what went in and what came back, so hooks on the adapter's layers see all that is needed. The square
of a batch's gradient is another quantity, smaller by the batch size near an optimum (METHOD.md 3.1).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from compass_ops.errors import ModelError
from compass_ops.training.adapter import AdaptedModel, Weights, is_magnitude, trainable_parameters
from compass_ops.training.batches import Example, collate
from compass_ops.training.loss import completion_loss

# (what came back: float (B, ..., out), the layer's call) -> gradient of each example (B, *weight.shape)
_Rule = Callable[[torch.Tensor, "_Call"], torch.Tensor]


class _Call:
    """One call of a layer: its positional and named arguments, its result."""

    def __init__(self, layer: nn.Module, arguments: tuple[Any, ...], named: Mapping[str, Any], result: torch.Tensor):
        self.layer, self.arguments, self.named, self.result = layer, arguments, named, result.detach()


def fisher_diagonal(model: AdaptedModel, examples: Sequence[Example], pad_id: int, batch_rows: int) -> Weights:
    """Return the diagonal of the empirical Fisher information of the adapter's weights.

    F_i = mean over examples of (d log p(completion | prompt) / d theta_i)^2, gradients per example (Kirkpatrick et
    al. 2017, arXiv 1612.00796, with the observed completion for y: the "empirical" Fisher). The result does not
    depend on ``batch_rows`` but for rounding. The model must be in eval mode: dropout would be part of a gradient.

    Parameters
    ----------
    model : AdaptedModel
        With a LoRA or DoRA adapter on linear layers.
    examples : sequence of Example, not empty
    pad_id : int
    batch_rows : int, >= 1

    Returns
    -------
    dict of name to float32 tensor, the shapes of the adapter's weights; values >= 0.

    Raises
    ------
    ModelError
        If a trainable weight belongs to a layer that has no rule here, or is used twice in one pass.
    """
    parameters = trainable_parameters(model)
    names = {id(parameter): name for name, parameter in parameters.items()}
    totals = {name: torch.zeros_like(parameter, dtype=torch.float32) for name, parameter in parameters.items()}
    device = next(iter(parameters.values())).device
    ordered = sorted(examples, key=lambda example: len(example.input_ids))  # little padding
    with _hooked(model, names, totals) as new_pass:
        for start in range(0, len(ordered), batch_rows):
            batch = collate(ordered[start : start + batch_rows], pad_id)
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            new_pass()
            completion_loss(model, batch).backward()
    return {name: (total / len(examples)).cpu() for name, total in totals.items()}


def check_layers(model: AdaptedModel) -> None:
    """Raise ``ModelError`` for an adapter that ``fisher_diagonal`` would refuse: before it is trained, not after."""
    _layers(model, {id(parameter): name for name, parameter in trainable_parameters(model).items()})


@contextmanager
def _hooked(model: AdaptedModel, names: Mapping[int, str], totals: Weights) -> Iterator[Callable[[], None]]:
    """Let the adapter's layers add squared gradients to ``totals``; yields what is called before each pass.

    Within the block the adapter's weights ask for no gradient of their own, which would cost a product per layer for
    nothing; the embedded tokens do, so that one flows through all layers.
    """
    seen: set[str] = set()
    embedding = model.get_input_embeddings()
    with ExitStack() as stack:
        for layer, parameter, rule in _layers(model, names):
            hook = _hook(names[id(parameter)], rule, totals, seen)
            stack.enter_context(layer.register_forward_hook(hook, with_kwargs=True))
            stack.callback(parameter.requires_grad_, True)
            parameter.requires_grad_(False)
        stack.enter_context(embedding.register_forward_hook(lambda _, __, result: result.requires_grad_(True)))
        yield seen.clear


def _layers(model: AdaptedModel, names: Mapping[int, str]) -> list[tuple[nn.Module, nn.Parameter, _Rule]]:
    found: list[tuple[nn.Module, nn.Parameter, _Rule]] = []
    for layer in model.modules():
        for parameter in layer.parameters(recurse=False):
            if id(parameter) not in names:
                continue
            rule = _rule(layer, parameter, names[id(parameter)])
            if rule is None:
                raise ModelError(
                    f"{names[id(parameter)]}: the Fisher diagonal is exact for the weights of LoRA and DoRA on linear "
                    f"layers; this one belongs to a {type(layer).__name__}. Choose other train.lora.target_modules."
                )
            found.append((layer, parameter, rule))
    return found


def _rule(layer: nn.Module, parameter: nn.Parameter, name: str) -> _Rule | None:
    if is_magnitude(name):
        return _magnitude
    return _linear if isinstance(layer, nn.Linear) and parameter is layer.weight else None


def _hook(name: str, rule: _Rule, totals: Weights, seen: set[str]) -> Callable[..., None]:
    def on_forward(layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], result: torch.Tensor) -> None:
        if not result.requires_grad:
            return  # DoRA sends a unit matrix through A and B for the norm, which bears no gradient
        call = _Call(layer, arguments, named, result)

        def on_backward(gradient: torch.Tensor) -> None:
            if name in seen:
                raise ModelError(f"{name}: is used twice in one pass; the Fisher diagonal would not be exact.")
            seen.add(name)
            totals[name] += rule(gradient, call).float().square_().sum(0)

        result.register_hook(on_backward)

    return on_forward


def _linear(gradient: torch.Tensor, call: _Call) -> torch.Tensor:
    """W x: the outer product of what came back and what went in, summed over the tokens."""
    # A base in bf16 gives gradients of another type than what PEFT sends into A.
    return torch.einsum("bto,bti->boi", gradient.float(), call.arguments[0].float())


def _magnitude(gradient: torch.Tensor, call: _Call) -> torch.Tensor:
    """DoRA's m: y = (m / n - 1) W x + m / n B A x with a norm n that bears no gradient, so dy / dm = (y + W x) / m."""
    unadapted, bias = call.named["base_result"], call.named["base_layer"].bias
    if bias is not None:
        unadapted = unadapted - bias
    # Element by element: einsum would make a batched product of every output by itself, six times as slow.
    summed = (call.result.float() + unadapted.detach().float()).mul_(gradient).sum(dim=1)
    return summed / call.layer.get_parameter("weight")
