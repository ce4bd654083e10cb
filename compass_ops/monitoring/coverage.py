"""One language's plan as people read it: a self-contained HTML page, and a table for the terminal."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template

from compass_ops.errors import CompassError
from compass_ops.fanout import RECEIPT
from compass_ops.selection_sections import UNBOUND
from compass_ops.storage import fresh_folder, read_json, write_bytes
from compass_ops.terminal import plain

_COLUMNS = (
    "cluster",
    "asked",
    "covered",
    "after",
    "gap",
    "quota",
    "supply",
    "chosen",
    "languages drawn",
)
_WIDE = 40  # characters of an example in the terminal
_LANGUAGES = 4  # named in the terminal
_WITHOUT_QUOTAS = {"own_only", "random", "all", "langsim", "langrank", "nearest", "dsir"}  # strategies

Plan = Mapping[str, Any]


def by_gap(plan: Plan) -> list[dict[str, Any]]:
    """Return the clusters of ``plan.json``, the largest gap first, then those asked most."""
    return sorted(plan["clusters"], key=lambda one: (-one["gap"], -one["target_share"], one["cluster"]))


def coverage_page(plan: Plan) -> str:
    """Return the page of a plan as ``plan.json`` holds it; everything from data is escaped, nothing is fetched."""
    clusters = by_gap(plan)
    most = max((one[key] for one in clusters for key in ("target_share", "held_share", "share_after")), default=0.0)
    words = {"sentence": headline(plan), "how": how_to_read(plan)}
    return _template().render(
        plan=plan, clusters=clusters, most=max(most, 1e-9), quotas=sets_quotas(plan["strategy"]), **words
    )


def write_coverage_pages(sample: Path, out: Path) -> None:
    """Write ``out/<language>.html`` for every language that the stage sample left a plan of."""
    with fresh_folder(out) as aside:
        for file in sorted(sample.glob("*/plan.json")):
            write_bytes(aside / f"{file.parent.name}.html", coverage_page(read_json(file)).encode())


def headline(plan: Plan) -> str:
    """Say in a sentence what was chosen."""
    kept = sum(min(one["target_share"], one["held_share"]) for one in plan["clusters"])
    after = sum(min(one["target_share"], one["share_after"]) for one in plan["clusters"])
    drawn = ", ".join(f"{name} {count}" for name, count in plan["languages"].items()) or "none"
    spent = f"{plan['chosen']} of {plan['budget']} {plan['unit']}"
    if plan["strategy"] in UNBOUND:
        spent = f"{plan['chosen']} {plan['unit']}; no budget binds"
    return (
        f"{plan['rows']} rows by {plan['strategy']} ({spent}), from: {drawn}. "
        f"Training data and what is asked overlap by {kept:.0%} without them and by {after:.0%} with them."
    )


def sets_quotas(strategy: str) -> bool:
    """Tell whether a strategy sets quotas; where it sets none, a plan's quota only repeats what was chosen."""
    return strategy not in _WITHOUT_QUOTAS


def how_to_read(plan: Plan) -> str:
    """Say in what unit the figures of a cluster are, and whether there are quotas."""
    unit, strategy = plan["unit"], plan["strategy"]
    rows = "" if unit == "rows" else "; languages drawn are in rows"
    if sets_quotas(strategy):
        return f"Quota, supply and chosen are in {unit}{rows}."
    return f"Supply and chosen are in {unit}{rows}. Strategy {strategy} sets no quotas."


def plan_text(plan: Plan) -> str:
    """Return the plan for the terminal: a sentence, notes, and what was done in each cluster that is not quiet.

    A cluster has a line of figures and one of examples, whose control characters are blanks.
    """
    shown = [one for one in by_gap(plan) if one["target_share"] or one["held_share"] or one["chosen"]]
    quotas = sets_quotas(plan["strategy"])
    lines = [_COLUMNS, *(_cells(one, quotas=quotas) for one in shown)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    table = [_line(lines[0], widths)]
    for one, cells in zip(shown, lines[1:], strict=True):
        table += [_line(cells, widths), *_examples(one)]
    quiet = len(plan["clusters"]) - len(shown)
    more = "1 more cluster is" if quiet == 1 else f"{quiet} more clusters are"
    rest = [f"{more} neither asked nor held nor drawn from."] if quiet else []
    notes = [f"Note: {plain(note)}" for note in plan["notes"]]
    return "\n".join([f"{plan['language']}: {headline(plan)}", *notes, how_to_read(plan), "", *table, *rest])


def read_plan(root: Path, language: str) -> dict[str, Any]:
    """Read a language's plan of the last run; ``CompassError`` that says why there is none, or which there are."""
    folder = root / "build" / "sample"
    known = sorted(path.parent.name for path in folder.glob("*/plan.json"))
    if language in {path.parent.name for path in folder.glob(f"*/{RECEIPT}")}:
        reason = plain(read_json(folder / language / RECEIPT)["reason"])
        raise CompassError(f"{language}: has no plan, as the last run could not choose for it: {reason}")
    if language not in known:
        there = f"There are: {', '.join(known)}." if known else "Run `dvc repro` to make one."
        raise CompassError(f"{language}: the last run left no plan of this language. {there}")
    plan: dict[str, Any] = read_json(folder / language / "plan.json")
    return plan


def _cells(one: Mapping[str, Any], *, quotas: bool) -> tuple[str, ...]:
    languages = [f"{name} {count}" for name, count in one["languages"].items()]
    rest = len(languages) - _LANGUAGES
    drawn = ", ".join(languages[:_LANGUAGES]) + (f" and {rest} more" if rest > 0 else "")
    return (
        str(one["cluster"]),
        *(f"{one[key]:.1%}" for key in ("target_share", "held_share", "share_after", "gap")),
        str(one["quota"]) if quotas else "-",
        *(str(one[key]) for key in ("supply", "chosen")),
        drawn or "-",
    )


def _examples(one: Mapping[str, Any]) -> list[str]:
    """Return the line of examples, if there are any: of what is asked, else of what the pool has."""
    words = "asked there" if one["examples"] else "nobody asks there; the pool has"
    texts = [plain(text) for text in one["examples"] or one["pool_examples"]]
    short = [text if len(text) <= _WIDE else f"{text[: _WIDE - 1]}…" for text in texts]
    return [f"    {words}: {' | '.join(short)}"] if short else []


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    numbers = range(1, 8)
    aligned = (
        cell.rjust(w) if i in numbers else cell.ljust(w) for i, (cell, w) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(aligned).rstrip()


def _percent(share: float) -> str:
    return f"{share:.1%}"


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = _percent
    return environment.from_string((files("compass_ops.monitoring") / "coverage.html").read_text("utf-8"))
