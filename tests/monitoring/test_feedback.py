"""Which labelled rows of a window a candidate is trained on: what matches held rows, and what the budget leaves."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from compass_ops.corpus.records import to_table
from compass_ops.monitoring.feedback import Feedback, FeedbackRules, choose_feedback
from compass_ops.selection.choose import Rows
from compass_ops.selection.subset import row_costs

RULES = FeedbackRules(near_duplicates=None, keep_translations=True, budget=100, unit="rows", costs=row_costs)


def record(prompt: str, label: str = "yes", **other: Any) -> dict[str, Any]:
    return {
        "id": prompt, "language": "sw", "role": "traffic", "prompt": prompt, "completion": label, "choices": None,
        "answer": None, "topic": None, "parallel_id": None, "source": "test", "weight": 1.0,
    } | other  # fmt: skip


def chosen(
    rows: Sequence[dict[str, Any]], held: Sequence[dict[str, Any]] = (), rules: FeedbackRules = RULES, seed: int = 0
) -> Feedback:
    clusters = np.arange(len(rows), dtype=np.int32)
    return choose_feedback(Rows(to_table(rows), clusters), to_table(held), rules, np.random.default_rng(seed))


def prompts(feedback: Feedback) -> list[str]:
    found: list[str] = feedback.subset["prompt"].to_pylist()
    return found


def test_labelled_rows_come_with_their_cluster_and_reason() -> None:
    found = chosen([record("a"), record("b", ""), record("c")])
    assert found.subset.select(["prompt", "cluster", "reason"]).to_pylist() == [
        {"prompt": "a", "cluster": 0, "reason": "feedback"},
        {"prompt": "c", "cluster": 2, "reason": "feedback"},
    ]
    assert found.cost == 2
    assert found.notes == ("2 labelled rows take 2 of the update's budget of 100 rows; the pool gives the rest.",)


def test_a_window_without_labels_has_nothing_to_tell() -> None:
    found = chosen([record("a", "")], [record("a")])
    assert (found.subset.num_rows, found.cost, found.notes) == (0, 0, ())


def test_rows_that_ask_the_same_as_a_held_one_are_left_out() -> None:
    test = record("Which day comes after Monday?", choices=["Tuesday", "Friday"], answer=0)
    asked = [record("which DAY comes after monday"), record("Which day comes after Tuesday?")]
    found = chosen(asked, [test])
    assert prompts(found) == ["Which day comes after Tuesday?"]
    assert found.notes[0] == "1 labelled rows of the window match target or test rows and are not trained on."


def test_near_duplicates_and_translations_go_where_ingest_removes_them() -> None:
    """36 letters between two spaces have 34 5-grams; another last letter changes two of them: 32 of 36 are shared."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    held = [record(letters), record("another", parallel_id="7")]
    near, same = record(f"{letters[:-1]}x"), record("translated", parallel_id="7")
    asked = [near, same, record("new")]
    left_out = {
        name: {row["prompt"] for row in asked} - {*prompts(chosen(asked, held, rules))}
        for name, rules in {
            "neither": RULES,
            "near enough": replace(RULES, near_duplicates=32 / 36),
            "not near enough": replace(RULES, near_duplicates=0.89),
            "translations": replace(RULES, keep_translations=False),
        }.items()
    }
    assert left_out == {
        "neither": set(),
        "near enough": {near["prompt"]},
        "not near enough": set(),
        "translations": {"translated"},
    }


def test_what_exceeds_the_budget_is_drawn_at_random() -> None:
    rows, rules = [record(str(n)) for n in range(40)], replace(RULES, budget=10)
    first, second = (prompts(chosen(rows, (), rules, seed)) for seed in (1, 2))
    assert len(first) == len(second) == 10
    assert first != second
    assert first == sorted(first, key=int), "in the window's order"
    assert first not in ([str(n) for n in range(10)], [str(n) for n in range(30, 40)])
    assert chosen(rows, (), rules).notes == (
        "10 of 40 labelled rows, drawn at random, take 10 of the update's budget of 10 rows, which all would exceed.",
    )


def lengths(table: pa.Table) -> NDArray[np.int64]:
    return np.array([len(prompt) for prompt in table["prompt"].to_pylist()], np.int64)


@pytest.mark.parametrize(("budget", "costs"), [(29, {18, 21}), (30, {30}), (31, {30}), (8, {0})])
def test_costs_may_be_tokens(budget: int, costs: set[int]) -> None:
    """Rows of 9, 9 and 12: 29 holds two of them, in whatever order they are drawn."""
    rows = [record("a" * 9), record("b" * 9), record("c" * 9 + "ddd")]
    found = chosen(rows, (), replace(RULES, budget=budget, unit="tokens", costs=lengths))
    assert found.cost == sum(len(prompt) for prompt in prompts(found)) <= budget
    assert found.cost in costs
