"""An adapter in the form that serving engines load: plain LoRA of one rank and scaling on the decoder's linear layers.

vLLM computes the scaling from ``r`` and ``lora_alpha`` alone and knows neither DoRA nor ranks by layer. Pure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import pad

from compass_ops.errors import ModelError
from compass_ops.training.adapter_file import LoraLayer

# Linear layers of vLLM's Llama, Mistral, Qwen2, Qwen3 and Phi-3, by the names that they have in transformers.
TAKEN = frozenset(
    {"q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "gate_proj", "up_proj", "gate_up_proj", "down_proj"}
)


@dataclass(frozen=True)
class EngineForm:
    """Content of ``adapter_config.json`` and tensors of ``adapter_model.safetensors``."""

    config: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]

    @property
    def rank(self) -> int:
        """Rank of every layer."""
        return int(self.config["r"])


def check_targets(layers: Mapping[str, LoraLayer]) -> None:
    """Raise ``ModelError`` naming a layer that the engine has no adapters for."""
    strange = sorted(name for name in layers if name.rsplit(".", 1)[-1] not in TAKEN)
    if strange:
        raise ModelError(
            f"{strange[0]} ({len(strange)} such layers): engines take adapters on {', '.join(sorted(TAKEN))} only. "
            "Train without it (train.lora.target_modules)."
        )


def check_rank(layers: Mapping[str, LoraLayer], most: int) -> None:
    """Raise ``ModelError`` if a layer's rank is above the limit that the engine is started with."""
    rank = max(layer.rank for layer in layers.values())
    if rank > most:
        raise ModelError(
            f"the adapter has rank {rank}, the engine is to take at most {most}. Start it with a higher limit "
            f"(vLLM: --max-lora-rank) and export with --max-rank {rank}."
        )


def lora_of_dora(weight: torch.Tensor, layer: LoraLayer, rank: int) -> LoraLayer:
    """Return the LoRA of at most ``rank`` that is nearest to a DoRA layer's change of its weight.

    The change is m (W + s B A) / norm - W, with the norm of each row (arXiv 2402.09353); its best approximation of a
    rank is the truncated singular value decomposition (Eckart-Young), here the randomised one of Halko et al.,
    arXiv 0909.4061, with a fixed seed. ``peft.convert_to_lora`` 0.21 is of no use: it takes s B A for the change and
    leaves the magnitude out.

    Parameters
    ----------
    weight : float (out, in)
        W, of the base.
    layer : LoraLayer
        With a magnitude.
    rank : int >= 1

    Returns
    -------
    LoraLayer
        Scaling 1, on the CPU, in float32.
    """
    if layer.magnitude is None:
        return layer
    base = weight.detach().float().cpu()
    moved = base + layer.scaling * layer.up.float() @ layer.down.float()
    change = (layer.magnitude.float() / torch.linalg.norm(moved, dim=1))[:, None] * moved - base
    kept = min(rank, *change.shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        left, values, right = torch.svd_lowrank(change, q=min(kept + 16, *change.shape), niter=8)
    root = values[:kept].sqrt()
    return LoraLayer((right[:, :kept] * root).T.contiguous(), (left[:, :kept] * root).contiguous(), 1.0, None)


def engine_form(layers: Mapping[str, LoraLayer], served_base: str, own: Mapping[str, Any]) -> EngineForm:
    """Return plain LoRA layers as one config and its tensors.

    Where all layers have one rank and scaling, the tensors are untouched. Where they differ, B takes the scaling and
    zeros fill up to the highest rank.

    Parameters
    ----------
    layers : mapping of layer name to LoraLayer
        Without magnitudes.
    served_base : str
        Name of the base in the engine: vLLM's directory resolver compares it.
    own : mapping
        The adapter's own config: says whether it chooses among layers of one name.
    """
    ranks, scalings = {layer.rank for layer in layers.values()}, {layer.scaling for layer in layers.values()}
    rank = max(ranks)
    alpha: float = rank
    if len(ranks) == len(scalings) == 1:
        alpha = scalings.pop() * rank
        plain = dict(layers)
    else:
        plain = {name: _filled(layer, rank) for name, layer in layers.items()}
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": served_base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "lora_alpha": round(alpha) if math.isclose(alpha, round(alpha), rel_tol=1e-9) else alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "r": rank,
        "target_modules": _targets(layers, own),
        "use_dora": False,
        "use_rslora": False,
    }
    tensors = {}
    for name, layer in plain.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = layer.down.contiguous()
        tensors[f"base_model.model.{name}.lora_B.weight"] = layer.up.contiguous()
    return EngineForm(config, tensors)


def _targets(layers: Mapping[str, LoraLayer], own: Mapping[str, Any]) -> list[str]:
    """Return the layers' last names; where the config chooses among layers of one name, their whole names."""
    chooses = any(own.get(key) for key in ("layers_to_transform", "exclude_modules"))
    if chooses or isinstance(own.get("target_modules"), str):
        return sorted(layers)
    return sorted({name.rsplit(".", 1)[-1] for name in layers})


def _filled(layer: LoraLayer, rank: int) -> LoraLayer:
    missing = rank - layer.rank
    down = pad(layer.down, (0, 0, 0, missing))
    up = pad((layer.up.float() * layer.scaling).to(layer.up.dtype), (0, missing))
    return LoraLayer(down, up, 1.0, None)
