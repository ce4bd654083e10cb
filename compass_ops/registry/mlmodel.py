"""MLflow's ``MLmodel`` file of a version: what lets ``mlflow.pyfunc`` load and serve it. Pure.

MLflow reads it as YAML, of which JSON is a part. It names an installed module that loads the version: no pickle, and
no code in the version itself.
"""

import json
from typing import Any

from compass_ops.errors import RegistryError

LOADER = "compass_ops.serving.pyfunc"
DEFAULT_ANSWER_TOKENS = 64  # stands in the signature, for callers that give no max_tokens
_FLAVOR = "python_function"
_KEYS = frozenset({"loader_module", "config"})  # others name code, pickles or environments


def mlmodel() -> dict[str, Any]:
    """Return the file's content, the same for every version: a prompt per row in, a text per row out."""
    inputs = [{"name": "prompt", "type": "string", "required": True}]
    outputs = [{"name": "text", "type": "string", "required": True}]
    params = [{"name": "max_tokens", "type": "long", "default": DEFAULT_ANSWER_TOKENS, "shape": None}]
    return {
        # MLflow passes on only those of `model_config` that stand in `config`.
        "flavors": {_FLAVOR: {"loader_module": LOADER, "config": {"base": None}}},
        "signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs), "params": json.dumps(params)},
    }


def check_mlmodel(place: str, content: Any) -> None:
    """Refuse an ``MLmodel`` that would have MLflow load something else, such as a pickled model or code beside it.

    Parameters
    ----------
    place : str
        Where it lies, for the error.
    content : JSON value

    Raises
    ------
    RegistryError
    """
    flavors = content.get("flavors") if isinstance(content, dict) else None
    flavor = flavors.get(_FLAVOR) if isinstance(flavors, dict) and len(flavors) == 1 else None
    if not isinstance(flavor, dict) or flavor.get("loader_module") != LOADER or not flavor.keys() <= _KEYS:
        raise RegistryError(
            f"{place}: must name the loader {LOADER} and nothing else; got flavors {json.dumps(flavors)[:200]}. "
            "Fetch the version again, or restore it from a backup."
        )
