"""The drift benchmark's README says what its results say."""

from typing import Any

from benchmarks.drift.table import README, RESULTS, tables
from benchmarks.reporting import with_tables
from compass_ops.storage import read_json


def rate(hits: int, rounds: int) -> dict[str, float]:
    return {"hits": hits, "rounds": rounds, "rate": hits / rounds, "low": 0.125, "high": 0.5}


SIZES = {"fitting": 10, "reference": 20, "window": 30}
ALARMS = {
    "before floor and persistence": rate(3, 40),
    "with floor": rate(2, 40),
    "with floor and 2 windows": rate(1, 40),
}
PARTS: dict[str, dict[str, Any]] = {
    "false alarms, multiq": {"languages": 12, "permutations": 199, "rows": SIZES, **ALARMS},
    "false alarms of other methods, per language": {"fixed": rate(4, 8)},
    "one of 200, new topic 40%": {
        "flagged": rate(2, 4), "flagged, and no other": rate(1, 4), "another flagged": rate(3, 4)
    },
    "power, new topic 10%": {"fixed": rate(6, 8), "ours": rate(9, 10)},
    "power, new topic 5%": {"fixed": rate(5, 8), "ours": rate(8, 10)},
}  # fmt: skip


def test_shifts_stand_by_size_and_ours_before_the_others() -> None:
    lines = tables(PARTS).splitlines()
    assert "| multiq | 12 | 10 + 20 + 30 | 199 | 3 of 40 [0.125, 0.500] | 2 of 40 [0.125, 0.500] |" in lines[4]
    assert "| new topic 40% | 2 of 4 [0.125, 0.500] | 1 of 4 [0.125, 0.500] | 3 of 4 [0.125, 0.500] |" in lines
    assert lines[-4:] == [
        "| alarms | rounds | no shift, per language | new topic 5% | new topic 10% |",
        "| :-- | --: | --: | --: | --: |",
        "| ours | 10 |  | 80% | 90% |",
        "| fixed | 8 | 50% | 62% | 75% |",
    ]


def test_the_readme_holds_the_tables_of_the_results() -> None:
    text = README.read_text("utf-8")
    assert with_tables(text, tables(read_json(RESULTS))) == text, "run `python -m benchmarks.drift.table`"
