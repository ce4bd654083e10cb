"""A saved adapter as plain tensors, read without PEFT and without a base: for serving and for export."""

import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from compass_ops.errors import ModelError
from compass_ops.storage import read_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_TENSOR = re.compile(r"base_model\.model\.(.+)\.(lora_A\.weight|lora_B\.weight|lora_magnitude_vector)")
# Settings that change what the same tensors compute; PEFT alone knows how.
_OTHER_METHODS = (
    "alora_invocation_tokens",
    "fan_in_fan_out",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "use_bdlora",
    "use_qalora",
    "velora_config",
)


@dataclass(frozen=True)
class LoraLayer:
    """What an adapter adds to one linear layer: y = Wx + scaling B A x (arXiv 2106.09685).

    Attributes
    ----------
    down : float (r, in)
        A.
    up : float (out, r)
        B.
    scaling : float
        alpha / r, or alpha / sqrt(r) with rank stabilisation (arXiv 2312.03732).
    magnitude : float (out,) or None
        m of DoRA (arXiv 2402.09353), whose weight is m (W + scaling B A) / norm of each of its rows.
    """

    down: torch.Tensor
    up: torch.Tensor
    scaling: float
    magnitude: torch.Tensor | None

    @property
    def rank(self) -> int:
        """Rank of the layer's update before DoRA's norm."""
        return int(self.down.shape[0])


def read_layers(folder: Path) -> dict[str, LoraLayer]:
    """Read a saved adapter: layers by the name that they have in the base.

    Raises
    ------
    ModelError
        If the adapter is more than LoRA or DoRA on linear layers, or its tensors are damaged; names what is wrong.
    """
    config = read_json(folder / CONFIG)
    other = [name for name in _OTHER_METHODS if config.get(name)]
    other += ["peft_type"] if config.get("peft_type") != "LORA" else []
    other += ["bias"] if config.get("bias") != "none" else []
    if other:
        named = ", ".join(f"{name} = {config.get(name)!r}" for name in other)
        raise ModelError(
            f"{folder / CONFIG}: must be plain LoRA or DoRA on linear layers; got {named}. Load it alone, through "
            "mlflow.pyfunc, or train it without."
        )
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder / WEIGHTS}: cannot be read ({error}). Fetch the version again.") from error
    parts: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None:
            raise ModelError(f"{folder / WEIGHTS}: holds {name}, which is no part of LoRA or DoRA on a linear layer.")
        parts[match[1]][match[2]] = tensor
    return {name: _layer(f"{folder / WEIGHTS}: {name}", name, found, config) for name, found in sorted(parts.items())}


def _layer(place: str, name: str, found: Mapping[str, torch.Tensor], config: Mapping[str, Any]) -> LoraLayer:
    down, up, magnitude = (found.get(part) for part in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector"))
    if down is None or up is None or down.shape[0] != up.shape[-1] or (magnitude is None) == bool(config["use_dora"]):
        shapes = {part: tuple(tensor.shape) for part, tensor in found.items()}
        raise ModelError(f"{place}: must have A (r, in), B (out, r) and with DoRA a magnitude; got {shapes}.")
    rank = int(down.shape[0])
    alpha = float(_for_layer(config.get("alpha_pattern") or {}, name, config["lora_alpha"]))
    return LoraLayer(down, up, alpha / (math.sqrt(rank) if config["use_rslora"] else rank), magnitude)


def _for_layer(patterns: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return the value of the first pattern that matches the end of a layer's name, as PEFT does."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", name)), default)
