"""Stage evaluate: per-item results of the base and of each new adapter."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from compass_ops.errors import DataFault
from compass_ops.evaluation.items import HALVES, SCHEMA, accuracy_summary, asked_summary, item_table, rows_of
from compass_ops.evaluation.scorer import Scorer, Version, read_version
from compass_ops.fanout import RECEIPT, fan_out
from compass_ops.storage import (
    file_digest,
    read_array,
    read_json,
    read_table,
    value_digest,
    write_bytes,
    write_json,
    write_table,
)

FORMAT = 5


@dataclass(frozen=True)
class EvaluateInputs:
    """Folders that the stage reads.

    Attributes
    ----------
    adapters : Path
        ``<language>/version/`` for each new adapter, or ``<language>/receipt.json`` with the reason for none.
    records : Path
        ``<half>/<language>.parquet``, for the halves dev and gate; a language may lack either.
    assignments : Path
        ``<half>/<language>.npy``: clusters in the rows' order.
    """

    adapters: Path
    records: Path
    assignments: Path

    def test_files(self, half: str, language: str) -> tuple[Path, Path]:
        """Return the files of a language's records and of their clusters."""
        return self.records / half / f"{language}.parquet", self.assignments / half / f"{language}.npy"


def evaluate_languages(inputs: EvaluateInputs, languages: Sequence[str], scorer: Scorer, out: Path, memo: Path) -> None:
    """Score every language's test items with the base and with its adapter.

    Leaves ``<language>/items.parquet`` and ``metrics.json`` (accuracy on the gate half), and for DVC
    ``metrics.json`` and ``accuracy.csv`` over all languages. A language without an adapter leaves a
    receipt with the reason.
    """

    def make(language: str, folder: Path) -> None:
        version = _trained(inputs, language)
        tables = [SCHEMA.empty_table()]
        for half in HALVES:
            file, clusters = inputs.test_files(half, language)
            if file.exists():
                records = read_table(file)
                tables += score_half(
                    scorer, (language, half), records, read_array(clusters), {"base": None, "adapter": version}
                )
        items = pa.concat_tables(tables)
        write_table(folder / "items.parquet", items)
        write_json(folder / "metrics.json", {model: _summary(items, model, version) for model in ("base", "adapter")})

    fan_out(("evaluate", FORMAT), {name: _digest(inputs, name, scorer) for name in languages}, make, out, memo)
    files = {language: out / language / "metrics.json" for language in sorted(languages)}
    metrics = {language: read_json(file) for language, file in files.items() if file.exists()}
    write_json(out / "metrics.json", metrics)
    write_bytes(out / "accuracy.csv", _accuracy_csv(metrics).encode())


def score_half(
    scorer: Scorer,
    scope: tuple[str, str],
    records: pa.Table,
    clusters: np.ndarray[Any, Any],
    models: dict[str, Version | None],
) -> list[pa.Table]:
    """Score one half with several models (None: the bare base): one item table each.

    Parameters
    ----------
    scope : (language, half)
    records : pa.Table (n rows)
    clusters : int32 (n,)
    models : mapping of the name in the table to the adapter version
    """
    language, half = scope
    return [
        item_table(name, half, records, clusters, scorer.scores(language, records, version))
        for name, version in models.items()
    ]


def _summary(items: pa.Table, model: str, version: Version) -> dict[str, Any]:
    """Sum up the gate half, over all items alike and by what is asked of the language, and beside it dev as asked.

    Experiments are to be chosen by dev: a look at the gate half is not counted there.
    """
    rows, dev = (rows_of(items, model, half) for half in ("gate", "dev"))
    counts = version.asked_counts()
    return {**accuracy_summary(rows), "asked": asked_summary(rows, counts), "dev": asked_summary(dev, counts)}


def _trained(inputs: EvaluateInputs, language: str) -> Version:
    receipt = inputs.adapters / language / RECEIPT
    if receipt.exists():
        raise DataFault(language, read_json(receipt)["reason"])
    return read_version(inputs.adapters / language / "version")


def _digest(inputs: EvaluateInputs, language: str, scorer: Scorer) -> str:
    """Digest everything that a language's results depend on."""
    folder = inputs.adapters / language
    decisive = [folder / RECEIPT, folder / "version" / "manifest.json"]
    decisive += [file for half in HALVES for file in inputs.test_files(half, language)]
    files = [file_digest(file) if file.exists() else None for file in decisive]
    return value_digest([files, scorer.base.digest, scorer.decisive])


def _accuracy_csv(metrics: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("accuracy", "low", "high", "n")
    writer.writerow(("language", "model", *columns))
    for language, models in sorted(metrics.items()):
        for model, summary in sorted(models.items()):
            writer.writerow((language, model, *(summary["asked"][column] for column in columns)))
    return text.getvalue()
