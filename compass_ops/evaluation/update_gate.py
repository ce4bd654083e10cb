"""Stage gate: whether an updated adapter takes its parent's place in Production."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from compass_ops.evaluation.decision import Occasion, Opponent, decided_before, decision_record, opponent_of
from compass_ops.evaluation.gate import GateLimits, Judgement, judge
from compass_ops.evaluation.items import paired_items, rows_of
from compass_ops.evaluation.scorer import Version, read_version
from compass_ops.fanout import RECEIPT
from compass_ops.storage import file_digest, fresh_folder, read_json, read_table, write_json


def gate_updates(inputs: Mapping[str, Path], base_digest: str, limits: tuple[GateLimits, int], out: Path) -> None:
    """Leave one decision record per language that the update stage went over: ``<language>.json``.

    Parameters
    ----------
    inputs : mapping
        ``candidates`` (``<language>/version/``, ``items.parquet`` and ``window.json``, or ``receipt.json``),
        ``production`` (version folders), ``registry`` (``registry.json``) and ``drift``
        (``<language>/verdict.json``).
    base_digest : str
        Digest of the base model.
    limits : (GateLimits, int)
        What the decision is held to, and the decisions after which a gate half is used up.
    """
    registry = read_json(inputs["registry"])["languages"]
    with fresh_folder(out) as aside:
        for folder in sorted(path for path in inputs["candidates"].iterdir() if path.is_dir()):
            entry = registry.get(folder.name, {})
            record = _gate(inputs, folder, entry, opponent_of(entry, base_digest), limits)
            write_json(aside / f"{folder.name}.json", record)


def _gate(
    inputs: Mapping[str, Path],
    folder: Path,
    entry: Mapping[str, Any],
    opponent: Opponent,
    limits: tuple[GateLimits, int],
) -> dict[str, Any]:
    language, receipt = folder.name, folder / RECEIPT
    if receipt.exists():
        nothing = Judgement("no candidate", (read_json(receipt)["reason"],))
        return decision_record(language, None, opponent, nothing)
    candidate, window = read_version(folder / "version"), read_json(folder / "window.json")
    judgement = decided_before(candidate.digest, entry, limits[1]) or _another_parent(candidate, opponent)
    if judgement is None:
        items = read_table(folder / "items.parquet")
        pairs = paired_items(rows_of(items, "production", "gate"), rows_of(items, "candidate", "gate"))
        old = read_version(inputs["production"] / language).asked_counts()
        new, learned = (np.asarray(window[name], dtype=np.int64) for name in ("counts", "learned"))
        judgement = judge(pairs, old, new, limits[0], "production", learned)
    verdict = inputs["drift"] / language / "verdict.json"
    occasion = Occasion(window["window"], file_digest(verdict))
    return decision_record(language, candidate.digest, opponent, judgement, occasion)


def _another_parent(candidate: Version, opponent: Opponent) -> Judgement | None:
    """An update was compared with its parent; it says nothing about another version that serves meanwhile."""
    parent = candidate.manifest["parent"]
    if opponent.kind == "production" and opponent.digest == parent:
        return None
    serving = f"version {opponent.version} ({opponent.digest})" if opponent.kind == "production" else "no version"
    return Judgement(
        "cannot judge",
        (f"The candidate updates {parent}, but {serving} is in Production: run `dvc repro` to update that one.",),
    )
