"""The only door to PEFT: make, save, attach, detach and interpolate adapters."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import PreTrainedModel

from compass_ops.errors import ModelError
from compass_ops.storage import write_json

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# With any other the base's own weights are changed, and the next adapter is trained on another base.
_INITIAL = (True, False, "gaussian", "orthogonal")
Weights = dict[str, torch.Tensor]
AdaptedModel: TypeAlias = PeftModel  # what the other modules call it


def new_adapter(base: PreTrainedModel, lora: Mapping[str, Any], seed: int) -> AdaptedModel:
    """Put a freshly initialised LoRA or DoRA adapter on the base; its weights alone are trainable.

    Parameters
    ----------
    base : PreTrainedModel
        Frozen; it is changed in place until ``detach``.
    lora : mapping
        Arguments of ``peft.LoraConfig`` as they are (``r``, ``lora_alpha``, ``use_dora``, ``target_modules``, ...).
    seed : int
        Of the initial values.

    Raises
    ------
    ModelError
        If PEFT refuses the settings for this architecture, or the base would not stay as it is.
    """
    torch.manual_seed(seed)
    try:
        config = LoraConfig(task_type="CAUSAL_LM", **lora)
        _check_beside(config)
        return get_peft_model(base, config)
    except (TypeError, ValueError, ModelError) as error:
        raise ModelError(f"params.yaml: train.lora does not fit {type(base).__name__} ({error}).") from error


def _check_beside(config: LoraConfig) -> None:
    """Raise ``ModelError`` unless the adapter leaves the base, which all languages share, as it is."""
    wanted: dict[str, tuple[object, ...]] = {
        "modules_to_save": (None, []),
        "bias": ("none",),
        "init_lora_weights": _INITIAL,
        "layer_replication": (None,),
    }
    for name, allowed in wanted.items():
        if (value := getattr(config, name)) not in allowed:
            listed = ", ".join(str(one) for one in allowed)
            raise ModelError(f"{name} must be one of {listed}, or the base itself is changed; got {value!r}")


def save_adapter(model: AdaptedModel, folder: Path) -> None:
    """Write the adapter's config and weights (safetensors), without paths of this machine."""
    with warnings.catch_warnings():
        # PEFT looks for the base's config on the hub to see whether embeddings were resized; they never are here.
        warnings.simplefilter("ignore", UserWarning)
        model.save_pretrained(folder, safe_serialization=True, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    config["base_model_name_or_path"] = None
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()
    write_json(folder / CONFIG, config)


def attach(base: PreTrainedModel, folder: Path, *, trainable: bool = False) -> AdaptedModel:
    """Put a saved adapter on the base.

    Raises
    ------
    ModelError
        If the folder holds no adapter, or one of another base's shape.
    """
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder}: holds no {WEIGHTS}. Adapters are saved as safetensors by the train stage.")
    try:
        config = LoraConfig.from_pretrained(str(folder))
        config.inference_mode = not trainable
        config.base_model_name_or_path = None  # a name; whether the base fits is told by its digest
        _check_beside(config)
        model = get_peft_model(base, config)
        set_weights(model, load_file(folder / WEIGHTS))
    except (RuntimeError, ValueError, KeyError, ModelError) as error:
        raise ModelError(f"{folder}: the adapter does not fit this base model ({error}).") from error
    if not trainable:
        model.requires_grad_(False)
    return model.eval()


def detach(model: AdaptedModel) -> PreTrainedModel:
    """Take the adapter off and return the untouched base."""
    base = model.unload()
    if hasattr(base, "peft_config"):
        del base.peft_config
    return base.requires_grad_(False).eval()


def weights_of(model: AdaptedModel) -> Weights:
    """Return a copy of the adapter's weights under the names of its safetensors file, in float32 on the CPU."""
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().float().cpu().clone() for name, tensor in state.items()}


def set_weights(model: AdaptedModel, weights: Weights) -> None:
    """Give the adapter these weights; ``ModelError`` if names or shapes differ from its own."""
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    if {name: t.shape for name, t in own.items()} != {name: t.shape for name, t in weights.items()}:
        raise ModelError("its weights have other names or shapes than the layers")
    set_peft_model_state_dict(model, weights)


def trainable_parameters(model: AdaptedModel) -> dict[str, torch.nn.Parameter]:
    """Return the adapter's parameters by the name that ``weights_of`` gives them."""
    return {_saved_name(name): p for name, p in model.named_parameters() if p.requires_grad}


def _saved_name(name: str) -> str:
    """Turn a module's parameter name into its name in the safetensors file, as PEFT writes it."""
    return name.replace(".default", "").replace("lora_magnitude_vector.weight", "lora_magnitude_vector")


def is_magnitude(name: str) -> bool:
    """Tell whether a weight of this name is one of DoRA's magnitude vectors."""
    return name.endswith("lora_magnitude_vector")


def interpolate(old: Weights, new: Weights, alpha: float) -> Weights:
    """Return (1 - alpha) old + alpha new, factor by factor (WiSE-FT, arXiv 2109.01903); exact at both ends.

    For adapters of which ``new`` was continued from ``old``: the path then is the straight line between the two in the
    weights that were trained. It is not the line between the products, whose points have rank 2r: the product
    of the averages is (1 - alpha) B A + alpha B' A' - alpha (1 - alpha) (B' - B)(A' - A), so that what lies between
    departs from that line by the second order of the update. The same holds for DoRA, whose magnitudes are averaged
    too; averaging its products instead is silently wrong.
    """
    if alpha == 1.0:
        return dict(new)
    return {name: torch.lerp(old[name], new[name], alpha) for name in old}
