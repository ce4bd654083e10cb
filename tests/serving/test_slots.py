"""Slots against PEFT with one adapter: alone, mixed, after exceptions, after replacement."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from compass_ops.errors import ModelError
from compass_ops.model_files import folder_entry
from compass_ops.serving.slots import BARE, AdapterSlots, _Stack
from compass_ops.training.adapter import attach, detach, new_adapter, save_adapter, set_weights, weights_of
from compass_ops.training.adapter_file import LoraLayer, read_layers
from compass_ops.training.base import load_base
from tests.serving.world import LORA
from tests.tiny_models import ARCHITECTURES, save_tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 9], [9, 8, 7, 6, 5], [4, 4, 4, 4, 4], [10, 20, 30, 40, 50]])
KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "rank stabilised": {"use_rslora": True, "r": 8},
    "patterns": {"rank_pattern": {"o_proj": 2}, "alpha_pattern": {"1.mlp.down_proj": 32}},
    "one layer": {"target_modules": ["o_proj"], "r": 2},
    "dora, rank stabilised": {"use_dora": True, "use_rslora": True},
}


class Fleet:
    """A base, an adapter of each kind on disk, and what PEFT computes with each alone."""

    def __init__(self, root: Path, architecture: str) -> None:
        save_tiny_model(architecture, root / "base")
        self.base = load_base(folder_entry(root / "base", root), root)[0]
        if self.base.model.layers[0].self_attn.o_proj.bias is None and architecture == "qwen2":
            with torch.no_grad():  # a fresh Qwen2 has zero biases, which would hide what DoRA does to them
                for layer in self.base.model.layers:
                    layer.self_attn.q_proj.bias.copy_(torch.randn_like(layer.self_attn.q_proj.bias))
        self.bare = self.logits(self.base)
        self.layers: list[dict[str, LoraLayer]] = []
        self.expected: list[torch.Tensor] = []
        for seed, kind in enumerate(KINDS.values()):
            folder = root / str(seed)
            model = new_adapter(self.base, LORA | kind, seed)
            rng = torch.Generator().manual_seed(seed)
            weights = weights_of(model)
            set_weights(model, {n: w + 0.2 * torch.randn(w.shape, generator=rng) for n, w in weights.items()})
            save_adapter(model, folder / "adapter")
            detach(model)
            alone = attach(self.base, folder / "adapter")
            self.expected.append(self.logits(alone))
            detach(alone)
            self.layers.append(read_layers(folder / "adapter"))

    @staticmethod
    def logits(model: torch.nn.Module) -> torch.Tensor:
        with torch.no_grad():
            return model(input_ids=IDS).logits

    def slots(self) -> AdapterSlots:
        slots = AdapterSlots(self.base, len(self.layers))
        for number, layers in enumerate(self.layers, start=1):
            slots.put(number, layers)
        return slots

    def mixed(self, slots: AdapterSlots, rows: list[int]) -> torch.Tensor:
        with slots.rows(rows) as model:
            return self.logits(model)

    def check(self, slots: AdapterSlots, rows: list[int]) -> None:
        found = self.mixed(slots, rows)
        for row, slot in enumerate(rows):
            expected = self.bare if slot == BARE else self.expected[slot - 1]
            torch.testing.assert_close(found[row], expected[row], atol=2e-5, rtol=1e-5)


@pytest.fixture(params=sorted(ARCHITECTURES))
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, request.param)


@pytest.fixture
def llamas(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, "llama")


def test_every_kind_alone_and_mixed_is_what_peft_computes_alone(fleet: Fleet) -> None:
    slots = fleet.slots()
    for expected in fleet.expected:
        assert not torch.allclose(expected, fleet.bare, atol=1e-2), "an adapter that changes nothing shows nothing"
    for slot in range(1, len(KINDS) + 1):
        fleet.check(slots, [slot] * 4)
    for rows in ([1, 2, 3, 4], [5, 6, 2, 0], [2, 2, 0, 1], [6, 5, 4, 3]):
        fleet.check(slots, rows)


def test_gains_near_one_survive_a_base_in_bf16() -> None:
    """Between 0.998 and 1.0039 bf16 knows 1 alone; most of DoRA's gains lie there."""
    torch.manual_seed(0)
    linear = nn.Linear(8, 6, bias=False).to(torch.bfloat16)
    gain = 1 + 0.003 * torch.randn(6)
    stack = _Stack(linear, 2)
    stack.write(1, torch.zeros(1, 8), torch.zeros(6, 1), gain, torch.zeros(6))
    x = torch.randn(1, 4, 8, dtype=torch.bfloat16)
    found = stack.added(torch.tensor([1]), x, linear(x))
    assert found.dtype is torch.bfloat16
    assert torch.equal(found, (linear(x).float() * gain).to(torch.bfloat16))
    assert not torch.equal(found, linear(x))


def test_rows_of_the_bare_base_are_exact_beside_others(llamas: Fleet) -> None:
    slots = llamas.slots()
    assert torch.equal(llamas.mixed(slots, [BARE] * 4), llamas.bare)
    assert torch.equal(llamas.logits(llamas.base), llamas.bare)
    torch.testing.assert_close(llamas.mixed(slots, [BARE, 1, 2, BARE])[0], llamas.bare[0], atol=1e-6, rtol=0)


@pytest.mark.parametrize("layer", [0, 1])
def test_an_exception_in_a_mixed_batch_leaves_nothing_behind(llamas: Fleet, layer: int) -> None:
    """PEFT's mixed batches fail this: the call after the exception answers with the failed call's adapters."""
    slots = llamas.slots()

    def fail(*_: Any) -> None:
        raise MemoryError("injected")

    broken = llamas.base.model.layers[layer].mlp.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError, match="injected"):
        llamas.mixed(slots, [1, 2, 3, 4])
    broken.remove()
    assert torch.equal(llamas.logits(llamas.base), llamas.bare)
    llamas.check(slots, [4, 3, 2, 1])


def test_a_replaced_adapter_leaves_no_layer_behind(llamas: Fleet) -> None:
    """The new one changes one kind of layer only; the old one changed all, with a higher rank and with gains."""
    slots = llamas.slots()
    for slot in (2, 3, 6):
        slots.put(slot, llamas.layers[4])
        torch.testing.assert_close(llamas.mixed(slots, [slot] * 4), llamas.expected[4], atol=2e-5, rtol=1e-5)
        slots.clear(slot)
        torch.testing.assert_close(llamas.mixed(slots, [slot, 1, 1, 1])[0], llamas.bare[0], atol=1e-6, rtol=0)


def test_an_adapter_that_does_not_fit_leaves_the_slot_as_it_was(llamas: Fleet) -> None:
    slots = llamas.slots()
    wrong = dict(llamas.layers[0])
    wrong["model.layers.1.mlp.down_proj"] = wrong["model.layers.0.self_attn.q_proj"]
    with pytest.raises(ModelError, match=r"model.layers.1.mlp.down_proj must be linear \(32, 32\); it is \(32, 64\)"):
        slots.put(1, wrong)
    with pytest.raises(ModelError, match=r"model.layers.7.x must be linear \(32, 32\); it is NoneType"):
        slots.put(1, {"model.layers.7.x": wrong["model.layers.0.self_attn.q_proj"]})
    llamas.check(slots, [1, 2, 1, 1])


def test_one_batch_at_a_time_and_known_slots(llamas: Fleet) -> None:
    slots = llamas.slots()
    with slots.rows([1, 1, 1, 1]), pytest.raises(RuntimeError, match="one at a time"), slots.rows([2, 2, 2, 2]):
        pass
    with pytest.raises(ValueError, match="There is no slot 7; there are 1 to 6"):
        slots.put(7, llamas.layers[0])
    with pytest.raises(ModelError, match=r"got an input of shape \(4, 5, 32\) for 3 rows"):
        llamas.mixed(slots, [1, 2, 3])
    assert torch.equal(llamas.logits(llamas.base), llamas.bare)


def test_closed_slots_leave_the_base_without_a_hook(llamas: Fleet) -> None:
    slots = llamas.slots()
    assert any(module._forward_hooks for module in llamas.base.modules())
    slots.close()
    assert not any(module._forward_hooks for module in llamas.base.modules())
    assert torch.equal(llamas.mixed(slots, [1, 2, 3, 4]), llamas.bare)
