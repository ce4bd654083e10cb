"""From a subset to the files of an adapter version: weights, replay anchors, Fisher diagonal, reference."""

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
from compass_ops.selection.centring import Means
from compass_ops.selection.vectors import write_means
from compass_ops.storage import read_table, remove_folder, write_array, write_json, write_table
from compass_ops.training.adapter import WEIGHTS, AdaptedModel, attach, detach, new_adapter, save_adapter, weights_of
from compass_ops.training.batches import Example, encode
from compass_ops.training.ewc import ewc_term, normalised
from compass_ops.training.fisher import check_layers, fisher_diagonal
from compass_ops.training.method import AnchorRule, Method
from compass_ops.training.recipe import schedule_from
from compass_ops.training.replay import Replay, calibrated, choose_anchors, replay_term, weighted_sample
from compass_ops.training.train import CurvePoint, LossTerm, Run, Watch, train, unwatched
from compass_ops.training.version import Origin, write_manifest

FISHER, ANCHORS, SUBSET = "fisher.safetensors", "anchors.parquet", "subset.parquet"
_STANDS_FOR = "stands_for"  # of an anchor: how many rows of all that the version was trained on


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
    means : mapping of language to float32 (d,): what vectors of each language are seen without; none if as they are.
    traits : table (n rows) of ``corpus.traits.TRAITS``: what the texts are made of.
    sessions : int64 (n,): equal for rows that were asked in one session.
    """

    vectors: NDArray[np.float32]
    clusters: NDArray[np.int32]
    centroids: NDArray[np.float32]
    means: Means
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
        _write_trained(model, order)
        write_memory(base, model, order, _with_weight(order.subset))
        remove_folder(_checkpoints(order))
    finally:
        detach(model)
    return curve


def make_version(base: Base, order: Order, reference: Reference, origin: Origin) -> list[CurvePoint]:
    """Train a fresh adapter and write its whole version folder, the manifest last."""
    curve = train_new(base, order)
    write_reference(reference, order)
    write_manifest(order.folder, origin)
    return curve


def update(base: Base, parent: Path, order: Order, method: Method) -> list[CurvePoint]:
    """Update a parent version by a method and write the new version's adapter and rows; ``remember`` writes the rest.

    L = L_task + lambda L_EWC + beta L_DAR (arXiv 2604.20720). At step 0 the weights equal the parent's, or where the
    method starts from the base a fresh adapter's; then ``order.subset`` must be all rows so far, see ``history``.

    Raises
    ------
    ModelError
        If the parent's weights change while loading, or it belongs to another base.
    """
    if not method.from_parent:
        model = new_adapter(base.model, order.params.lora, derived_seed(order.seed, "initial adapter"))
    else:
        model = attach(base.model, parent / "adapter", trainable=True)
    try:
        terms = _terms(base, model, parent, order, method) if method.from_parent else []
        curve = _train(base, model, order, terms)
        _write_trained(model, order)
    finally:
        detach(model)
    return curve


def remember(base: Base, parent: Path, order: Order, method: Method) -> None:
    """Write anchors and Fisher diagonal of an updated version, at the weights that its folder holds.

    They stand for all that the version was trained on: the parent's anchors and the subset, each row by its weight.
    """
    model = attach(base.model, order.folder / "adapter", trainable=True)
    try:
        seen = _with_weight(order.subset)
        if method.from_parent:
            anchors = read_anchors(parent)
            seen = pa.concat_tables([anchors, seen.select(anchors.column_names)])
        write_memory(base, model, order, seen, method.anchors)
        remove_folder(_checkpoints(order))
    finally:
        detach(model)


def read_anchors(version: Path) -> pa.Table:
    """Read a version's anchors, with how many rows of its history each stands for.

    Raises
    ------
    ModelError
        If they do not say it.
    """
    anchors = read_table(version / ANCHORS)
    if _STANDS_FOR not in anchors.column_names:
        raise ModelError(
            f"{version / ANCHORS}: does not say how many rows each anchor stands for ({_STANDS_FOR}). Train this "
            "language's adapter anew and register it."
        )
    return anchors


def history(version: Path) -> pa.Table:
    """Return all rows that a version was trained on.

    Raises
    ------
    ModelError
        If it was updated from another version's weights: of the rows before, it keeps the anchors alone.
    """
    rows, all_rows = read_table(version / SUBSET), _times(read_anchors(version)).sum()
    if round(all_rows) != rows.num_rows:
        raise ModelError(
            f"{version}: was trained on {all_rows:.0f} rows in all and holds {rows.num_rows} of them, so it cannot be "
            "trained anew on all data so far. Choose another update.method, or train the adapter anew first."
        )
    return rows


def remembered(version: Path) -> pa.Table:
    """Return rows in the proportions of all that a version was trained on.

    Those themselves where the version has them; after an update its anchors, each as often as it stands for a row.
    """
    rows, anchors = read_table(version / SUBSET), read_anchors(version)
    if round(_times(anchors).sum()) == rows.num_rows:
        return rows
    places = np.repeat(np.arange(anchors.num_rows), np.rint(_times(anchors)).astype(np.int64))
    return anchors.take(pa.array(places))


def history_counts(version: Path, clusters: int) -> NDArray[np.int64]:
    """Return int64 (clusters,): how many of the rows that a version was trained on lie in each cluster."""
    anchors = read_anchors(version)
    weights = np.bincount(anchors.column("cluster").to_numpy(), _times(anchors), clusters)
    return np.rint(weights).astype(np.int64)


def write_reference(reference: Reference, order: Order) -> None:
    """Write what drift is judged against: centroids, means, the histogram of all rows, and the rows in two parts.

    ``fitting.npy`` holds the vectors that bandwidth and novelty radius are fitted on (``fitting_share`` of the
    sessions, at least one), ``vectors.npy`` and ``rows.parquet`` the rows that windows are compared with. Fitted on
    the rows that are compared, the novelty test alarms without drift (DESIGN.md 6).
    """
    folder, rng = order.folder / "reference", generator(order.seed, "reference")
    sessions = rng.permutation(np.unique(reference.sessions))
    apart = sessions[: max(1, round(order.params.fitting_share * len(sessions)))]
    fitting = np.isin(reference.sessions, apart)
    write_array(folder / "centroids.npy", reference.centroids)
    write_means(folder, reference.means)
    write_json(folder / "histogram.json", {"counts": reference.counts().tolist()})
    write_array(folder / "fitting.npy", reference.vectors[fitting])
    write_array(folder / "vectors.npy", reference.vectors[~fitting])
    rows = reference.traits.append_column("session", pa.array(reference.sessions))
    write_table(folder / "rows.parquet", rows.filter(pa.array(~fitting)))


def write_memory(
    base: Base, model: AdaptedModel, order: Order, seen: pa.Table, rule: AnchorRule = "stratified"
) -> None:
    """Write what the next update needs to remember: replay anchors, and the Fisher diagonal at the model's weights.

    Parameters
    ----------
    seen : table
        Rows at hand with ``stands_for``: new ones, and anchors of those before.
    rule : {"stratified", "random"}
        How anchors are chosen: by cluster and language, or at random. They are ``anchor_share`` of all rows that the
        version was trained on, at least ``anchor_min``.
    """
    params, rng = order.params, generator(order.seed, "anchors")
    weights = _times(seen)
    size = max(params.anchor_min, round(params.anchor_share * weights.sum()))
    anchors = choose_anchors(_strata(seen, rule), weights, size, rng)
    stand_for = calibrated(anchors, seen.column("cluster").to_numpy().astype(np.int64), weights)
    kept = seen.take(pa.array(anchors.rows)).drop_columns(_STANDS_FOR)
    rows = weighted_sample(weights, params.fisher_rows, rng)
    examples = base.examples(seen.take(pa.array(rows)))
    fisher = fisher_diagonal(model, examples, base.pad_id, params.schedule.batch_rows)
    save_file(fisher, order.folder / FISHER)
    write_table(order.folder / ANCHORS, kept.append_column(_STANDS_FOR, pa.array(stand_for)))


def _strata(rows: pa.Table, rule: AnchorRule) -> NDArray[np.int64]:
    """Number the rows' strata: cluster and language together, or all one."""
    if rule == "random":
        return np.zeros(rows.num_rows, np.int64)
    _, languages = np.unique(np.asarray(rows.column("language").to_pylist(), object), return_inverse=True)
    clusters = rows.column("cluster").to_numpy().astype(np.int64)
    return clusters * (languages.max(initial=0) + 1) + languages


def _times(anchors: pa.Table) -> NDArray[np.float64]:
    return np.asarray(anchors.column(_STANDS_FOR).to_numpy(), np.float64)


def _with_weight(rows: pa.Table) -> pa.Table:
    return rows.append_column(_STANDS_FOR, pa.array(np.ones(rows.num_rows)))


def _terms(base: Base, model: AdaptedModel, parent: Path, order: Order, method: Method) -> list[LossTerm]:
    """Return the method's terms; raises ``ModelError`` if the model is not at the parent's weights."""
    start, own = load_file(parent / "adapter" / WEIGHTS), weights_of(model)
    if any(not torch.equal(start[name].float(), weight) for name, weight in own.items()):
        raise ModelError(f"{parent}: the adapter's weights changed while loading; nothing was trained.")
    terms = []
    if method.ewc:
        fisher = load_file(parent / FISHER)
        terms.append(ewc_term(model, own, normalised(fisher) if method.normalised else fisher, method.ewc))
    if method.replay:
        anchors = base.examples(read_anchors(parent))
        rows = max(1, round(method.replay_share * order.params.schedule.batch_rows))
        replay = Replay(anchors, base.pad_id, method.replay, rows, derived_seed(order.seed, "replay"))
        terms.append(replay_term(replay, model, own, method.temperature))
    return terms


def _train(base: Base, model: AdaptedModel, order: Order, terms: Sequence[LossTerm] = ()) -> list[CurvePoint]:
    check_layers(model)
    run = Run(_checkpoints(order), derived_seed(order.seed, "order"), order.watch, terms)
    examples = base.examples(order.subset)
    return train(model, examples, base.pad_id, schedule_from(order.params.schedule), run)


def _checkpoints(order: Order) -> Path:
    """Name the place of the checkpoints. They stay until the version has its memory: a killed run trains once."""
    return order.folder / "checkpoints"


def _write_trained(model: AdaptedModel, order: Order) -> None:
    save_adapter(model, order.folder / "adapter")
    write_table(order.folder / SUBSET, order.subset)
