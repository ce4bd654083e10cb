"""One method along one stream: a version, updated step by step as by the stage update, and scored each time."""

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from benchmarks.base import WithBase
from compass_ops.evaluation.candidates import choose_candidate
from compass_ops.evaluation.items import item_table, paired_items
from compass_ops.evaluation.score import score_choices
from compass_ops.seeding import derived_seed
from compass_ops.storage import write_json, write_table
from compass_ops.tend_sections import UpdateParams
from compass_ops.training.adapt import (
    Order,
    history,
    history_counts,
    read_anchors,
    remember,
    train_new,
    update,
)
from compass_ops.training.adapter import WEIGHTS, attach, detach, interpolate, set_weights
from compass_ops.training.method import Method, method_of
from compass_ops.training.recipe import schedule_from

Tests = Mapping[str, tuple[pa.Table, NDArray[np.int32]]]


@dataclass(frozen=True)
class Stream:
    """What a language is given: labelled rows (with ``cluster`` and ``reason``) of each step, and its test halves.

    ``tests`` maps the names of the halves to records and their clusters; ``clusters`` is how many there are.
    """

    language: str
    seed: int
    steps: list[pa.Table]
    tests: Tests
    clusters: int


class Workshop(WithBase):
    """The base and the settings that all chains have in common."""

    def start(self, stream: Stream, folder: Path) -> None:
        """Train the first version, which all methods have in common, and score it."""
        begun = time.perf_counter()
        order = Order(stream.steps[0], self.params.train, self._seed(stream, 0), folder / "version")
        train_new(self.base, order)
        seconds = time.perf_counter() - begun
        write_table(folder / "items.parquet", self._scored(order.folder, stream, tuple(stream.tests), 0))
        cost = {"tokens": self._tokens(order), "replay": 0, "fisher": 0, "teacher": 0, "seconds": seconds}
        write_json(folder / "cost.json", [cost | {"alpha": 1.0}])

    def run(self, params: UpdateParams, stream: Stream, start: Path, folder: Path) -> None:
        """Update the first version along the stream; write ``items.parquet`` and ``cost.json`` of the later steps."""
        method, items, costs = method_of(params), [], []
        parent = folder / "0"
        shutil.copytree(start / "version", parent, dirs_exist_ok=True)
        if method.anchors == "random":
            self._remember_at_random(stream, parent, method)
        for number in range(1, len(stream.steps)):
            order = self._order(params, stream, number, parent, folder / str(number))
            begun = time.perf_counter()
            update(self.base, parent, order, method)
            alpha = self._choose(method, stream, parent, order)
            remember(self.base, parent, order, method)
            cost = {"seconds": time.perf_counter() - begun, "alpha": alpha, "tokens": self._tokens(order)}
            costs.append(cost | self._extra_tokens(method, parent, order))
            items.append(self._scored(order.folder, stream, tuple(stream.tests), number))
            shutil.rmtree(parent)
            parent = order.folder
        shutil.rmtree(parent)
        write_table(folder / "items.parquet", pa.concat_tables(items))
        write_json(folder / "cost.json", costs)

    def _order(self, params: UpdateParams, stream: Stream, number: int, parent: Path, folder: Path) -> Order:
        rows = stream.steps[number]
        if not method_of(params).from_parent:
            rows = pa.concat_tables([history(parent), rows])
        train = self.params.train.model_copy(update={"schedule": params.schedule})
        return Order(rows, train, self._seed(stream, number), folder)

    def _seed(self, stream: Stream, number: int) -> int:
        return derived_seed(stream.seed, "continual", stream.language, str(number))

    def _remember_at_random(self, stream: Stream, version: Path, method: Method) -> None:
        """Choose the first version's anchors anew, as the method would have."""
        order = Order(stream.steps[0], self.params.train, self._seed(stream, 0), version)
        fresh = Method(from_parent=False, anchors=method.anchors)
        remember(self.base, version, order, fresh)

    def _choose(self, method: Method, stream: Stream, parent: Path, order: Order) -> float:
        """Put the best interpolation on dev in the place of the trained adapter, as the stage update does."""
        if method.interpolations == (1.0,):
            return 1.0
        old, new = (load_file(folder / "adapter" / WEIGHTS) for folder in (parent, order.folder))
        mixed = {alpha: interpolate(old, new, alpha) for alpha in method.interpolations}
        before, *after = self._dev([old, *mixed.values()], parent, stream)
        dev = {alpha: paired_items(before, one) for alpha, one in zip(mixed, after, strict=True)}
        asked = np.bincount(order.subset.column("cluster").to_numpy(), minlength=stream.clusters)
        counts = history_counts(parent, stream.clusters)
        choice = choose_candidate(dev, counts, asked.astype(np.int64), self.params.gate.margin)
        save_file(mixed[choice.alpha], order.folder / "adapter" / WEIGHTS)
        return choice.alpha

    def _dev(self, weights: list[dict[str, Any]], version: Path, stream: Stream) -> list[pa.Table]:
        records, clusters = stream.tests["dev"]
        model = attach(self.base.model, version / "adapter")
        try:
            tables = []
            for one in weights:
                set_weights(model, one)
                tables.append(item_table("adapter", "dev", records, clusters, self._scores(model, records)))
            return tables
        finally:
            detach(model)

    def _scored(self, version: Path, stream: Stream, halves: tuple[str, ...], number: int) -> pa.Table:
        """Return the per-item results of a version, with the number of the step."""
        model = attach(self.base.model, version / "adapter")
        try:
            tables = []
            for half in halves:
                records, clusters = stream.tests[half]
                tables.append(item_table("adapter", half, records, clusters, self._scores(model, records)))
        finally:
            detach(model)
        table = pa.concat_tables(tables).select(["half", "id", "topic", "correct", "margin"])
        return table.append_column("step", pa.array([number] * table.num_rows))

    def _scores(self, model: Any, records: pa.Table) -> list[NDArray[np.float64]]:
        prompts, choices = records["prompt"].to_pylist(), records["choices"].to_pylist()
        return score_choices(model, self.base.tokenizer, prompts, choices, self.settings)

    def _tokens(self, order: Order) -> int:
        """Count what the task's loss saw forward and backward."""
        return order.params.schedule.epochs * int(self._lengths(order.subset).sum())

    def _extra_tokens(self, method: Method, parent: Path, order: Order) -> dict[str, int]:
        """Count what a method saw besides: anchors and Fisher forward and backward, the parent's answers forward."""
        extra = {"replay": 0, "fisher": 0, "teacher": 0}
        if method.replay:
            schedule = schedule_from(order.params.schedule)
            lengths = self._lengths(read_anchors(parent))
            rows = min(max(1, round(method.replay_share * schedule.batch_rows)), len(lengths))
            extra["replay"] = round(schedule.steps(order.subset.num_rows) * rows * float(lengths.mean()))
            extra["teacher"] = extra["replay"] if method.temperature is not None else 0
        if method.ewc:
            extra["fisher"] = round(order.params.fisher_rows * float(self._lengths(order.subset).mean()))
        return extra

    def _lengths(self, rows: pa.Table) -> NDArray[np.int64]:
        return np.array([len(example.input_ids) for example in self.base.examples(rows)])
