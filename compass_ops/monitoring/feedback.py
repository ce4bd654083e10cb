"""Labelled rows of a window that a candidate may be trained on: none that judges it, and no more than the budget."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from compass_ops.corpus import decontaminate as match
from compass_ops.selection.choose import Rows, with_reasons
from compass_ops.selection.problem import affordable
from compass_ops.selection.subset import Costs

ROLES_HELD_BACK = ("target", "dev", "gate")


@dataclass(frozen=True)
class FeedbackRules:
    """What feedback is held to.

    Attributes
    ----------
    near_duplicates, keep_translations
        As for ``corpus.ingest.IngestSettings``.
    budget : int
        Of the whole update, in ``unit``.
    unit : str
        ``rows`` or ``tokens``.
    costs : callable, table of n records -> int64 (n,)
        What each row takes of the budget.
    """

    near_duplicates: float | None
    keep_translations: bool
    budget: int
    unit: str
    costs: Costs


@dataclass(frozen=True)
class Feedback:
    """The labelled rows to train on, as rows of a subset, what they cost together, and what was done, in words."""

    subset: pa.Table
    cost: int
    notes: tuple[str, ...]


def choose_feedback(window: Rows, held: pa.Table, rules: FeedbackRules, rng: np.random.Generator) -> Feedback:
    """Take a window's labelled rows but those that match ``held``; at random where they exceed the budget.

    Parameters
    ----------
    window : Rows
    held : table of records
        The language's own rows of ``ROLES_HELD_BACK``: no other language's judge its adapter, and only that is trained.
    rules : FeedbackRules
    rng : numpy.random.Generator
        Drawn from only where the budget is exceeded.
    """
    labelled = _taken(window, np.flatnonzero(pc.not_equal(window.table.column("completion"), "").to_numpy()))
    matching = _matches(labelled.table, held, rules)
    usable = _taken(labelled, np.flatnonzero(~matching))
    costs = rules.costs(usable.table)
    kept = np.arange(len(costs), dtype=np.int64)
    if costs.sum() > rules.budget:
        kept = np.sort(affordable(rng.permutation(kept), costs, rules.budget))
    cost, removed = int(costs[kept].sum()), int(matching.sum())
    notes = []
    if removed:
        notes.append(f"{removed} labelled rows of the window match target or test rows and are not trained on.")
    if len(costs):
        notes.append(_spent(len(kept), len(costs), cost, rules))
    chosen = _taken(usable, kept)
    return Feedback(with_reasons(chosen, ["feedback"] * len(kept)), cost, tuple(notes))


def _taken(rows: Rows, places: NDArray[np.int64]) -> Rows:
    return Rows(rows.table.take(pa.array(places, pa.int64())), rows.clusters[places])


def _matches(rows: pa.Table, held: pa.Table, rules: FeedbackRules) -> NDArray[np.bool_]:
    """Return bool (n,): whether ingest would remove the row, were it training data."""
    asked, known = (match.Questions.of(one["prompt"].to_pylist(), one["choices"].to_pylist()) for one in (rows, held))
    found = match.exact_matches(asked, match.index_questions(known)) >= 0
    if not rules.keep_translations:
        found |= match.translation_matches(rows["parallel_id"].to_pylist(), held["parallel_id"].to_pylist()) >= 0
    if rules.near_duplicates is not None:
        found |= match.near_matches(asked, known, rules.near_duplicates) >= 0
    return found


def _spent(kept: int, usable: int, cost: int, rules: FeedbackRules) -> str:
    budget = f"the update's budget of {rules.budget} {rules.unit}"
    if kept < usable:
        return f"{kept} of {usable} labelled rows, drawn at random, take {cost} of {budget}, which all would exceed."
    return f"{kept} labelled rows take {cost} of {budget}; the pool gives the rest."
