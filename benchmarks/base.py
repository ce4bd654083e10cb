"""The base model that every cell of a comparison starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from compass_ops.evaluation.score import ScoreSettings
from compass_ops.model_files import entry_from
from compass_ops.params import Params
from compass_ops.training.adapt import Base
from compass_ops.training.base import load_base


@dataclass(frozen=True)
class WithBase:
    """A project's params and base.

    Attributes
    ----------
    params : Params
    pins : mapping
        What the stage ``base`` left in ``base.json``.
    """

    params: Params
    pins: Mapping[str, Mapping[str, str | None]]

    @cached_property
    def base(self) -> Base:
        """The base, loaded for the first cell of a process."""
        model, tokenizer = load_base(entry_from(self.pins["model"]), Path.cwd())
        return Base(model, tokenizer, self.params.base)

    @property
    def settings(self) -> ScoreSettings:
        """How items are scored."""
        return ScoreSettings(self.params.base.separator, self.params.base.max_tokens, self.params.evaluate.batch_tokens)
