"""``comparison.yaml`` of a data set: the streams, the methods that are compared, and what they are tuned on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from benchmarks.reporting import load_settings
from compass_ops.sections import Count, Section, Share
from compass_ops.tend_sections import UpdateParams

FILE = Path("comparison.yaml")
Shift = Literal["start", "none", "gradual", "abrupt", "recurring"]


class Step(Section):
    """One step of a stream: how it differs from the step before, and the weights of the groups of topics."""

    shift: Shift
    mix: dict[str, float] = Field(min_length=1)


class Tuning(Section):
    """What strengths are chosen on: other languages and other seeds than are reported, on their gate half."""

    languages: list[str]
    seeds: list[int] = Field(min_length=1)
    variants: dict[str, dict[str, Any]]


class Comparison(Section):
    """The whole file.

    ``groups`` are lists of topics, drawn alike; ``stream_of`` says which stream a language has. ``first_rows`` are
    what the first version is trained on, ``step_rows`` the new rows of every later step, ``own_share`` of them in the
    language itself where it still has some. ``methods`` and the variants of ``tuning`` are changes to the section
    ``update`` of params.yaml.
    """

    seeds: Count
    languages: list[str]
    first_rows: Count
    step_rows: Count
    own_share: Share
    groups: dict[str, list[str]]
    streams: dict[str, list[Step]]
    stream_of: dict[str, str]
    methods: dict[str, dict[str, Any]] = Field(min_length=1)
    tuning: Tuning

    @model_validator(mode="after")
    def _known(self) -> Self:
        for name, steps in self.streams.items():
            if unknown := {group for step in steps for group in step.mix} - set(self.groups):
                raise ValueError(f"stream {name} names {sorted(unknown)}, which are no groups")
            if [step.shift for step in steps].count("start") != 1 or steps[0].shift != "start":
                raise ValueError(f"stream {name} must have shift start at its first step, and there alone")
        if len({len(steps) for steps in self.streams.values()}) != 1:
            raise ValueError("all streams must have equally many steps")
        for language in (*self.languages, *self.tuning.languages):
            if self.stream_of.get(language) not in self.streams:
                raise ValueError(f"stream_of must name a stream for {language}")
        if both := set(self.languages) & set(self.tuning.languages):
            raise ValueError(f"{sorted(both)} are reported and tuned on; take other languages for tuning")
        return self

    def topics(self, language: str) -> list[dict[str, float]]:
        """Return what is asked at each step of a language's stream: shares of topics, summing to 1."""
        return [self._shares(step) for step in self.streams[self.stream_of[language]]]

    def _shares(self, step: Step) -> dict[str, float]:
        total = sum(step.mix.values())
        shares: dict[str, float] = {}
        for group, weight in step.mix.items():
            for topic in self.groups[group]:
                shares[topic] = shares.get(topic, 0.0) + weight / total / len(self.groups[group])
        return shares

    def update(self, changes: Mapping[str, Any], base: UpdateParams) -> UpdateParams:
        """Return the section ``update`` with a method's changes."""
        return UpdateParams(**{**base.model_dump(), **changes})


def load_comparison(path: Path = FILE) -> Comparison:
    """Read and validate the file; ``ParamsError`` with one line per fault."""
    return load_settings(path, Comparison)
