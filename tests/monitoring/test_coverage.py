"""The plan for people: page and terminal say what plan.json holds, whatever stands in the data."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from compass_ops.cli.main import main
from compass_ops.errors import CompassError
from compass_ops.monitoring.coverage import coverage_page, headline, plan_text, read_plan, write_coverage_pages
from compass_ops.storage import write_json

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


def test_the_terminal_shows_the_same_without_what_is_quiet() -> None:
    lines = plan_text(PLAN).splitlines()
    assert lines[0].startswith("sw: 10 rows by compass_plus")
    assert lines[1] == "Note: 2 of the budget of 12 rows were not drawn."
    table = [line.split() for line in lines if line[:1].isdigit()]
    assert [row[:8] for row in table[:2]] == [
        ["1", "75.0%", "25.0%", "60.0%", "50.0%", "10", "90", "10"],
        ["0", "25.0%", "75.0%", "40.0%", "0.0%", "0", "90", "0"],
    ]
    assert lines[-1] == "1 more clusters are neither asked nor held nor drawn from."


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


def test_the_command_prints_text_or_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(tmp_path))
    assert CliRunner().invoke(main, ["plan", "sw"]).output == f"{plan_text(PLAN)}\n"
    assert json.loads(CliRunner().invoke(main, ["plan", "sw", "--json"]).output) == PLAN
    refused = CliRunner().invoke(main, ["plan", "xx"])
    assert (refused.exit_code, "There are: sw." in refused.output) == (1, True)
