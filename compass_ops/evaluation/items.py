"""Per-item results as a table: one row per model, half of the test and item."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from compass_ops.evaluation.gate import PairedItems
from compass_ops.evaluation.metrics import (
    FloatArray,
    effective_size,
    gold_margin,
    group_numbers,
    histogram_weights,
    predicted_choice,
    weighted_mean,
    wilson_interval,
)

HALVES = ("dev", "gate")  # of a language's test: what chooses, and what decides
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("half", pa.string()),
        ("id", pa.string()),
        ("parallel_id", pa.string()),
        ("topic", pa.string()),
        ("cluster", pa.int32()),
        ("scores", pa.list_(pa.float64())),
        ("answer", pa.int64()),
        ("predicted", pa.int64()),
        ("correct", pa.bool_()),
        ("margin", pa.float64()),
    ]
)


def item_table(
    model: str, half: str, records: pa.Table, clusters: NDArray[np.int32], scores: Sequence[FloatArray]
) -> pa.Table:
    """Join records (n rows), clusters int32 (n,) and choice scores (n arrays) into the result table.

    ``correct`` and ``margin`` (nats) are null where the record has no answer.
    """
    answers = records["answer"].to_pylist()
    predicted = [predicted_choice(own) for own in scores]
    labelled = [
        (None, None) if answer is None else (guess == answer, gold_margin(own, answer))
        for answer, guess, own in zip(answers, predicted, scores, strict=True)
    ]
    columns: dict[str, Any] = {
        "model": [model] * len(scores),
        "half": [half] * len(scores),
        "id": records["id"],
        "parallel_id": records["parallel_id"],
        "topic": records["topic"],
        "cluster": clusters,
        "scores": [own.tolist() for own in scores],
        "answer": answers,
        "predicted": predicted,
        "correct": [correct for correct, _ in labelled],
        "margin": [margin for _, margin in labelled],
    }
    arrays = [
        columns[field.name].cast(field.type)
        if isinstance(columns[field.name], pa.ChunkedArray)
        else pa.array(columns[field.name], field.type)
        for field in SCHEMA
    ]
    return pa.table(arrays, schema=SCHEMA)


def rows_of(table: pa.Table, model: str, half: str) -> pa.Table:
    """Return one model's rows of one half, sorted by id."""
    chosen = pc.and_(pc.equal(table["model"], model), pc.equal(table["half"], half))
    return table.filter(chosen).sort_by("id")


def paired_items(reference: pa.Table, candidate: pa.Table) -> PairedItems:
    """Pair two models' rows of the same items (see ``rows_of``), leaving out those without an answer.

    Raises
    ------
    ValueError
        If the two answered different items.
    """
    if reference["id"].to_pylist() != candidate["id"].to_pylist():
        raise ValueError(
            f"The two models answered different items ({reference.num_rows} and {candidate.num_rows} rows): "
            "score both again."
        )
    labelled = pc.is_valid(candidate["answer"])
    kept, other = candidate.filter(labelled), reference.filter(labelled)
    return PairedItems(
        reference_correct=_array(other, "correct", np.bool_),
        candidate_correct=_array(kept, "correct", np.bool_),
        reference_margin=_array(other, "margin", np.float64),
        candidate_margin=_array(kept, "margin", np.float64),
        clusters=_array(kept, "cluster", np.int64),
        groups=group_numbers(kept["parallel_id"].to_pylist(), kept["id"].to_pylist()),
        unlabelled=candidate.num_rows - kept.num_rows,
    )


def asked_summary(rows: pa.Table, counts: NDArray[np.int64]) -> dict[str, float | None]:
    """Return accuracy on what is asked: labelled rows weighted by a histogram of clusters, int64 (K,).

    The 95 % limits are Wilson's at Kish's effective size, which is ``n``; forms of one question count as one item.
    """
    labelled = rows.filter(pc.is_valid(rows["correct"]))
    if not labelled.num_rows:
        return {"accuracy": None, "low": None, "high": None, "n": 0.0}
    weights = histogram_weights(_array(labelled, "cluster", np.int64), counts)
    n = effective_size(_by_question(labelled, weights))
    share = weighted_mean(_array(labelled, "correct", np.float64), weights)
    interval = wilson_interval(share * n, n)
    return {"accuracy": interval.estimate, "low": interval.low, "high": interval.high, "n": interval.n}


def accuracy_summary(rows: pa.Table) -> dict[str, float | int | None]:
    """Return accuracy, its 95 % limits as in ``asked_summary``, mean gold margin (nats), and n, the labelled rows."""
    labelled = rows.filter(pc.is_valid(rows["correct"]))
    if not labelled.num_rows:
        return {"accuracy": None, "low": None, "high": None, "margin": None, "n": 0}
    size = effective_size(_by_question(labelled, np.ones(labelled.num_rows)))
    interval = wilson_interval(float(pc.mean(labelled["correct"].cast(pa.float64())).as_py()) * size, size)
    return {
        "accuracy": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "margin": float(pc.mean(rows["margin"]).as_py()),
        "n": labelled.num_rows,
    }


def _by_question(rows: pa.Table, weights: FloatArray) -> FloatArray:
    """Return the weight of each question, float64 (questions,), all its forms together."""
    groups = group_numbers(rows["parallel_id"].to_pylist(), rows["id"].to_pylist())
    return np.bincount(groups, weights).astype(np.float64)


def _array(table: pa.Table, column: str, kind: Any) -> NDArray[Any]:
    return np.asarray(table[column].to_numpy(zero_copy_only=False), dtype=kind)
