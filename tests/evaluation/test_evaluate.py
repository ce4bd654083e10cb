import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from compass_ops.errors import ModelError
from compass_ops.evaluation import scorer
from compass_ops.evaluation.evaluate import evaluate_languages
from compass_ops.evaluation.items import SCHEMA, accuracy_summary, asked_summary, rows_of
from compass_ops.evaluation.metrics import wilson_interval
from compass_ops.storage import file_digests, read_json, read_table, write_json
from tests.evaluation.project import ITEMS, LANGUAGES, Project


def evaluate(project: Project) -> Path:
    out = project.root / "evaluate"
    evaluate_languages(project.inputs, LANGUAGES, project.scorer(), out, project.root / "memo")
    return out


def test_items_and_metrics(project: Project) -> None:
    out = evaluate(project)
    items = read_table(out / "sw" / "items.parquet")
    assert items.schema == SCHEMA
    assert items.num_rows == 4 * ITEMS
    records = read_table(project.root / "ingest" / "gate" / "sw.parquet")
    prompts, choices = records["prompt"].to_pylist(), records["choices"].to_pylist()
    summary = read_json(out / "sw" / "metrics.json")
    for model, version in (("base", None), ("adapter", project.root / "train" / "sw" / "version")):
        rows = rows_of(items, model, "gate")
        expected = project.scores(prompts, choices, version)
        np.testing.assert_allclose(rows["scores"].to_pylist(), expected, atol=1e-5)
        right = [int(own.argmax()) == gold for own, gold in zip(expected, records["answer"].to_pylist(), strict=True)]
        assert rows["correct"].to_pylist() == right
        assert [margin >= 0 for margin in rows["margin"].to_pylist()] == right
        assert rows["cluster"].to_pylist() == [number % 4 for number in range(ITEMS)]
        interval = wilson_interval(sum(right), ITEMS)
        found = summary[model]
        assert (found["accuracy"], found["low"], found["high"], found["n"]) == (
            interval.estimate,
            interval.low,
            interval.high,
            ITEMS,
        )
        dev = rows_of(items, model, "dev")["correct"].to_pylist()
        asked_alike = pytest.approx((sum(dev) / ITEMS, ITEMS))
        assert (found["dev"]["accuracy"], found["dev"]["n"]) == asked_alike, "in all clusters"
    assert summary["adapter"]["accuracy"] == 1 > summary["base"]["accuracy"]
    assert read_json(out / "metrics.json")["sw"] == summary
    lines = (out / "accuracy.csv").read_text("utf-8").splitlines()
    assert lines[0] == "language,model,accuracy,low,high,n"
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["ca", "adapter"],
        ["ca", "base"],
        ["sw", "adapter"],
        ["sw", "base"],
    ]


def test_nothing_changed_nothing_loaded(project: Project) -> None:
    first = file_digests(evaluate(project))
    shutil.rmtree(project.root / "base")
    assert file_digests(evaluate(project)) == first


def test_two_fresh_runs_give_the_same_bytes(project: Project) -> None:
    first = file_digests(evaluate(project))
    shutil.rmtree(project.root / "memo")
    assert file_digests(evaluate(project)) == first


def test_a_new_adapter_rescores_itself_alone(project: Project) -> None:
    evaluate(project)
    before = file_digests(project.root / "memo" / "scores")
    project.add_adapter(project.root / "train" / "sw" / "version", seed=9)
    evaluate(project)
    after = file_digests(project.root / "memo" / "scores")
    assert before.items() <= after.items()
    assert len(after) - len(before) == 2  # its dev and its gate half


def test_another_precision_rescores_everything(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base scored in float32 beside an adapter scored in bf16 would be no pair."""
    evaluate(project)
    before = file_digests(project.root / "memo" / "scores")
    monkeypatch.setattr(scorer, "device_and_dtype", lambda: (torch.device("cuda"), torch.bfloat16))
    evaluate(project)
    after = file_digests(project.root / "memo" / "scores")
    assert len(after) == 2 * len(before)


def test_a_relabelled_item_rescores_nothing(project: Project) -> None:
    evaluate(project)
    before = file_digests(project.root / "memo" / "scores")
    project.write_items("gate", "sw", answers="base")
    assert read_json(evaluate(project) / "sw" / "metrics.json")["base"]["accuracy"] == 1
    assert file_digests(project.root / "memo" / "scores") == before


def test_a_language_without_an_adapter_leaves_the_reason(project: Project) -> None:
    shutil.rmtree(project.root / "train" / "sw")
    write_json(project.root / "train" / "sw" / "receipt.json", {"reason": "loss became NaN at step 3"})
    out = evaluate(project)
    assert read_json(out / "sw" / "receipt.json")["reason"] == "loss became NaN at step 3"
    assert list(read_json(out / "metrics.json")) == ["ca"]


def test_an_item_with_one_choice_stops_its_language_alone(project: Project) -> None:
    choices = [["Monday"]] + [["Monday", "x"]] * (ITEMS - 1)
    project.write_items("gate", "sw", answers="none", choices=choices)
    out = evaluate(project)
    reason = read_json(out / "sw" / "receipt.json")["reason"]
    assert reason == "test record gate-00 must have at least two choices; got 1."
    assert (out / "ca" / "items.parquet").exists()


def test_a_choice_over_the_longest_input_stops_its_language_alone(project: Project) -> None:
    project.write_items("dev", "ca", answers="none", choices=[["Monday", "x" * 99]] * ITEMS)
    out = evaluate(project)
    assert "must have 1 to 48 tokens" in read_json(out / "ca" / "receipt.json")["reason"]
    assert (out / "sw" / "items.parquet").exists()


def test_an_adapter_whose_weights_are_no_numbers_stops_its_language_alone(project: Project) -> None:
    project.add_adapter(project.root / "train" / "sw" / "version", seed=0, scale=float("nan"))
    out = evaluate(project)
    assert f"{ITEMS} of {ITEMS} items scores that are not finite" in read_json(out / "sw" / "receipt.json")["reason"]
    assert list(read_json(out / "metrics.json")) == ["ca"]


def test_items_without_answers_have_scores_and_no_accuracy(project: Project) -> None:
    project.write_items("gate", "sw", answers="none")
    out = evaluate(project)
    rows = rows_of(read_table(out / "sw" / "items.parquet"), "base", "gate")
    assert rows["correct"].null_count == rows["margin"].null_count == ITEMS
    assert rows["scores"].null_count == 0
    found = read_json(out / "sw" / "metrics.json")["base"]
    assert found.pop("dev")["n"] == pytest.approx(ITEMS)
    assert found == {
        "accuracy": None,
        "low": None,
        "high": None,
        "margin": None,
        "n": 0,
        "asked": {"accuracy": None, "low": None, "high": None, "n": 0.0},
    }


def test_an_adapter_of_another_base(project: Project) -> None:
    project.add_adapter(project.root / "train" / "sw" / "version", seed=0, base={"digest": "other"})
    with pytest.raises(ModelError, match=f"belongs to base other, this project's base is {project.entry.digest}"):
        evaluate(project)


def _questions(columns: dict[str, Any], forms: int = 1) -> pa.Table:
    """Items of questions that are each asked in so many forms."""
    rows = range(len(columns["correct"]) * forms)
    repeated = {name: [value for value in list(values) for _ in range(forms)] for name, values in columns.items()}
    names = {"id": [str(row) for row in rows], "parallel_id": [str(row // forms) for row in rows]}
    correct = pa.array(repeated.pop("correct"), pa.bool_())
    return pa.table({"correct": correct} | repeated | names)


def test_forms_of_one_question_are_no_more_evidence_than_one() -> None:
    columns = {"correct": [True, False, True, True], "cluster": [0, 0, 1, 1], "margin": [1.0, -1.0, 2.0, 2.0]}
    once, thrice = (_questions(columns, forms) for forms in (1, 3))
    assert asked_summary(thrice, np.array([3, 1])) == pytest.approx(asked_summary(once, np.array([3, 1])))
    assert accuracy_summary(thrice) == pytest.approx(accuracy_summary(once) | {"n": 12})


def test_accuracy_on_what_is_asked_by_hand() -> None:
    """Two clusters, asked 3 : 1; half right in the first, all in the second: 3/4 x 1/2 + 1/4 = 0.625."""
    columns = {"correct": [True, False, True, True], "cluster": [0, 0, 1, 1]}
    summary = asked_summary(_questions(columns), np.array([3, 1]))
    assert summary["accuracy"] == pytest.approx(0.625)
    # weights 3/8 3/8 1/8 1/8: Kish 1 / (2 x 9/64 + 2 x 1/64) = 3.2
    assert summary["n"] == pytest.approx(3.2)
    expected = wilson_interval(2, 3.2)
    assert (summary["low"], summary["high"]) == pytest.approx((expected.low, expected.high))


def test_nothing_labelled_has_no_accuracy() -> None:
    columns: dict[str, Any] = {"correct": [None], "cluster": [0]}
    assert asked_summary(_questions(columns), np.array([1]))["accuracy"] is None
