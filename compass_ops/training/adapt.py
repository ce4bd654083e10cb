"""From a subset to the files of an adapter version: weights, Fisher diagonal, replay anchors, reference."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from compass_ops.errors import ModelError
from compass_ops.sections import BaseParams, TrainParams
from compass_ops.seeding import derived_seed, generator
from compass_ops.storage import read_table, write_array, write_json, write_table
from compass_ops.training.adapter import WEIGHTS, AdaptedModel, attach, detach, new_adapter, save_adapter, weights_of
from compass_ops.training.batches import Example, encode
from compass_ops.training.ewc import ewc_term, normalised
from compass_ops.training.fisher import fisher_diagonal
from compass_ops.training.recipe import schedule_from
from compass_ops.training.replay import choose_anchors, replay_term
from compass_ops.training.train import CurvePoint, LossTerm, Run, Watch, train, unwatched
from compass_ops.training.version import Origin, write_manifest

FISHER, ANCHORS, SUBSET = "fisher.safetensors", "anchors.parquet", "subset.parquet"


@dataclass(frozen=True)
class Base:
    """The loaded base model, its tokenizer and how texts are given to it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    params: BaseParams

    @property
    def pad_id(self) -> int:
        """Token that fills up a batch's rows."""
        return int(self.tokenizer.pad_token_id)

    def examples(self, table: pa.Table) -> list[Example]:
        """Encode records for training: loss on the completion alone."""
        rows = zip(table.column("prompt").to_pylist(), table.column("completion").to_pylist(), strict=True)
        return encode(self.tokenizer, list(rows), self.params.separator, self.params.max_tokens)


@dataclass(frozen=True)
class Order:
    """What to train: the rows (records with a ``cluster`` column), the settings, the seed, and where files go."""

    subset: pa.Table
    params: TrainParams
    seed: int
    folder: Path
    watch: Watch = unwatched


@dataclass(frozen=True)
class Reference:
    """The distribution that an adapter is made for.

    Attributes
    ----------
    vectors : float32 (n, d), unit rows: what people of the language asked.
    clusters : int32 (n,): the centroid of each.
    centroids : float32 (K, d).
    traits : table (n rows) of ``corpus.traits.TRAITS``: what the texts are made of.
    sessions : int64 (n,): equal for rows that were asked in one session.
    """

    vectors: NDArray[np.float32]
    clusters: NDArray[np.int32]
    centroids: NDArray[np.float32]
    traits: pa.Table
    sessions: NDArray[np.int64]

    def counts(self) -> NDArray[np.int64]:
        """Return int64 (K,): rows per cluster."""
        return np.bincount(self.clusters, minlength=len(self.centroids)).astype(np.int64)


def train_new(base: Base, order: Order) -> list[CurvePoint]:
    """Train a fresh adapter and write its version's files."""
    model = new_adapter(base.model, order.params.lora, derived_seed(order.seed, "initial adapter"))
    try:
        curve = _train(base, model, order)
        _write(base, model, order, order.subset)
    finally:
        detach(model)
    return curve


def make_version(base: Base, order: Order, reference: Reference, origin: Origin) -> list[CurvePoint]:
    """Train a fresh adapter and write its whole version folder, the manifest last."""
    curve = train_new(base, order)
    write_reference(reference, order)
    write_manifest(order.folder, origin)
    return curve


def continue_from(base: Base, parent: Path, order: Order, strengths: tuple[float, float]) -> list[CurvePoint]:
    """Train on from a parent version with EWC and replay, and write the new version's files.

    L = L_task + lambda L_EWC + beta L_DAR (arXiv 2604.20720), ``strengths`` being (lambda, beta). At step 0 the
    weights equal the parent's. Anchors and Fisher diagonal are made anew from the parent's anchors and the subset.
    """
    model = attach(base.model, parent / "adapter", trainable=True)
    try:
        start = load_file(parent / "adapter" / WEIGHTS)
        if any(not torch.equal(start[name].float(), own) for name, own in weights_of(model).items()):
            raise ModelError(f"{parent}: the adapter's weights changed while loading; nothing was trained.")
        anchors = read_table(parent / ANCHORS)
        curve = _train(base, model, order, _ecda_terms(base, model, parent, order, strengths))
        _write(base, model, order, pa.concat_tables([anchors, order.subset.select(anchors.column_names)]))
    finally:
        detach(model)
    return curve


def write_reference(reference: Reference, order: Order) -> None:
    """Write what drift is judged against: centroids, the histogram of all rows, and the rows in two parts.

    ``fitting.npy`` holds the vectors that bandwidth and novelty radius are fitted on (``fitting_share`` of the
    sessions, at least one), ``vectors.npy`` and ``rows.parquet`` the rows that windows are compared with. Fitted on
    the rows that are compared, the novelty test alarms without drift (DESIGN.md 6).
    """
    folder, rng = order.folder / "reference", generator(order.seed, "reference")
    sessions = rng.permutation(np.unique(reference.sessions))
    apart = sessions[: max(1, round(order.params.fitting_share * len(sessions)))]
    fitting = np.isin(reference.sessions, apart)
    write_array(folder / "centroids.npy", reference.centroids)
    write_json(folder / "histogram.json", {"counts": reference.counts().tolist()})
    write_array(folder / "fitting.npy", reference.vectors[fitting])
    write_array(folder / "vectors.npy", reference.vectors[~fitting])
    rows = reference.traits.append_column("session", pa.array(reference.sessions))
    write_table(folder / "rows.parquet", rows.filter(pa.array(~fitting)))


def _ecda_terms(
    base: Base, model: AdaptedModel, parent: Path, order: Order, strengths: tuple[float, float]
) -> list[LossTerm]:
    ewc_strength, replay_strength = strengths
    fisher = normalised(load_file(parent / FISHER))
    anchors = base.examples(read_table(parent / ANCHORS))
    rows = min(order.params.schedule.batch_rows, len(anchors))
    return [
        ewc_term(model, weights_of(model), fisher, ewc_strength),
        replay_term(anchors, base.pad_id, replay_strength, rows, derived_seed(order.seed, "replay")),
    ]


def _train(base: Base, model: AdaptedModel, order: Order, terms: Sequence[LossTerm] = ()) -> list[CurvePoint]:
    run = Run(order.folder / "checkpoints", derived_seed(order.seed, "order"), order.watch, terms)
    examples = base.examples(order.subset)
    curve = train(model, examples, base.pad_id, schedule_from(order.params.schedule), run)
    shutil.rmtree(run.work, ignore_errors=True)
    return curve


def _write(base: Base, model: AdaptedModel, order: Order, seen: pa.Table) -> None:
    """Write adapter, anchors and Fisher diagonal; ``seen`` are the records that the adapter was trained on."""
    params, folder, rng = order.params, order.folder, generator(order.seed, "anchors")
    size = max(params.anchor_min, round(params.anchor_share * seen.num_rows))
    anchors = choose_anchors(seen.column("cluster").to_numpy(), size, rng)
    rows = np.sort(rng.choice(seen.num_rows, min(params.fisher_rows, seen.num_rows), replace=False))
    examples = base.examples(seen.take(pa.array(rows)))
    fisher = fisher_diagonal(model, examples, base.pad_id, params.schedule.batch_rows)
    save_adapter(model, folder / "adapter")
    save_file(fisher, folder / FISHER)
    write_table(folder / ANCHORS, seen.take(pa.array(anchors)))
    write_table(folder / SUBSET, order.subset)
