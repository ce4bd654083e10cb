"""Put the tables of ``results.json`` into the README beside it.

python -m benchmarks.drift.table
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.reporting import with_tables
from compass_ops.storage import read_json, write_bytes

README, RESULTS = (Path(__file__).with_name(name) for name in ("README.md", "results.json"))
ALARMS = ("before floor and persistence", "with floor", "with floor and 2 windows")
FLAGGED = ("flagged", "flagged, and no other", "another flagged")
POWER, FLEET, OTHERS = "power, ", "one of ", "false alarms of other methods, per language"
RIVALS = ("Evidently", "fixed")

Results = Mapping[str, Mapping[str, Any]]


def tables(results: Results) -> str:
    """Return all tables as Markdown: false alarms, one of 200, power."""
    return "\n\n".join([_false_alarms(results), _fleet(results), _power(results)]) + "\n"


def _false_alarms(results: Results) -> str:
    named = [name for name in results if name.startswith("false alarms, ")]
    rows = []
    for name in named:
        part = results[name]
        sizes = " + ".join(str(part["rows"][size]) for size in ("fitting", "reference", "window"))
        shape = [name.removeprefix("false alarms, "), str(part["languages"]), sizes, str(part["permutations"])]
        rows.append(shape + [_bounded(part[alarm]) for alarm in ALARMS])
    head = ["data set", "languages", "rows fitted + reference + window", "permutations", *ALARMS]
    return f"### False alarms of a round\n\n{_markdown(head, rows)}"


def _fleet(results: Results) -> str:
    named = [name for name in results if name.startswith(FLEET)]
    rows = [[name.partition(", ")[2], *(_bounded(results[name][flag]) for flag in FLAGGED)] for name in named]
    return f"### One stream of 200 is shifted\n\n{_markdown(['shift', *FLAGGED], rows)}"


def _power(results: Results) -> str:
    named = sorted((name for name in results if name.startswith(POWER)), key=_kind_and_share)
    rows = []
    for method in sorted(results[named[0]], key=lambda name: (name.startswith(RIVALS), name)):
        quiet = results[OTHERS].get(method)
        rounds = str(results[named[0]][method]["rounds"])
        found = [f"{results[name][method]['rate']:.0%}" for name in named]
        rows.append([method, rounds, f"{quiet['rate']:.0%}" if quiet else "", *found])
    head = ["alarms", "rounds", "no shift, per language", *(name.removeprefix(POWER) for name in named)]
    return f"### Power\n\n{_markdown(head, rows)}"


def _kind_and_share(name: str) -> tuple[str, float]:
    kind, _, share = name.rpartition(" ")
    return kind, float(share.removesuffix("%"))


def _bounded(rate: Mapping[str, Any]) -> str:
    return f"{rate['hits']} of {rate['rounds']} [{rate['low']:.3f}, {rate['high']:.3f}]"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = [":--"] + ["--:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])


def main() -> None:
    """Renew the README's tables."""
    write_bytes(README, with_tables(README.read_text("utf-8"), tables(read_json(RESULTS))).encode())


if __name__ == "__main__":
    main()
