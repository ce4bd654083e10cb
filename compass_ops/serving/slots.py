"""Many adapters on one base in memory, each in a slot; rows of one batch may use different ones, DoRA included.

PEFT does this with hooks that it adds for each call and, after an exception, leaves behind: the next call then answers
with another adapter. Here the hooks stay and hold nothing; which row uses which slot is one value, set for the time of
a ``with`` block and taken back however the block ends. Loading does not depend on how many adapters there are.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from compass_ops.errors import ModelError
from compass_ops.training.adapter_file import LoraLayer

BARE = 0  # the slot of the base alone


class _Stack:
    """The slots of one linear layer, slot 0 neutral.

    Attributes
    ----------
    down : (slots, r, in), up : (slots, out, r)
        Zero rows fill up to the highest rank; ``up`` has the scaling, and DoRA's gain, in it.
    gain, shift : (slots, out)
        The layer's own output is taken times ``gain`` plus ``shift``: DoRA scales Wx and not the bias. In float32:
        most gains lie so near to 1 that bf16 would lose them.
    """

    def __init__(self, linear: nn.Linear, slots: int) -> None:
        weight = linear.weight.detach()
        self.down = weight.new_zeros(slots, 0, linear.in_features)
        self.up = weight.new_zeros(slots, linear.out_features, 0)
        self.gain = weight.new_ones(slots, linear.out_features, dtype=torch.float32)
        self.shift = weight.new_zeros(slots, linear.out_features, dtype=torch.float32)
        self.scaled = False  # whether any slot has a gain

    def write(self, slot: int, down: torch.Tensor, up: torch.Tensor, gain: torch.Tensor, shift: torch.Tensor) -> None:
        missing = down.shape[0] - self.down.shape[1]
        if missing > 0:
            self.down = nn.functional.pad(self.down, (0, 0, 0, missing))
            self.up = nn.functional.pad(self.up, (0, missing))
        self.down[slot, : down.shape[0]] = down
        self.up[slot, :, : up.shape[1]] = up
        self.gain[slot], self.shift[slot] = gain, shift
        self._look()

    def clear(self, slot: int) -> None:
        self.down[slot], self.up[slot], self.gain[slot], self.shift[slot] = 0, 0, 1, 0
        self._look()

    def _look(self) -> None:
        self.scaled = bool((self.gain != 1).any() or (self.shift != 0).any())

    def added(self, slots: torch.Tensor, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        low = torch.matmul(x, self.down[slots].transpose(1, 2))
        change = torch.matmul(low, self.up[slots].transpose(1, 2))
        if not self.scaled:
            return output + change
        scaled = output * self.gain[slots][:, None] + self.shift[slots][:, None]
        return (scaled + change).to(output.dtype)


class AdapterSlots:
    """A base with a fixed number of slots for adapters.

    Parameters
    ----------
    base : PreTrainedModel
        Frozen, in eval mode. Hooks are added to the layers that adapters change; ``close`` takes them off.
    slots : int
        Adapters that it can hold, >= 1; they are numbered from 1.
    """

    def __init__(self, base: PreTrainedModel, slots: int) -> None:
        self.base = base
        self.slots = slots
        self._stacks: dict[str, _Stack] = {}
        self._hooks: list[Any] = []
        self._rows: tuple[int, torch.Tensor] | None = None  # rows of the batch, and their slots

    @torch.no_grad()
    def put(self, slot: int, layers: Mapping[str, LoraLayer]) -> None:
        """Replace what a slot holds with an adapter.

        Raises
        ------
        ModelError
            If the adapter does not fit the base; the slot is then as it was.
        """
        if not 1 <= slot <= self.slots:
            raise ValueError(f"There is no slot {slot}; there are 1 to {self.slots}.")
        fitted = {name: _fitted(self._linear(name, layer), layer) for name, layer in layers.items()}
        self.clear(slot)
        for name, tensors in fitted.items():
            self._stack(name).write(slot, *tensors)

    def clear(self, slot: int) -> None:
        """Empty a slot: rows that use it are answered by the base alone."""
        for stack in self._stacks.values():
            stack.clear(slot)

    @contextmanager
    def rows(self, slots: Sequence[int]) -> Iterator[PreTrainedModel]:
        """Within the block, row i of every batch given to the base is computed with the adapter in ``slots[i]``."""
        if self._rows is not None:
            raise RuntimeError("Another batch is being computed on this base: one at a time.")
        # One slot for all rows is broadcast rather than copied for each.
        distinct = list(slots) if len(set(slots)) > 1 else list(slots)[:1]
        if distinct != [BARE]:
            self._rows = len(slots), torch.tensor(distinct, device=self.base.device)
        try:
            yield self.base
        finally:
            self._rows = None

    def close(self) -> None:
        """Take the hooks off; the base is what it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._stacks = [], {}

    def _linear(self, name: str, layer: LoraLayer) -> nn.Linear:
        try:
            linear = self.base.get_submodule(name)
        except AttributeError:
            linear = None
        shape = (layer.up.shape[0], layer.down.shape[1])
        if not isinstance(linear, nn.Linear) or tuple(linear.weight.shape) != shape:
            found = tuple(linear.weight.shape) if isinstance(linear, nn.Linear) else type(linear).__name__
            raise ModelError(f"The adapter does not fit this base model: {name} must be linear {shape}; it is {found}.")
        return linear

    def _stack(self, name: str) -> _Stack:
        if name not in self._stacks:
            linear = self.base.get_submodule(name)
            stack = self._stacks[name] = _Stack(linear, self.slots + 1)

            def hook(_: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
                return output if self._rows is None else self._added(name, stack, inputs[0], output)

            self._hooks.append(linear.register_forward_hook(hook))
        return self._stacks[name]

    def _added(self, name: str, stack: _Stack, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        rows, slots = self._rows or (0, torch.empty(0))
        if x.dim() != 3 or x.shape[0] != rows:
            raise ModelError(
                f"{name}: got an input of shape {tuple(x.shape)} for {rows} rows. A base that mixes a batch's rows "
                "in a linear layer cannot hold several adapters."
            )
        return stack.added(slots, x, output)


def _fitted(linear: nn.Linear, layer: LoraLayer) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return down, up, gain and shift of one layer in float32 on the base's device.

    DoRA: with g = m / norm of the rows of (W + scaling B A), y = g (Wx + scaling B A x) + bias.
    """
    device = linear.weight.device
    down, up = layer.down.float().to(device), layer.up.float().to(device) * layer.scaling
    gain = torch.ones(linear.out_features, device=device)
    if layer.magnitude is not None:
        gain = layer.magnitude.float().to(device) / torch.linalg.norm(linear.weight.float() + up @ down, dim=1)
    bias = torch.zeros_like(gain) if linear.bias is None else linear.bias.float()
    return down, up * gain[:, None], gain, bias * (1 - gain)
