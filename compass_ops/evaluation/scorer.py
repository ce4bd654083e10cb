"""Scores of a model on items, remembered by content: unchanged model, unchanged items, no forward pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.errors import DataFault, ModelError
from compass_ops.evaluation.metrics import FloatArray
from compass_ops.evaluation.score import SCORER_VERSION, ScoreSettings, UnscorableError, score_choices
from compass_ops.model_files import ModelEntry
from compass_ops.storage import read_json, read_table, value_digest, write_table
from compass_ops.training.adapter import attach, detach
from compass_ops.training.base import device_and_dtype, load_base


@dataclass(frozen=True)
class Version:
    """An adapter version folder: where it is, and its manifest."""

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def digest(self) -> str:
        """Digest of the adapter: weights and configuration."""
        return str(self.manifest["digest"])

    @property
    def base_digest(self) -> str:
        """Digest of the base model that the adapter belongs to."""
        return str(self.manifest["base"]["digest"])

    def asked_counts(self) -> NDArray[np.int64]:
        """Return what is asked of the language in each cluster, int64 (K,), as the version was made for it."""
        return np.asarray(read_json(self.folder / "reference" / "histogram.json")["counts"], np.int64)


def read_version(folder: Path) -> Version:
    """Read an adapter version folder; ``StorageError`` if its manifest is missing."""
    return Version(folder, read_json(folder / "manifest.json"))


class Scorer:
    """Scores items with the base or with an adapter on it; the base is loaded once, when first needed.

    Parameters
    ----------
    base : ModelEntry
        The pinned base model.
    root : Path
        Project root, which the entry's path is relative to.
    settings : ScoreSettings
    memo : Path
        Folder of remembered scores.
    """

    def __init__(self, base: ModelEntry, root: Path, settings: ScoreSettings, memo: Path) -> None:
        self.base = base
        self.settings = settings
        self._root = root
        self._memo = memo / "scores"

    @cached_property
    def loaded(self) -> tuple[Any, Any]:
        """The base model and its tokenizer."""
        return load_base(self.base, self._root)

    @property
    def decisive(self) -> list[Any]:
        """All but model and items that a score depends on: in bf16 it is another than in float32."""
        device, dtype = device_and_dtype()
        return [SCORER_VERSION, device.type, str(dtype), self.settings.decisive()]

    def scores(self, language: str, records: pa.Table, version: Version | None) -> list[FloatArray]:
        """Return the choice scores of every record, float64 (choices,), from the base or from an adapter version.

        Raises
        ------
        DataFault
            If a record has fewer than two choices, a choice that cannot be scored, or a score that is not finite.
        ModelError
            If the adapter belongs to another base.
        """
        prompts, choices = records["prompt"].to_pylist(), records["choices"].to_pylist()
        for name, own in zip(records["id"].to_pylist(), choices, strict=True):
            if own is None or len(own) < 2:
                raise DataFault(language, f"test record {name} must have at least two choices; got {len(own or [])}.")
        return self._remembered(language, prompts, choices, version)

    def answer_scores(
        self, language: str, prompts: list[str], answers: list[str], version: Version | None
    ) -> FloatArray:
        """Return the log-likelihood of each prompt's one answer, float64 (n,); raises as ``scores`` does."""
        scores = self._remembered(language, prompts, [[answer] for answer in answers], version)
        return np.array([own[0] for own in scores])

    def _remembered(
        self, language: str, prompts: list[str], choices: list[list[str]], version: Version | None
    ) -> list[FloatArray]:
        if version is not None and version.base_digest != self.base.digest:
            raise ModelError(
                f"{version.folder}: the adapter belongs to base {version.base_digest}, this project's base is "
                f"{self.base.digest}. Train it again on this base, or restore that one."
            )
        model = [self.base.digest, None if version is None else version.digest]
        named = [self.decisive, model, prompts, choices]
        path = self._memo / f"{value_digest(named)}.parquet"
        if not path.exists():
            try:
                computed = self._computed(prompts, choices, version)
            except UnscorableError as error:
                raise DataFault(language, str(error)) from error
            if bad := sum(not np.isfinite(own).all() for own in computed):
                of = "the base" if version is None else f"adapter {version.digest[:12]}"
                told = f"{of} gives {bad} of {len(computed)} items scores that are not finite."
                raise DataFault(language, f"{told} Look at its weights and at the loss of its training.")
            lists = pa.array([own.tolist() for own in computed], pa.list_(pa.float64()))
            write_table(path, pa.table({"scores": lists}))
        return [np.asarray(own, dtype=np.float64) for own in read_table(path)["scores"].to_pylist()]

    def _computed(self, prompts: list[str], choices: list[list[str]], version: Version | None) -> list[FloatArray]:
        base, tokenizer = self.loaded
        if version is None:
            return score_choices(base, tokenizer, prompts, choices, self.settings)
        model = attach(base, version.folder / "adapter")
        try:
            return score_choices(model, tokenizer, prompts, choices, self.settings)
        finally:
            detach(model)
