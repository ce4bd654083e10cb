"""Stage admit: whether a new adapter takes Production's place, or the bare base's where there is none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.errors import DataFault, ModelError
from compass_ops.evaluation.decision import Opponent, decided_before, decision_record, opponent_of
from compass_ops.evaluation.evaluate import EvaluateInputs, score_half
from compass_ops.evaluation.gate import GateLimits, Judgement, judge
from compass_ops.evaluation.items import paired_items, rows_of
from compass_ops.evaluation.scorer import Scorer, Version, read_version
from compass_ops.fanout import RECEIPT
from compass_ops.storage import fresh_folder, read_array, read_json, read_table, write_json
from compass_ops.training.adapt import history_counts

_OTHER_CLUSTERS = (
    "Production was made in other clusters than the candidate: what it was made for and trained on was not tested by "
    "itself, only what is asked of the candidate, and all items alike."
)


@dataclass(frozen=True)
class AdmitInputs:
    """Folders that the stage reads: evaluations, the registry's snapshot, and what was evaluated."""

    evaluations: Path
    snapshot: Path
    tested: EvaluateInputs


def admit_languages(
    inputs: AdmitInputs, languages: Sequence[str], scorer: Scorer, limits: tuple[GateLimits, int], out: Path
) -> None:
    """Leave one decision record per language: ``<language>.json``.

    Parameters
    ----------
    limits : (GateLimits, int)
        What the decision is held to, and the decisions after which a gate half is used up.
    """
    registry = read_json(inputs.snapshot / "registry.json")["languages"]
    with fresh_folder(out) as aside:
        for language in sorted(languages):
            record = _admit(inputs, language, registry.get(language, {}), scorer, limits)
            write_json(aside / f"{language}.json", record)


def _admit(
    inputs: AdmitInputs, language: str, entry: Mapping[str, Any], scorer: Scorer, limits: tuple[GateLimits, int]
) -> dict[str, Any]:
    opponent = opponent_of(entry, scorer.base.digest)
    failed = inputs.evaluations / language / RECEIPT
    if failed.exists():
        reason = Judgement("no candidate", (read_json(failed)["reason"],))
        return decision_record(language, None, opponent, reason)
    version = read_version(inputs.tested.adapters / language / "version")
    judgement = decided_before(version.digest, entry, limits[1])
    if judgement is None:
        try:
            judgement = _compared(inputs, version, opponent, (language, scorer), limits[0])
        except DataFault as fault:  # of Production on these items
            judgement = Judgement("cannot judge", (fault.reason,))
    return decision_record(language, version.digest, opponent, judgement)


def _compared(
    inputs: AdmitInputs, candidate: Version, opponent: Opponent, scoring: tuple[str, Scorer], limits: GateLimits
) -> Judgement:
    """Compare on what the candidate was made for; beside Production, on what that was made for and trained on too."""
    language, scorer = scoring
    items = read_table(inputs.evaluations / language / "items.parquet")
    reference, asked = rows_of(items, "base", "gate"), candidate.asked_counts()
    past = _Past(asked, None, ())
    if opponent.kind == "production":
        production = read_version(inputs.snapshot / "production" / language)
        if production.base_digest != candidate.base_digest:
            return Judgement(
                "cannot judge",
                (
                    f"Production version {opponent.version} belongs to base {production.base_digest}, the "
                    f"candidate to {candidate.base_digest}: one server cannot serve both. Restore that base, or "
                    "move all languages to the new one.",
                ),
            )
        reference = rows_of(_production_items(inputs, language, scorer, production), "production", "gate")
        past = _past(production, candidate)
    pairs = paired_items(reference, rows_of(items, "adapter", "gate"))
    judgement = judge(pairs, past.asked, asked, limits, opponent.kind, past.learned)
    return replace(judgement, reasons=(*judgement.reasons, *past.remarks))


@dataclass(frozen=True)
class _Past:
    """What Production was made for and trained on, int64 (K,) each, and what cannot be told of it."""

    asked: NDArray[np.int64]
    learned: NDArray[np.int64] | None
    remarks: tuple[str, ...]


def _past(production: Version, candidate: Version) -> _Past:
    """Return Production's past in the candidate's clusters, where both count in the same."""
    theirs, ours = (read_array(one.folder / "reference" / "centroids.npy") for one in (production, candidate))
    if not np.array_equal(theirs, ours):
        return _Past(candidate.asked_counts(), None, (_OTHER_CLUSTERS,))
    asked = production.asked_counts()
    try:
        return _Past(asked, history_counts(production.folder, len(asked)), ())
    except ModelError as error:  # a version of before anchors had weights; its successor must not depend on it
        return _Past(asked, None, (f"What Production was trained on was not tested by itself: {error}",))


def _production_items(inputs: AdmitInputs, language: str, scorer: Scorer, production: Version) -> pa.Table:
    """Score Production on the gate half; remembered from when it was the candidate, unless the items changed."""
    file, clusters = inputs.tested.test_files("gate", language)
    if not file.exists():
        return read_table(inputs.evaluations / language / "items.parquet").slice(0, 0)
    models: dict[str, Version | None] = {"production": production}
    return pa.concat_tables(score_half(scorer, (language, "gate"), read_table(file), read_array(clusters), models))
