"""The sections of ``params.yaml`` for the tend half: traffic, drift, update, report."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from compass_ops.sections import Count, Positive, ScheduleParams, Section, Share


class UpdateParams(Section):
    """Continual update of an adapter whose traffic drifted; ``training.method`` says what each method is."""

    method: Literal["naive", "ewc", "random_rehearsal", "ecda_paper", "ecda", "full_retrain"] = Field(
        description="Choose how adapters are updated; ecda unless you compare."
    )
    budget: Count = Field(
        description="Set the rows, or tokens by sample.unit, of an update: labels of the log first, then the pool."
    )
    schedule: ScheduleParams = Field(description="Give the update's schedule.")
    ewc_strength: Annotated[float, Field(ge=0)] = Field(description="Set lambda, the weight of the EWC penalty.")
    replay_strength: Annotated[float, Field(ge=0)] = Field(description="Set beta, the weight of the loss on anchors.")
    replay_share: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Set the anchors replayed per step as a share of the batch's rows, such as 0.25."
    )
    temperature: Positive | None = Field(
        description="Set tau, at which answers on anchors are held to the old adapter's, or null for labels alone."
    )
    interpolations: list[Annotated[float, Field(gt=0, le=1)]] = Field(
        min_length=1,
        description="List the steps from the old adapter to the new one that are tried, such as [0.5, 1.0].",
    )


WindowName = Annotated[str, Field(pattern=r"^[0-9]{4}$")]
LogColumn = Literal["time", "language", "prompt", "session", "label"]


class NoTraffic(Section):
    """There is no traffic yet: the tend half has nothing to look at."""

    kind: Literal["none"]


class LoggedTraffic(Section):
    """A request log; see ``monitoring.request_log``."""

    kind: Literal["log"]
    files: list[str] = Field(min_length=1, description="List globs of JSONL, CSV or Parquet files.")
    window_hours: Positive | None = Field(
        description="Set the length of a window in hours, such as 168; null cuts every window_rows requests instead."
    )
    fields: dict[LogColumn, str] = Field(
        description="Map time, language, prompt and, if the log has them, session and label to the log's field names."
    )

    @model_validator(mode="after")
    def _required(self) -> Self:
        missing = {"time", "language", "prompt"} - set(self.fields)
        if missing:
            raise ValueError(f"must map {', '.join(sorted(missing))} in fields")
        return self

    def settings(self, window_rows: int) -> dict[str, Any]:
        """Return what `LogSettings` takes: whoever counts a log's windows must cut it as the stage does."""
        fields = {str(name): field for name, field in self.fields.items()}
        files, hours = tuple(self.files), self.window_hours
        return {"files": files, "fields": fields, "window_rows": window_rows, "window_hours": hours}


class PhaseParams(Section):
    """What users ask from a window on."""

    start: WindowName = Field(description='Name the first window of the phase, such as "0002".')
    topics: dict[str, float] = Field(min_length=1, description="Map topics to weights, in any unit.")


class SimulatedTraffic(Section):
    """Traffic of the embedded project: each language asks as `usage` of its worldfacts source says, until it shifts."""

    kind: Literal["simulated"]
    windows: Count = Field(description="Set the number of windows that there are.")
    shifts: dict[str, list[PhaseParams]] = Field(description="Map languages to their later phases, or give {}.")


class TrafficParams(Section):
    """Windows of production prompts."""

    until: WindowName = Field(description='Name the last window to look at, in quotes; "0000" for none yet.')
    window_rows: Count = Field(description="Set the prompts per window and language, such as 400.")
    keep_text: bool = Field(
        description="Set true to keep prompts in the windows, false for vectors and figures alone: no text is kept."
    )
    origin: Annotated[NoTraffic | LoggedTraffic | SimulatedTraffic, Field(discriminator="kind")] = Field(
        description="Choose kind: simulated, log or none."
    )


class HarmParams(Section):
    """Whether Production answers worse what is asked now; see ``monitoring.harm.HarmSettings``."""

    required: bool = Field(
        description="Set true to train a candidate only where harm is shown or cannot be measured, false for any shift."
    )
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="Set the error rate of the test of harm, such as 0.05."
    )
    floor_nats: Annotated[float, Field(ge=0)] = Field(
        description="Set the rise of the loss, in nats per byte of the answer, that is tolerated, such as 0.05."
    )
    least_items: Annotated[int, Field(ge=2)] = Field(
        description="Set the effective labelled items below which no harm is measured, such as 20."
    )
    uncovered_share: Share = Field(
        description="Set the share of what is asked that may lie in clusters without a labelled item, such as 0.2."
    )
    cool_down: Annotated[int, Field(ge=0)] = Field(
        description="Set the windows after an update in which no other is made, such as 0 or 2."
    )


class DriftParams(Section):
    """The trigger; see ``monitoring.drift.DriftSettings``, whose fields these are but for ``harm``."""

    correction: Literal["max-t", "holm", "benjamini-hochberg", "fixed"] = Field(
        description="Choose max-t, holm or benjamini-hochberg; fixed compares with fixed_threshold_nats, without test."
    )
    permutations: Count = Field(description="Set the permutations, such as 999; p is never below 1 / (this + 1).")
    alpha: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="Set the probability of a false alarm in any language of a round, such as 0.05."
    )
    effect_floor_nats: Annotated[float, Field(ge=0)] = Field(
        description="Set the debiased divergence, in nats, below which a shift is too small to act on, such as 0.02."
    )
    mmd_floor: Annotated[float, Field(ge=0)] = Field(
        description="Set the debiased squared MMD below which a shift is too small to act on, such as 0.001."
    )
    novelty_floor: Annotated[float, Field(ge=1)] = Field(
        description="Set how many times as many new rows as in the reference are worth acting on, such as 2.0."
    )
    fixed_threshold_nats: Positive = Field(
        description="Set the divergence, in nats, above which correction fixed alarms, such as 0.1."
    )
    persistence: Count = Field(description="Set the windows in a row that must show a shift, such as 1 or 2.")
    minimum_window: Count = Field(description="Set the prompts of a window below which nothing is judged, such as 150.")
    minimum_reference: Count = Field(description="Set the reference rows below which nothing is judged, such as 150.")
    minimum_sessions: Count = Field(
        description="Set the sessions of either sample below which nothing is judged, such as 30."
    )
    random_features: Annotated[int, Field(ge=2, multiple_of=2)] = Field(
        description="Set the random features of the kernel, an even number such as 256."
    )
    novelty_quantile: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="Set the quantile of the distances to the centroids beyond which a prompt is new, such as 0.95."
    )
    moved_clusters: Count = Field(description="Set how many of the clusters that moved most are shown.")
    harm: HarmParams = Field(description="Say when Production answers worse what is asked now, and what follows.")

    @model_validator(mode="after")
    def _can_alarm(self) -> Self:
        if 1 / (self.permutations + 1) > self.alpha:
            least = math.ceil(1 / self.alpha) - 1
            raise ValueError(f"must have permutations >= {least} for alpha {self.alpha}; got {self.permutations}")
        return self


class ReportParams(Section):
    """What is shown."""

    html_limit: Annotated[int, Field(ge=0)] = Field(
        description="Set the most drift reports in HTML per round (3.7 MB each), such as 15."
    )
    examples: Count = Field(description="Set the example prompts per moved cluster, such as 3.")
