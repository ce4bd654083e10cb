"""Stage update: where a window drifted, a candidate made from the Production adapter (COMPASS-ECDA)."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from compass_ops.corpus.records import to_table
from compass_ops.corpus.traits import TRAITS
from compass_ops.errors import DataFault, ModelError
from compass_ops.evaluation.candidates import choose_candidate
from compass_ops.evaluation.items import HALVES, item_table, paired_items, rows_of
from compass_ops.evaluation.scorer import Scorer, Version, read_version
from compass_ops.monitoring.adoption import window_digest
from compass_ops.monitoring.feedback import ROLES_HELD_BACK, Feedback, FeedbackRules, choose_feedback
from compass_ops.monitoring.windows import Embedding, read_window
from compass_ops.params import Params
from compass_ops.seeding import derived_seed, generator
from compass_ops.selection.centring import centred
from compass_ops.selection.choose import Rows, choose, items_of, plan_record, pool_of
from compass_ops.selection.cluster import assign
from compass_ops.selection.problem import Held, Pool, Problem
from compass_ops.selection.subset import Costs, row_costs, with_distances
from compass_ops.selection.vectors import embed_fault, read_means, read_pool_vectors, read_vectors
from compass_ops.selection_sections import UNBOUND
from compass_ops.storage import file_digest, read_array, read_table, write_json, write_table
from compass_ops.training.adapt import (
    SUBSET,
    Base,
    Order,
    Reference,
    history,
    history_counts,
    remember,
    remembered,
    update,
    write_reference,
)
from compass_ops.training.adapter import CONFIG, WEIGHTS, interpolate
from compass_ops.training.batches import token_costs
from compass_ops.training.method import Method, method_of
from compass_ops.training.train import NonFiniteLossError
from compass_ops.training.version import Origin, adapter_digest, write_manifest


@dataclass(frozen=True)
class Drifted:
    """One language whose window drifted: where its parts are."""

    language: str
    window: str
    prompts: Path
    parent: Path


@dataclass(frozen=True)
class Updater:
    """What all languages' updates share.

    Attributes
    ----------
    params : Params
    pins : mapping
        ``base.json``: the pinned model and embedder.
    scorer : Scorer
    embedding : Embedding
    records, vectors : Path
        Folders of the stages ingest and embed.
    """

    params: Params
    pins: Mapping[str, Mapping[str, str | None]]
    scorer: Scorer
    embedding: Embedding
    records: Path
    vectors: Path

    def make(self, drifted: Drifted, folder: Path) -> None:
        """Write the candidate's version folder, the plan, and both models' results on the test items.

        Raises
        ------
        DataFault
            If the language has no test rows, neither feedback nor the pool has a row to train on, the parent does not
            hold the rows that the method trains on, or the loss became NaN or infinite.
        """
        self._check_tests(drifted.language)
        parent, version, method = read_version(drifted.parent), folder / "version", method_of(self.params.update)
        held, before = _past(drifted, method)
        reference, window = self._reference(drifted)
        subset = pa.concat_tables([*before, self._subset(drifted, reference, window, held, folder)])
        params = self.params.train.model_copy(update={"schedule": self.params.update.schedule})
        seed = derived_seed(self.params.project.seed, "update", drifted.language, drifted.window)
        model, tokenizer = self.scorer.loaded
        base = Base(model, tokenizer, self.params.base)
        order = Order(subset, params, seed, version)
        try:
            curve = update(base, drifted.parent, order, method)
        except NonFiniteLossError as error:
            raise DataFault(drifted.language, str(error)) from error
        learned = history_counts(drifted.parent, len(reference.centroids))
        self._choose_and_score(drifted, method, (learned, reference), folder)
        remember(base, drifted.parent, order, method)
        write_reference(reference, order)
        origin = Origin(
            drifted.language,
            self.pins["model"],
            {**self.pins["embedder"], "prefix": self.embedding.prefix},
            parent.digest,
            drifted.window,
            file_digest(version / SUBSET),
            {"separator": self.params.base.separator, "max_tokens": self.params.base.max_tokens},
            window_digest(drifted.prompts),
        )
        write_manifest(version, origin)
        counts = {"counts": reference.counts().tolist(), "learned": learned.tolist()}
        write_json(folder / "window.json", {"window": drifted.window, **counts})
        write_json(folder / "curve.json", [{"step": point.step, "loss": point.loss} for point in curve])

    def _check_tests(self, language: str) -> None:
        missing = [half for half in HALVES if not (self.records / half / f"{language}.parquet").exists()]
        if missing:
            raise DataFault(
                language,
                f"has no {' and no '.join(missing)} rows, without which no candidate is chosen and judged. Map "
                "labelled rows of the language to role test in ingest.sources.",
            )
        for half in HALVES:
            fault = embed_fault(self.vectors, half, language)
            if fault is not None:
                raise DataFault(language, fault)

    def _reference(self, drifted: Drifted) -> tuple[Reference, pa.Table]:
        """Return the window as the new version's reference, under the parent's centroids, and its rows."""
        folder = drifted.parent / "reference"
        centroids, means = read_array(folder / "centroids.npy"), read_means(folder)
        window = read_window(drifted.language, drifted.prompts, self.embedding)
        vectors = centred(window.vectors, means, drifted.language)
        clusters, traits = assign(vectors, centroids), window.table.select(TRAITS.names)
        return Reference(vectors, clusters, centroids, means, traits, window.sessions()), window.table

    def _subset(
        self, drifted: Drifted, reference: Reference, window: pa.Table, held: pa.Table, folder: Path
    ) -> pa.Table:
        """Take the window's feedback, and for the rest of the budget select again with the window as target."""
        settings, costs = self.params.sample, self._costs()
        rng = generator(self.params.project.seed, "update", drifted.language, drifted.window)
        asked = Rows(window, reference.clusters)
        feedback = self._feedback(drifted.language, asked, costs, rng)
        table, pool = self._pool(drifted.language, reference, costs)
        budget, short = self._budget(feedback, int(pool.costs.sum()))
        problem = Problem(
            language=drifted.language,
            target=items_of(asked, reference.vectors),
            own=_held(held, costs),
            pool=pool,
            clusters=len(reference.centroids),
            budget=budget,
        )
        problem = with_distances(problem, settings)
        chosen, plan = choose(settings, problem, table, rng)
        if not chosen.num_rows and not feedback.subset.num_rows:
            nothing = "the pool has no row in the clusters that the window asks more of."
            raise DataFault(drifted.language, " ".join([nothing, *plan.notes]))
        record = plan_record(settings, problem, plan)
        record["notes"] = [*feedback.notes, *short, *record["notes"]]
        write_json(folder / "plan.json", record)
        return pa.concat_tables([feedback.subset.select(chosen.column_names), chosen])

    def _budget(self, feedback: Feedback, there: int) -> tuple[int, list[str]]:
        """Return what is asked of the pool, which holds ``there``, and a note where that is less than the rest."""
        whole, sample = self.params.update.budget, self.params.sample
        rest = whole - feedback.cost
        if rest <= there or sample.strategy in UNBOUND:
            return min(rest, there), []
        return there, [
            f"The pool is to give {rest} of the update's budget of {whole} {sample.unit}, but holds {there}: no more "
            "is asked of it."
        ]

    def _feedback(self, language: str, asked: Rows, costs: Costs, rng: np.random.Generator) -> Feedback:
        """Return the window's labelled rows as far as ingest would let them be trained on and the budget reaches."""
        ingest = self.params.ingest
        rules = FeedbackRules(
            ingest.near_duplicates, ingest.keep_translations, self.params.update.budget, self.params.sample.unit, costs
        )
        files = [self.records / role / f"{language}.parquet" for role in ROLES_HELD_BACK]
        held = pa.concat_tables([to_table([]), *(read_table(file) for file in files if file.exists())])
        return choose_feedback(asked, held, rules, rng)

    def _costs(self) -> Costs:
        if self.params.sample.unit == "rows":
            return row_costs
        _, tokenizer = self.scorer.loaded
        return token_costs(tokenizer, self.params.base.separator, self.params.base.max_tokens)

    def _pool(self, language: str, reference: Reference, costs: Costs) -> tuple[pa.Table, Pool]:
        files = [file for file in sorted((self.records / "auxiliary").glob("*.parquet")) if file.stem != language]
        if not files:
            raise DataFault(language, "the pool holds no other language. Map rows of others to role auxiliary.")
        vectors, _ = read_pool_vectors(self.vectors, [file.stem for file in files], reference.means)
        rows = Rows(pa.concat_tables([read_table(file) for file in files]), assign(vectors, reference.centroids))
        return rows.table, pool_of(rows, vectors, costs(rows.table))

    def _choose_and_score(
        self, drifted: Drifted, method: Method, asked: tuple[NDArray[np.int64], Reference], folder: Path
    ) -> None:
        """Choose among interpolations on dev, make it the candidate, and keep both models' per-item results.

        Old is here all that the parent was trained on, not its own window alone: what was asked once is asked again.
        """
        language, parent, (old, reference) = drifted.language, read_version(drifted.parent), asked
        tables = {"production": self._items("production", language, parent, reference, HALVES)}
        versions = {
            step: _interpolated(drifted.parent, folder, step, self.scorer.base.digest) for step in method.interpolations
        }
        before = rows_of(tables["production"], "production", "dev")
        dev = {
            step: paired_items(before, self._items("candidate", language, version, reference, ("dev",)))
            for step, version in versions.items()
        }
        choice = choose_candidate(dev, old, reference.counts(), self.params.gate.margin)
        chosen = versions[choice.alpha]
        shutil.copy2(chosen.folder / "adapter" / WEIGHTS, folder / "version" / "adapter" / WEIGHTS)
        tables["candidate"] = self._items("candidate", language, chosen, reference, HALVES)
        shutil.rmtree(folder / "candidates")
        write_table(folder / "items.parquet", pa.concat_tables(tables.values()))
        write_json(folder / "choice.json", {"alpha": choice.alpha, "reason": choice.reason})

    def _items(
        self, model: str, language: str, version: Version, reference: Reference, halves: tuple[str, ...]
    ) -> pa.Table:
        tables = []
        for half in halves:
            records = read_table(self.records / half / f"{language}.parquet")
            vectors = read_vectors(self.vectors, half, language, reference.means)
            clusters = assign(vectors, reference.centroids)
            scores = self.scorer.scores(language, records, version)
            tables.append(item_table(model, half, records, clusters, scores))
        return pa.concat_tables(tables).sort_by([("half", "ascending"), ("id", "ascending")])


def _past(drifted: Drifted, method: Method) -> tuple[pa.Table, list[pa.Table]]:
    """Return rows in the proportions of all that the parent was trained on, and what is to be trained on again."""
    try:
        return remembered(drifted.parent), [] if method.from_parent else [history(drifted.parent)]
    except ModelError as error:
        raise DataFault(drifted.language, str(error)) from error


def _held(table: pa.Table, costs: Costs) -> Held:
    return Held(table.column("cluster").to_numpy(), table.column("prompt").to_pylist(), costs(table))


def _interpolated(parent: Path, folder: Path, step: float, base_digest: str) -> Version:
    """Write the adapter that lies ``step`` of the way from the parent to the newly trained one."""
    trained = folder / "version" / "adapter"
    candidate = folder / "candidates" / f"{step:g}"
    (candidate / "adapter").mkdir(parents=True, exist_ok=True)
    weights = interpolate(load_file(parent / "adapter" / WEIGHTS), load_file(trained / WEIGHTS), step)
    save_file(weights, candidate / "adapter" / WEIGHTS)
    shutil.copy2(trained / CONFIG, candidate / "adapter" / CONFIG)
    manifest: dict[str, Any] = {"digest": adapter_digest(candidate), "base": {"digest": base_digest}}
    return Version(candidate, manifest)
