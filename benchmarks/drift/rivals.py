"""What the calibrated test is compared with: the paper's fixed threshold, and Evidently's own drift methods."""

import os
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.drift.draws import Drawn
from compass_ops.monitoring.measures import jensen_shannon
from compass_ops.selection.cluster import assign

os.environ["DO_NOT_TRACK"] = "1"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from evidently.legacy.metrics.data_drift.embedding_drift_methods import mmd, model

THRESHOLDS_NATS = (0.05, 0.1, 0.2)
_EVIDENTLY = {
    "Evidently mmd, default": mmd(),
    "Evidently mmd, bootstrap": mmd(bootstrap=True),
    "Evidently mmd, bootstrap at .95": mmd(bootstrap=True, quantile_probability=0.95),
    "Evidently model, default": model(),
    "Evidently model, bootstrap": model(bootstrap=True),
}


def fixed(drawn: Drawn, centroids: NDArray[np.float32]) -> Iterator[tuple[str, bool]]:
    """Yield the alarms of the raw divergence against fixed thresholds."""
    counts = [
        np.bincount(assign(sample.vectors, centroids), minlength=len(centroids)).astype(np.float64)
        for sample in (drawn.reference, drawn.window)
    ]
    divergence = float(jensen_shannon(counts[0], counts[1]))
    for threshold in THRESHOLDS_NATS:
        yield f"fixed JS > {threshold:g}, K = {len(centroids)}", divergence > threshold


def evidently(drawn: Drawn) -> Iterator[tuple[str, bool]]:
    """Yield the alarms of Evidently's methods, each on frames of its own since one of them writes into them."""
    columns = [f"d{number}" for number in range(drawn.reference.vectors.shape[1])]
    for name, method in _EVIDENTLY.items():
        window, reference = (pd.DataFrame(one.vectors, columns=columns) for one in (drawn.window, drawn.reference))
        yield name, bool(method(window, reference)[1])
