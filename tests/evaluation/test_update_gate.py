from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from compass_ops.errors import StorageError
from compass_ops.evaluation.gate import BETTER, NOT_WORSE, GateLimits
from compass_ops.evaluation.items import item_table
from compass_ops.evaluation.update_gate import gate_updates
from compass_ops.storage import file_digest, read_json, read_table, write_json, write_table

LIMITS = (GateLimits(margin=0.05, alpha=0.05, power=0.8, uncovered_share=0.2, least_items=30), 20)
N = 200  # gate items, the first half in cluster 0, the second in cluster 1


def _table(model: str, right: np.ndarray[Any, Any]) -> pa.Table:
    records = pa.table(
        {
            "id": [f"item {number}" for number in range(N)],
            "parallel_id": [f"question {number}" for number in range(N)],
            "topic": pa.array([None] * N, pa.string()),
            "answer": [0] * N,
        }
    )
    scores = [np.array([-1.0, -2.0] if own else [-2.0, -1.0]) for own in right]
    return item_table(model, "gate", records, np.arange(N, dtype=np.int32) // 100, scores)


@pytest.fixture
def inputs(tmp_path: Path) -> dict[str, Path]:
    """Swahili: a candidate that gains 40 of the 100 items of cluster 1, where the window lies, and loses none."""
    update = tmp_path / "update" / "sw"
    before = np.arange(N) % 100 < 50
    after = before | ((np.arange(N) >= 100) & (np.arange(N) % 100 < 90))
    items = pa.concat_tables([_table("production", before), _table("candidate", after)])
    write_table(update / "items.parquet", items)
    write_json(update / "window.json", {"window": "w03", "counts": [5, 95], "learned": [100, 20]})
    write_json(update / "version" / "manifest.json", {"digest": "new", "base": {"digest": "base"}, "parent": "old"})
    write_json(tmp_path / "production" / "sw" / "manifest.json", {"digest": "old", "base": {"digest": "base"}})
    write_json(tmp_path / "production" / "sw" / "reference" / "histogram.json", {"counts": [100, 0]})
    write_json(tmp_path / "drift" / "sw" / "verdict.json", {"drift": True})
    write_json(tmp_path / "update" / "ca" / "receipt.json", {"status": "no update", "reason": "no drift, p = 0.4"})
    registry = {"languages": {"sw": {"production": {"version": "1", "digest": "old"}, "judged": {}, "gate_uses": 1}}}
    write_json(tmp_path / "registry.json", registry)
    folders = {name: tmp_path / name for name in ("production", "drift")}
    return folders | {"candidates": tmp_path / "update", "registry": tmp_path / "registry.json"}


def gate(inputs: dict[str, Path], language: str = "sw") -> dict[str, Any]:
    out = inputs["candidates"].parent / "gate"
    gate_updates(inputs, "base", LIMITS, out)
    record: dict[str, Any] = read_json(out / f"{language}.json")
    return record


def test_promote(inputs: dict[str, Path]) -> None:
    record = gate(inputs)
    assert record["verdict"] == "promote"
    assert record["against"] == {"kind": "production", "version": "1", "digest": "old"}
    assert (record["candidate"], record["window"], record["used_gate"]) == ("new", "w03", True)
    assert record["drift_digest"] == file_digest(inputs["drift"] / "sw" / "verdict.json")
    estimates = {test["name"]: test["estimate"] for test in record["tests"]}
    assert estimates[NOT_WORSE] == 0.0
    assert estimates[BETTER] == pytest.approx(0.95 * 0.4)


def test_no_update(inputs: dict[str, Path]) -> None:
    record = gate(inputs, "ca")
    assert (record["verdict"], record["reasons"]) == ("no candidate", ["no drift, p = 0.4"])
    assert record["against"]["kind"] == "base"


def test_labels_missing(inputs: dict[str, Path]) -> None:
    update = inputs["candidates"] / "sw"
    items = read_table(update / "items.parquet")
    for name in ("answer", "correct", "margin"):
        place = items.column_names.index(name)
        items = items.set_column(
            place, items.schema.field(place), pa.nulls(items.num_rows, items.schema.field(place).type)
        )
    write_table(update / "items.parquet", items)
    record = gate(inputs)
    assert (record["verdict"], record["used_gate"], record["tests"]) == ("cannot judge", False, [])
    assert f"Only 0 labelled items of {N}" in record["reasons"][0]


def test_production_changed_meanwhile(inputs: dict[str, Path]) -> None:
    write_json(inputs["registry"], {"languages": {"sw": {"production": {"version": "2", "digest": "x"}}}})
    record = gate(inputs)
    assert (record["verdict"], record["used_gate"]) == ("cannot judge", False)
    assert "updates old, but version 2 (x) is in Production" in record["reasons"][0]


def test_production_withdrawn(inputs: dict[str, Path]) -> None:
    write_json(inputs["registry"], {"languages": {}})
    assert "updates old, but no version is in Production" in gate(inputs)["reasons"][0]


def test_promoted_before(inputs: dict[str, Path]) -> None:
    write_json(inputs["registry"], {"languages": {"sw": {"production": {"version": "2", "digest": "new"}}}})
    record = gate(inputs)
    assert (record["verdict"], record["reasons"]) == ("already judged", ["It is Production version 2 already."])


def test_models_that_answered_different_items(inputs: dict[str, Path]) -> None:
    update = inputs["candidates"] / "sw"
    write_table(update / "items.parquet", _table("production", np.ones(N)))
    with pytest.raises(ValueError, match="different items \\(200 and 0 rows\\)"):
        gate(inputs)


def test_a_missing_verdict(inputs: dict[str, Path]) -> None:
    (inputs["drift"] / "sw" / "verdict.json").unlink()
    with pytest.raises(StorageError, match=r"verdict\.json"):
        gate(inputs)
