"""Accuracy and margin on what is asked: test items weighted by the topics of the target prompts.

Topics, which no strategy is given, weight all strategies alike; clusters would weight each by its own clustering.
On the real sets the embedder was trained on pairs of one topic, see the README.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from compass_ops.evaluation.metrics import effective_size, paired_mean, share_weights, weighted_mean


@dataclass(frozen=True)
class Score:
    """Weighted accuracy in [0, 1], margin in nats with its standard error, and Kish's effective number of items."""

    accuracy: float
    margin: float
    margin_error: float
    n: float


def asked_score(items: pa.Table, half: str, target: pa.Table) -> Score:
    """Return a model's score on one half of an item table under the topics of the target prompts."""
    rows = items.filter(pc.equal(items["half"], half))
    weights = topic_weights(rows["topic"].to_pylist(), target["topic"].to_pylist())
    correct = np.asarray(rows["correct"].to_numpy(zero_copy_only=False), np.float64)
    margin = np.asarray(rows["margin"].to_numpy(zero_copy_only=False), np.float64)
    error = paired_mean(margin, weights, np.arange(len(margin))).standard_error
    return Score(weighted_mean(correct, weights), weighted_mean(margin, weights), error, effective_size(weights))


def asked_accuracy(items: pa.Table, half: str, target: pa.Table) -> float:
    """Return the accuracy alone, see ``asked_score``."""
    return asked_score(items, half, target).accuracy


def topic_weights(topics: list[str | None], asked: list[str | None]) -> NDArray[np.float64]:
    """Return float64 (n,): each topic's items weigh together what its share of the target prompts is."""
    names = sorted({*map(str, topics), *map(str, asked)})
    shares = np.array([sum(str(topic) == name for topic in asked) for name in names]) / max(1, len(asked))
    return share_weights(np.array([names.index(str(topic)) for topic in topics], np.int64), shares)
