"""What ``mlflow.pyfunc`` loads a registered version with: ``MLmodel`` names this module.

MLflow calls ``_load_pyfunc`` and the returned object's ``predict``; no import of MLflow is needed here.
"""

from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd

from compass_ops.errors import ModelError
from compass_ops.registry.versions import verify_version
from compass_ops.serving.base_folder import base_entry
from compass_ops.serving.generate import AnswerSettings, answers
from compass_ops.training.adapter import attach
from compass_ops.training.base import load_base
from compass_ops.training.version import text_separator

BATCH_TOKENS = 8192  # of one forward pass, answers included


class AdapterModel:
    """A version on its base: a prompt per row in, a text per row out.

    Parameters
    ----------
    folder : Path
        A version folder as it was registered.
    mirror : str or None
        Folder of a local copy of the base; see ``base_folder.base_entry``.

    Raises
    ------
    RegistryError
        Naming a file that is missing, was altered or does not belong in the version.
    ModelError
        If the base is not the one that the adapter was trained on; both digests are named.
    """

    def __init__(self, folder: Path, mirror: str | None) -> None:
        manifest = verify_version(folder)
        self._separator = text_separator(folder, manifest)
        base, self._tokenizer = load_base(base_entry(manifest["base"], mirror), folder)
        self._model = attach(base, folder / "adapter")
        self._one_at_a_time = Lock()  # a scoring server calls from several threads

    def predict(self, model_input: pd.DataFrame, params: Mapping[str, Any]) -> pd.DataFrame:
        """Answer the prompts of column ``prompt``.

        Parameters
        ----------
        model_input : DataFrame (n rows)
        params : mapping
            ``max_tokens``: longest answer in tokens; MLflow fills in the signature's default.

        Returns
        -------
        DataFrame (n rows)
            Column ``text``, under the rows' own index.

        Raises
        ------
        ModelError
            Naming the row whose prompt is empty or too long for the base.
        """
        settings = AnswerSettings(int(params["max_tokens"]), BATCH_TOKENS)
        with self._one_at_a_time:
            texts = answers(self._model, self._tokenizer, model_input["prompt"].tolist(), self._separator, settings)
        return pd.DataFrame({"text": texts}, index=model_input.index)


def _load_pyfunc(path: str, model_config: Mapping[str, Any] | None = None) -> AdapterModel:
    """Load the version in ``path``; ``model_config={"base": folder}`` names a local copy of the base."""
    mirror = (model_config or {}).get("base")
    if mirror is not None and not isinstance(mirror, str):
        raise ModelError(f"model_config: base must be the path of a folder; got {mirror!r}.")
    return AdapterModel(Path(path), mirror)
