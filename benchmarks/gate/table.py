"""Put the tables of ``results.json`` into the README beside it.

python -m benchmarks.gate.table
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.reporting import with_tables
from compass_ops.storage import read_json, write_bytes

README, RESULTS = (Path(__file__).with_name(name) for name in ("README.md", "results.json"))
TESTS = ("not worse on old", "better on new", "guard, all items alike", "guard, gold margin on new", "promote")

Results = Mapping[str, Any]


def tables(results: Results) -> str:
    """Return both tables as Markdown: level and power."""
    return "\n\n".join(_table(kind, results[kind]) for kind in ("level", "power")) + "\n"


def _table(kind: str, rows: Mapping[str, Any]) -> str:
    lines = [[name, *(_bounded(row["passed"][test]) for test in TESTS)] for name, row in rows.items()]
    head = [f"{kind}: share that passed", *TESTS[:-1], "all"]
    rule = [":--"] + ["--:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *lines])


def _bounded(share: Mapping[str, Any]) -> str:
    low, high = share["ci95"]
    return f"{share['rate']:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Renew the README's tables."""
    write_bytes(README, with_tables(README.read_text("utf-8"), tables(read_json(RESULTS))).encode())


if __name__ == "__main__":
    main()
