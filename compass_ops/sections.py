"""The sections of ``params.yaml``, one class per stage: the shared ones and those of the adapt half.

Those of ingest are in ``source_sections``, those of embed, cluster and sample in ``selection_sections``, those of the
tend half in ``tend_sections``. A field's description is the last sentence of its error message: what to do.
"""

import re
from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values are not converted, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


_TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*")


def _tag_form(tag: str) -> str:
    """Refuse what cannot be a canonical tag. Whether there is such a language is for ``corpus.languages``."""
    if not _TAG.fullmatch(tag):
        raise ValueError("must be a language tag in BCP-47's own spelling, such as sw, sw-Latn or zh-Hant-TW")
    return tag


def _distinct(tags: list[str]) -> list[str]:
    if repeated := [tag for tag, count in Counter(tags).items() if count > 1]:
        raise ValueError(f"must name each language once; {', '.join(repeated)} stands there more often")
    return tags


LanguageTags = Annotated[list[Annotated[str, AfterValidator(_tag_form)]], AfterValidator(_distinct)]


class ProjectParams(Section):
    """What all stages share."""

    seed: int = Field(ge=0, description="Set the seed of every random choice, an integer >= 0.")
    languages: LanguageTags = Field(min_length=1, description="List the target languages (BCP-47), one adapter each.")


class HubModel(Section):
    """A model of the Hugging Face hub."""

    kind: Literal["hub"]
    id: str = Field(description="Give the repository's id, such as Qwen/Qwen2.5-7B.")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="Pin the commit: 40 hex digits, not a branch.")


class FolderModel(Section):
    """A model in a local folder, in the hub's layout."""

    kind: Literal["folder"]
    path: str = Field(description="Give the folder, absolute or relative to the project.")


class LlamaShape(Section):
    """Size of an embedded base of the Llama architecture."""

    vocabulary: Count = Field(description="Set the number of tokens.")
    width: Count = Field(description="Set the hidden size, a multiple of twice the heads.")
    feedforward: Count = Field(description="Set the hidden size of the feed-forward layers.")
    layers: Count = Field(description="Set the number of layers.")
    heads: Count = Field(description="Set the number of attention heads.")
    positions: Count = Field(description="Set the longest text, in tokens.")

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % (2 * self.heads):
            raise ValueError(
                f"must have a width that is a multiple of {2 * self.heads} (twice heads); got {self.width}"
            )
        return self


class ScheduleParams(Section):
    """How long and how fast to train; see ``training.train.Schedule``."""

    epochs: Count = Field(description="Set the passes over the examples.")
    batch_rows: Count = Field(description="Set the examples per step and device.")
    accumulation: Count = Field(description="Set the batches per optimizer step.")
    learning_rate: Positive = Field(description="Set AdamW's peak learning rate.")
    warmup_share: Share = Field(description="Set the share of steps that warm up.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="Set AdamW's weight decay.")
    checkpoint_steps: Count = Field(description="Set the steps between checkpoints.")


class PretrainedModel(Section):
    """A small base, pretrained in the pipeline on the records of role ``pretrain``."""

    kind: Literal["pretrained"]
    shape: LlamaShape = Field(description="Give the architecture's sizes.")
    schedule: ScheduleParams = Field(description="Give the pretraining's schedule, on all tokens.")
    instruction_tuning: ScheduleParams | None = Field(
        description="Give the schedule of the training on completions alone that follows; null for none."
    )


class TrainedEmbedder(Section):
    """A static embedder, trained in the pipeline on parallel records of role ``pretrain``."""

    kind: Literal["trained"]
    vocabulary: Count = Field(description="Set the number of tokens.")
    dimension: Count = Field(description="Set the length of the vectors.")
    epochs: Count = Field(description="Set the passes over the pairs.")


class BaseParams(Section):
    """The frozen base model and the embedder."""

    model: Annotated[HubModel | FolderModel | PretrainedModel, Field(discriminator="kind")] = Field(
        description="Choose kind: hub, folder or pretrained."
    )
    embedder: Annotated[HubModel | FolderModel | TrainedEmbedder, Field(discriminator="kind")] = Field(
        description="Choose kind: hub, folder or trained."
    )
    separator: str = Field(description="Give the text between prompt and completion, usually one space.")
    max_tokens: Count = Field(description="Set the longest text given to the model, in tokens.")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if isinstance(self.model, PretrainedModel) and self.max_tokens > (most := self.model.shape.positions):
            raise ValueError(f"must have max_tokens <= model.shape.positions ({most}); got {self.max_tokens}")
        return self


class TrainParams(Section):
    """Training of the adapters."""

    lora: dict[str, Any] = Field(description="Give the arguments of peft.LoraConfig (r, lora_alpha, use_dora, ...).")
    schedule: ScheduleParams = Field(description="Give the training's schedule.")
    fisher_rows: Count = Field(description="Set the examples that the Fisher diagonal is estimated on.")
    anchor_share: Share = Field(description="Set the share of the training rows kept as replay anchors.")
    anchor_min: Count = Field(description="Set the least number of replay anchors.")
    fitting_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="Set the share of the reference that the drift test is fitted on and not compared, such as 0.25."
    )


class EvaluateParams(Section):
    """Scoring of test items. Separator and longest input are those of `base`."""

    batch_tokens: Count = Field(description="Set the input tokens per batch, padding included, such as 8192.")


class GateParams(Section):
    """What a candidate is held to, in the stages admit and gate."""

    margin: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="Set the loss of accuracy on the old distribution that is tolerated, such as 0.05."
    )
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="Set the error rate of each one-sided test, such as 0.05."
    )
    power: Annotated[float, Field(gt=0.5, lt=1)] = Field(
        description="Set the power at which resolvable differences are stated, such as 0.8."
    )
    uncovered_share: Share = Field(
        description="Set the share of a distribution that may lie in clusters without a labelled item, such as 0.2."
    )
    least_items: Annotated[int, Field(ge=2)] = Field(
        description="Set the labelled gate items below which nothing is judged, such as 30."
    )
    most_uses: Count = Field(description="Set the decisions after which a gate half is used up, such as 20.")
