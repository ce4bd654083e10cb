"""A version's files from a subset, and a version continued from another."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

from compass_ops.corpus.records import to_table
from compass_ops.corpus.traits import session_numbers, text_traits
from compass_ops.errors import ModelError
from compass_ops.model_files import folder_entry
from compass_ops.sections import BaseParams, FolderModel, ScheduleParams, TrainParams
from compass_ops.storage import read_array, read_json, read_table, write_table
from compass_ops.training import adapt
from compass_ops.training.adapt import (
    Base,
    Order,
    Reference,
    history,
    history_counts,
    read_anchors,
    remember,
    train_new,
    update,
    write_reference,
)
from compass_ops.training.adapter import AdaptedModel, new_adapter, weights_of
from compass_ops.training.base import load_base
from compass_ops.training.ewc import ewc_term
from compass_ops.training.method import Method
from compass_ops.training.recipe import schedule_from
from compass_ops.training.train import CurvePoint, Run, _TermTrainer, train
from tests.tiny_models import save_tiny_model

SCHEDULE = ScheduleParams(
    epochs=2,
    batch_rows=4,
    accumulation=1,
    learning_rate=5e-3,
    warmup_share=0.0,
    weight_decay=0.0,
    checkpoint_steps=100,
)
PARAMS = TrainParams(
    lora={"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"]},
    schedule=SCHEDULE,
    fisher_rows=6,
    anchor_share=0.25,
    anchor_min=4,
    fitting_share=0.25,
)


def subset(rows: int = 24, name: str = "r") -> pa.Table:
    records = [
        {
            "id": f"{name}{n}", "language": "sw", "role": "own", "prompt": f"Which number comes after {n}?",
            "completion": str(n + 1), "choices": None, "answer": None, "topic": None, "parallel_id": None,
            "source": "test", "weight": 1.0,
        }
        for n in range(rows)
    ]  # fmt: skip
    table = to_table(records)
    table = table.append_column("cluster", pa.array([n % 3 for n in range(rows)], pa.int32()))
    return table.append_column("reason", pa.array(["own data"] * rows))


@pytest.fixture
def base(tmp_path: Path) -> Base:
    save_tiny_model("llama", tmp_path / "base")
    model, tokenizer = load_base(folder_entry(Path("base"), tmp_path), tmp_path)
    folder = FolderModel(kind="folder", path="base")
    return Base(model, tokenizer, BaseParams(model=folder, embedder=folder, separator=" ", max_tokens=64))


ECDA = Method(ewc=2.0, replay=0.1, temperature=2.0)


def updated(base: Base, parent: Path, order: Order, method: Method = ECDA) -> None:
    """A whole update, as the stage makes it."""
    update(base, parent, order, method)
    remember(base, parent, order, method)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def test_a_new_version_holds_weights_fisher_anchors_and_subset(base: Base, tmp_path: Path) -> None:
    seen: list[CurvePoint] = []
    curve = train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1", seen.append))
    assert curve == seen
    own, fisher = weights(tmp_path / "v1"), load_file(tmp_path / "v1" / "fisher.safetensors")
    assert {name: w.shape for name, w in own.items()} == {name: f.shape for name, f in fisher.items()}
    assert all((f >= 0).all() for f in fisher.values())
    anchors = read_table(tmp_path / "v1" / "anchors.parquet")
    assert np.bincount(anchors.column("cluster").to_numpy()).tolist() == [2, 2, 2]  # a quarter of 24
    assert anchors.column("stands_for").to_pylist() == [4.0] * 6
    assert read_table(tmp_path / "v1" / "subset.parquet").equals(subset())
    assert not (tmp_path / "v1" / "checkpoints").exists()


def test_a_version_killed_after_its_training_is_not_trained_again(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(subset(), PARAMS, 0, tmp_path / "v1")

    class Killed(Exception):
        pass

    def killed(*_: object) -> None:
        raise Killed

    def untrained(*_: object) -> torch.Tensor:
        raise AssertionError("a step was taken again")

    with monkeypatch.context() as patch:
        patch.setattr(adapt, "fisher_diagonal", killed)
        with pytest.raises(Killed):
            train_new(base, order)
    with monkeypatch.context() as patch:
        patch.setattr(_TermTrainer, "compute_loss", untrained)
        train_new(base, order)
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "whole"))
    for name in ("adapter/adapter_model.safetensors", "fisher.safetensors"):
        assert (tmp_path / "v1" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "v1" / "checkpoints").exists()


def test_what_the_fisher_diagonal_refuses_is_refused_before_training(base: Base, tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"lora": {"r": 2, "target_modules": ["q_proj", "embed_tokens"]}})
    with pytest.raises(ModelError, match="exact for the weights of LoRA and DoRA on linear"):
        train_new(base, Order(subset(), params, 0, tmp_path / "v1"))
    assert not (tmp_path / "v1").exists()


def test_the_base_is_left_as_it_was(base: Base, tmp_path: Path) -> None:
    before = {name: p.clone() for name, p in base.model.named_parameters()}
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))
    after = dict(base.model.named_parameters())
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_same_seed_same_version(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "one"))
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "two"))
    assert all(torch.equal(w, weights(tmp_path / "two")[name]) for name, w in weights(tmp_path / "one").items())


@pytest.mark.parametrize("dora", [False, True])
def test_an_update_equals_its_parent_at_step_0(
    dora: bool, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = PARAMS.model_copy(update={"lora": {**PARAMS.lora, "use_dora": dora}})
    train_new(base, Order(subset(), params, 0, tmp_path / "v1"))
    starts: list[dict[str, torch.Tensor]] = []
    losses: list[list[float]] = []

    def first_step(model: AdaptedModel, _: object, __: int, ___: object, run: Run) -> list[CurvePoint]:
        starts.append(weights_of(model))
        losses.append([term(model, 0).item() for term in run.terms])
        return []

    monkeypatch.setattr("compass_ops.training.adapt.train", first_step)
    for method in (ECDA, Method(replay=ECDA.replay)):
        update(base, tmp_path / "v1", Order(subset(8), params, 1, tmp_path / "v2"), method)
    parent = weights(tmp_path / "v1")
    assert starts[0].keys() == parent.keys()
    assert all(torch.equal(weight, parent[name]) for name, weight in starts[0].items())
    (penalty, replayed), (cross_entropy,) = losses
    assert penalty == 0.0
    assert replayed == pytest.approx(cross_entropy, abs=1e-6), "the divergence from the parent is 0"


def test_a_strong_penalty_holds_the_update_near_its_parent(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))

    def moved(strength: float, name: str) -> float:
        order = Order(subset(8), PARAMS, 1, tmp_path / name)
        update(base, tmp_path / "v1", order, Method(ewc=strength))
        start, end = weights(tmp_path / "v1"), weights(tmp_path / name)
        fisher = load_file(tmp_path / "v1" / "fisher.safetensors")
        return sum(float((fisher[key] * (end[key] - start[key]) ** 2).sum()) for key in start)

    assert moved(1e4, "held") < 0.2 * moved(0.0, "free")


def test_the_papers_penalty_takes_the_fisher_diagonal_as_it_is(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))
    fisher = load_file(tmp_path / "v1" / "fisher.safetensors")
    given: list[dict[str, torch.Tensor]] = []

    def noted(model: AdaptedModel, anchor: object, fisher: dict[str, torch.Tensor], strength: float) -> object:
        given.append(fisher)
        return ewc_term(model, anchor, fisher, strength)  # type: ignore[arg-type]

    monkeypatch.setattr("compass_ops.training.adapt.ewc_term", noted)
    for normalised in (False, True):
        method = Method(ewc=2.0, normalised=normalised)
        update(base, tmp_path / "v1", Order(subset(4), PARAMS, 1, tmp_path / str(normalised)), method)
    assert all(torch.equal(fisher[name], one) for name, one in given[0].items())
    assert torch.cat([one.flatten() for one in given[1].values()]).mean().item() == pytest.approx(1.0, rel=1e-4)


def test_an_update_remembers_old_and_new_by_their_rows(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))
    updated(base, tmp_path / "v1", Order(subset(8, "new"), PARAMS, 1, tmp_path / "v2"))
    kept = read_anchors(tmp_path / "v2")
    assert kept.num_rows == 8, "a quarter of 24 + 8"
    assert sum(kept.column("stands_for").to_pylist()) == pytest.approx(32)
    assert history_counts(tmp_path / "v2", 3).tolist() == [11, 11, 10]
    old = set(read_table(tmp_path / "v1" / "anchors.parquet").column("id").to_pylist())
    names = kept.column("id").to_pylist()
    assert len(old & set(names)) >= 4, "three quarters of the history are old"
    assert set(names) - old, "and a quarter is new"


def test_anchors_are_kept_by_cluster_and_language(base: Base, tmp_path: Path) -> None:
    rows = subset()
    languages = ["sw" if n < 16 else "id" for n in range(24)]
    rows = rows.set_column(rows.column_names.index("language"), "language", pa.array(languages))
    train_new(base, Order(rows, PARAMS.model_copy(update={"anchor_min": 12}), 0, tmp_path / "v1"))
    kept = read_anchors(tmp_path / "v1").to_pandas().groupby(["cluster", "language"]).size()
    there = rows.to_pandas().groupby(["cluster", "language"]).size()
    assert kept.groupby("cluster").sum().tolist() == [4, 4, 4]
    assert ((kept - there / 2).abs() < 1).all(), "half of each, up or down to a whole number"


def test_random_anchors_pass_over_clusters(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))
    method = Method(replay=1.0, anchors="random")
    drawn = set()
    for seed in range(6):
        updated(base, tmp_path / "v1", Order(subset(8), PARAMS, seed, tmp_path / "v2"), method)
        drawn.add(tuple(np.bincount(read_anchors(tmp_path / "v2").column("cluster").to_numpy(), minlength=3)))
    assert len(drawn) > 1


def test_the_fisher_diagonal_is_that_of_the_weights_in_the_folder(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))
    order = Order(subset(8), PARAMS, 1, tmp_path / "v2")
    updated(base, tmp_path / "v1", order, Method())
    trained = load_file(tmp_path / "v2" / "fisher.safetensors")
    parent = tmp_path / "v1" / "adapter" / "adapter_model.safetensors"
    (tmp_path / "v2" / "adapter" / "adapter_model.safetensors").write_bytes(parent.read_bytes())  # another candidate
    remember(base, tmp_path / "v1", order, Method())
    chosen = load_file(tmp_path / "v2" / "fisher.safetensors")
    assert any(not torch.allclose(trained[name], chosen[name]) for name in trained)


def test_a_retraining_starts_at_the_base_on_all_rows_so_far(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(16), PARAMS, 0, tmp_path / "v1"))
    everything = pa.concat_tables([history(tmp_path / "v1"), subset(8)])
    updated(base, tmp_path / "v1", Order(everything, PARAMS, 1, tmp_path / "v2"), Method(from_parent=False))
    train_new(base, Order(everything, PARAMS, 1, tmp_path / "fresh"))
    assert all(torch.equal(w, weights(tmp_path / "fresh")[name]) for name, w in weights(tmp_path / "v2").items())
    assert history(tmp_path / "v2").num_rows == 24


def test_a_retraining_after_an_update_is_refused_since_rows_are_gone(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))
    updated(base, tmp_path / "v1", Order(subset(4), PARAMS, 1, tmp_path / "v2"))
    with pytest.raises(ModelError, match="was trained on 28 rows in all and holds 4 of them"):
        history(tmp_path / "v2")


def test_anchors_without_weights_are_refused(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))
    file = tmp_path / "v1" / "anchors.parquet"
    write_table(file, read_table(file).drop_columns("stands_for"))
    with pytest.raises(ModelError, match="does not say how many rows each anchor stands for"):
        update(base, tmp_path / "v1", Order(subset(4), PARAMS, 1, tmp_path / "v2"), ECDA)


def test_an_adapter_of_another_base_is_refused(base: Base, tmp_path: Path) -> None:
    train_new(base, Order(subset(), PARAMS, 0, tmp_path / "v1"))
    save_tiny_model("phi3", tmp_path / "other")
    model, tokenizer = load_base(folder_entry(Path("other"), tmp_path), tmp_path)
    with pytest.raises(ModelError, match="does not fit this base model"):
        update(Base(model, tokenizer, base.params), tmp_path / "v1", Order(subset(4), PARAMS, 1, tmp_path / "v2"), ECDA)


def _written(folder: Path, sessions: list[str | None]) -> tuple[np.ndarray, np.ndarray, pa.Table]:
    rows = len(sessions)
    vectors = np.eye(rows, dtype=np.float32)
    clusters = np.arange(rows, dtype=np.int32) % 3
    traits = text_traits([f"question {row}" for row in range(rows)])
    reference = Reference(vectors, clusters, vectors[:3], {}, traits, session_numbers(sessions))
    write_reference(reference, Order(subset(), PARAMS, 0, folder))
    parts = [read_array(folder / "reference" / f"{name}.npy") for name in ("fitting", "vectors")]
    return parts[0], parts[1], read_table(folder / "reference" / "rows.parquet")


def test_what_is_fitted_on_and_what_is_compared_are_apart(tmp_path: Path) -> None:
    fitting, vectors, rows = _written(tmp_path, [None] * 20)
    assert (len(fitting), len(vectors), rows.num_rows) == (5, 15, 15)
    assert (fitting @ vectors.T == 0).all()
    assert np.concatenate([fitting, vectors]).sum(axis=0).tolist() == [1.0] * 20
    assert read_json(tmp_path / "reference" / "histogram.json") == {"counts": [7, 7, 6]}, "of all rows: the gate's"
    assert rows.column_names == ["script", "characters", "letters", "digits", "session"]


def test_no_session_is_on_both_sides(tmp_path: Path) -> None:
    names = [f"s{row // 5}" for row in range(20)]
    fitting, vectors, rows = _written(tmp_path, list(names))
    assert len(fitting) == 5
    apart = {names[int(row)] for row in fitting.argmax(axis=1)}
    assert len(apart) == 1
    assert apart.isdisjoint(names[int(row)] for row in vectors.argmax(axis=1))
    assert np.unique(rows.column("session").to_numpy()).size == 3


def test_dora_trains_through_the_same_code(base: Base, tmp_path: Path) -> None:
    dora = PARAMS.model_copy(update={"lora": {**PARAMS.lora, "use_dora": True}})
    train_new(base, Order(subset(), dora, 0, tmp_path / "v1"))
    updated(base, tmp_path / "v1", Order(subset(4), dora, 1, tmp_path / "v2"))
    assert any("magnitude" in name for name in weights(tmp_path / "v2"))


def test_training_leaves_the_modules_that_are_no_target_alone(base: Base, tmp_path: Path) -> None:
    model = new_adapter(base.model, PARAMS.lora, 0)
    frozen = {name: p.clone() for name, p in model.named_parameters() if not p.requires_grad}
    examples = base.examples(subset())
    train(model, examples, base.pad_id, schedule_from(SCHEDULE), Run(tmp_path / "work", 0))
    assert all(torch.equal(p, frozen[name]) for name, p in model.named_parameters() if name in frozen)
