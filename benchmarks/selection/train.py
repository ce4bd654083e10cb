"""One adapter for the comparison: trained on given rows for a fixed number of steps, and scored at once."""

import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.base import WithBase
from benchmarks.reporting import code_digest
from compass_ops.evaluation.items import item_table
from compass_ops.evaluation.score import score_choices
from compass_ops.seeding import derived_seed
from compass_ops.storage import file_digest
from compass_ops.training.adapter import detach, new_adapter
from compass_ops.training.recipe import schedule_from
from compass_ops.training.train import Run, train

_HERE = Path(__file__)
CODE = (*(_HERE.parents[2] / "compass_ops" / room for room in ("training", "evaluation")), _HERE)


@dataclass(frozen=True)
class Trained:
    """What a run leaves: per-item results, and what it cost."""

    items: pa.Table
    tokens: int
    rows: int
    seconds: float


class Workshop(WithBase):
    """The base and everything that all runs have in common."""

    def digests(self) -> list[Any]:
        """Digest what every run depends on: the base, the settings, and the code that trains and scores."""
        settings = self.params.train.model_dump(), self.params.evaluate.model_dump()
        code = [code_digest(place) if place.is_dir() else file_digest(place) for place in CODE]
        return [self.pins["model"], self.params.base.separator, self.params.base.max_tokens, *settings, code]

    def run(self, rows: pa.Table, epochs: int, size: int, seed: int, tests: Mapping[str, pa.Table]) -> Trained:
        """Train on ``rows``, repeated in order up to ``size`` where they are fewer, and score every test.

        So every set of rows gets as many steps as another.
        """
        start = time.perf_counter()
        places = np.resize(np.arange(rows.num_rows), max(size, rows.num_rows))
        examples = self.base.examples(rows.take(pa.array(places)))
        schedule = schedule_from(self.params.train.schedule.model_copy(update={"epochs": epochs}))
        model = new_adapter(self.base.model, self.params.train.lora, derived_seed(seed, "initial adapter"))
        try:
            with tempfile.TemporaryDirectory(prefix="compass.") as work:
                train(model, examples, self.base.pad_id, schedule, Run(Path(work), derived_seed(seed, "order")))
            items = self.score(model, "adapter", tests)
        finally:
            detach(model)
        tokens = epochs * sum(len(example.input_ids) for example in examples)
        return Trained(items, tokens, len(examples), time.perf_counter() - start)

    def score(self, model: Any, name: str, tests: Mapping[str, pa.Table]) -> pa.Table:
        """Return the per-item results of a model on tests by name; clusters play no part."""
        tables = []
        for test, records in tests.items():
            prompts, choices = records["prompt"].to_pylist(), records["choices"].to_pylist()
            scores = score_choices(model, self.base.tokenizer, prompts, choices, self.settings)
            tables.append(item_table(name, test, records, np.zeros(records.num_rows, np.int32), scores))
        return pa.concat_tables(tables)
