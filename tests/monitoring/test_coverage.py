"""The plan for people: page and terminal say what plan.json holds, whatever stands in the data."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from click.testing import CliRunner

from compass_ops.cli.main import main
from compass_ops.errors import CompassError
from compass_ops.monitoring.coverage import (
    coverage_page,
    headline,
    plan_text,
    read_plan,
    sets_quotas,
    write_coverage_pages,
)
from compass_ops.selection.sample import strategy
from compass_ops.selection_sections import StrategyName
from compass_ops.storage import write_json
from tests.selection.problems import random_problem, settings

HOSTILE = """<script>alert(1)</script>"><img src="http://evil.example/x">"""


def cluster(number: int, asked: float, held: float, after: float, chosen: int, **more: Any) -> dict[str, Any]:
    return {
        "cluster": number, "target_share": asked, "held_share": held, "share_after": after,
        "gap": max(0.0, asked - held), "quota": chosen, "supply": 90, "chosen": chosen,
        "languages": {"id": chosen} if chosen else {}, "examples": [], "pool_examples": ["a pool prompt"],
    } | more  # fmt: skip


PLAN = {
    "language": "sw", "strategy": "compass_plus", "budget": 12, "unit": "rows", "rows": 10, "chosen": 10, "unfilled": 2,
    "notes": ["2 of the budget of 12 rows were not drawn.", HOSTILE],
    "languages": {"id": 10},
    "clusters": [
        cluster(0, 0.25, 0.75, 0.4, 0),
        cluster(1, 0.75, 0.25, 0.6, 10, examples=["sarafu ya Kenya?", HOSTILE]),
        cluster(2, 0.0, 0.0, 0.0, 0),
    ],
}  # fmt: skip


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.headers = [0, 0]
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        values = dict(attrs)
        self.links += [str(values[name]) for name in ("src", "href") if name in values]
        if tag == "th":
            self.headers["scope" not in values] += 1


def test_the_page_stands_alone_and_escapes_what_it_shows() -> None:
    page = _Page(coverage_page(PLAN))
    assert page.links == ["data:,", "../index.html#sw"]
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert page.headers[1] == 0, "every header cell says what it heads"
    assert page.tags.count("tr") == 1 + 3


def test_clusters_stand_by_gap_with_all_their_figures() -> None:
    text = coverage_page(PLAN)
    assert re.findall(r'<th scope="row">(\d)</th>', text) == ["1", "0", "2"]
    row = text.split('<th scope="row">1</th>')[1].split("</tr>")[0]
    for shown in ("75.0%", "25.0%", "60.0%", "50.0%", ">10<", ">90<", "id 10", "sarafu ya Kenya?"):
        assert shown in row
    assert "Nobody asks there; the pool has:" in text.split('<th scope="row">2</th>')[1]


def test_the_headline_tells_what_the_choice_changes() -> None:
    """Overlap without: .25 + .25; with: .25 + .6."""
    assert headline(PLAN) == (
        "10 rows by compass_plus (10 of 12 rows), from: id 10. Training data and what is asked overlap by 50% "
        "without them and by 85% with them."
    )


def test_the_headline_names_no_budget_where_none_binds() -> None:
    assert headline(PLAN | {"strategy": "all"}).startswith("10 rows by all (10 rows; no budget binds), from: id 10.")


def test_the_terminal_shows_the_same_without_what_is_quiet() -> None:
    lines = plan_text(PLAN).splitlines()
    assert lines[0].startswith("sw: 10 rows by compass_plus")
    assert lines[1] == "Note: 2 of the budget of 12 rows were not drawn."
    table = [line.split() for line in lines if line[:1].isdigit()]
    assert [row[:8] for row in table[:2]] == [
        ["1", "75.0%", "25.0%", "60.0%", "50.0%", "10", "90", "10"],
        ["0", "25.0%", "75.0%", "40.0%", "0.0%", "0", "90", "0"],
    ]
    assert lines[-1] == "1 more cluster is neither asked nor held nor drawn from."


def test_the_terminal_shows_three_examples_each_shortened() -> None:
    examples = ["sarafu ya Kenya?", "a" * 39 + "bc", "third?"]
    clusters = [cluster(0, 0.75, 0.0, 0.6, 10, examples=examples), cluster(1, 0.0, 0.5, 0.4, 0)]
    lines = plan_text(PLAN | {"clusters": clusters}).splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("0 "))
    assert lines[place + 1] == f"    asked there: sarafu ya Kenya? | {'a' * 39}… | third?"
    assert lines[place + 3] == "    nobody asks there; the pool has: a pool prompt", (
        "those are no prompts of the language"
    )


def test_texts_cannot_move_what_the_terminal_shows() -> None:
    """ESC and its one-byte form, a return, a line separator, half a surrogate pair, a turn; joiners stay."""
    evil = "a\x1b[2Jb\rc\x9b1md\u2028e\ud800f\u202eg\u200ch"
    clusters = [cluster(0, 1.0, 0.0, 0.6, 10, examples=[evil])]
    text = plan_text(PLAN | {"clusters": clusters, "notes": [f"{evil}\nsw: forged"]})
    shown = "a [2Jb c 1md e fg\u200ch"
    assert f"    asked there: {shown}" in text.splitlines()
    assert f"Note: {shown} sw: forged" in text.splitlines()
    assert not set("\x1b\r\x9b\u2028\ud800\u202e") & set(text)


@pytest.mark.parametrize("name", get_args(StrategyName))
def test_the_strategies_that_set_no_quotas_are_known(name: str) -> None:
    choice = strategy(settings(name))(random_problem(1), np.random.default_rng(0))
    assert sets_quotas(name) == (choice.quota is not None)


def test_a_strategy_without_quotas_shows_none() -> None:
    plan = PLAN | {"strategy": "random"}
    [row] = [line.split() for line in plan_text(plan).splitlines() if line.startswith("1  ")]
    assert row[5:8] == ["-", "90", "10"]
    assert "Supply and chosen are in rows. Strategy random sets no quotas." in plan_text(plan).splitlines()
    page = coverage_page(plan)
    assert "Strategy random sets no quotas." in page
    cells = page.split('<th scope="row">1</th>')[1].split("</tr>")[0]
    assert re.findall(r'number">([\d-]+)<', cells) == ["-", "90", "10"]


def test_tokens_are_not_called_rows() -> None:
    words = "Quota, supply and chosen are in tokens; languages drawn are in rows."
    assert words in plan_text(PLAN | {"unit": "tokens"}).splitlines()
    assert words in coverage_page(PLAN | {"unit": "tokens"})
    assert "Quota, supply and chosen are in rows." in coverage_page(PLAN)


def project(tmp_path: Path) -> Path:
    write_json(tmp_path / "build" / "sample" / "sw" / "plan.json", PLAN)
    (tmp_path / "params.yaml").write_text("project: {}\n", "utf-8")
    return tmp_path


def test_pages_of_removed_languages_vanish(tmp_path: Path) -> None:
    root = project(tmp_path)
    (root / "plans").mkdir()
    (root / "plans" / "zu.html").write_text("old", "utf-8")
    write_coverage_pages(root / "build" / "sample", root / "plans")
    assert [path.name for path in (root / "plans").iterdir()] == ["sw.html"]


def test_a_language_without_a_plan_is_told_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(CompassError, match=r"zu: the last run left no plan of this language\. There are: sw\."):
        read_plan(project(tmp_path), "zu")
    with pytest.raises(CompassError, match="Run `dvc repro` to make one"):
        read_plan(tmp_path / "elsewhere", "zu")


def test_a_language_that_failed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "has no target prompts.\x1b[2J Map rows to role target."
    receipt = {"language": "zu", "status": "failed", "stage": "sample", "reason": reason}
    write_json(project(tmp_path) / "build" / "sample" / "zu" / "receipt.json", receipt)
    with pytest.raises(CompassError, match=r"^zu: has no plan, as the last run could not choose for it: has no target"):
        read_plan(tmp_path, "zu")
    monkeypatch.chdir(tmp_path)
    told = CliRunner().invoke(main, ["plan", "zu"])
    assert told.exit_code == 1
    assert "has no target prompts. [2J Map rows to role target." in told.output


def test_the_command_prints_text_or_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path))
    assert CliRunner().invoke(main, ["plan", "sw"]).output == f"{plan_text(PLAN)}\n"
    assert json.loads(CliRunner().invoke(main, ["plan", "sw", "--json"]).output) == PLAN
    refused = CliRunner().invoke(main, ["plan", "xx"])
    assert (refused.exit_code, "There are: sw." in refused.output) == (1, True)
