from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from compass_ops.monitoring.fleet import (
    Alarm,
    CheckLine,
    ClusterPlan,
    Decision,
    DriftCell,
    FleetRow,
    Score,
    fleet_page,
    summary_table,
    write_fleet_page,
)
from tests.browser import needs_chromium, opened

HOSTILE = """<script>document.title='broken in'</script>"><img src="http://evil.example/x" onerror=1>"""

CHECKS = (
    CheckLine("not worse on the old distribution", 0.012, -0.021, 0.05, 750, 690.4, 0.046, True),
    CheckLine("better on the new one", 0.151, 0.108, 0.0, 750, 402.0, 0.061, True),
)
PLAN = tuple(
    ClusterPlan(number, 0.02 * number, 0.05, max(0.0, 0.02 * number - 0.05), 12 * number, 300, 11 * number, HOSTILE)
    for number in range(15)
)
SHIFTED = FleetRow(
    language="sw",
    zero_shot=Score(0.463, 0.428, 0.499, 750),
    adapter=Score(0.57, 0.534, 0.605, 750),
    drift=DriftCell(
        "drift",
        "What is asked has shifted: debiased divergence 0.0831 nats.",
        "train a candidate",
        "Harm is shown.",
        "0002",
        "2026-10-01 08:00 to 2026-10-07 21:30 UTC",
        0.001,
    ),
    decision="update promoted",
    reason="Not worse on the old distribution, better on the new one.",
    version="2",
    stage="Production",
    last_alarm=Alarm("0002", 0.001, "What is asked has shifted."),
    report="../drift/sw/report.html",
    failure=None,
    decisions=(Decision("The updated adapter", "promote", ("Better on the new distribution.",), CHECKS),),
    plan=PLAN,
)
FAILED = FleetRow(
    "zu", None, None, None, "failed", "", None, None, None, None, f"ingest: no target rows {HOSTILE}", (), ()
)
QUIET = replace(
    SHIFTED,
    language="id",
    drift=DriftCell("no drift", "No sign of a shift.", "none", "", "0002", None, 0.4),
    decision="kept",
    version="1",
    last_alarm=None,
    report=None,
)
ROWS = [QUIET, SHIFTED, FAILED]


class _Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.headers_without_scope = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        self.headers_without_scope += tag == "th" and "scope" not in dict(attrs)


def test_the_page_escapes_what_comes_from_data() -> None:
    page = _Page(fleet_page(ROWS, HOSTILE))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert HOSTILE not in fleet_page(ROWS, HOSTILE)


def test_the_page_needs_no_network_and_links_only_to_reports() -> None:
    page = _Page(fleet_page(ROWS, "project"))
    outside = [link for link in page.fetched if not link.startswith(("#", "data:,"))]
    assert sorted(set(outside)) == ["../drift/sw/report.html", "plans/id.html", "plans/sw.html"]


def test_the_page_is_accessible() -> None:
    text = fleet_page(ROWS, "project")
    page = _Page(text)
    assert page.headers_without_scope == 0
    assert page.tags.count("caption") == page.tags.count("table") > 1
    assert '<html lang="en">' in text
    assert 'lang="sw" dir="auto"' in text


def test_the_page_shows_the_figures() -> None:
    text = fleet_page(ROWS, "project")
    for shown in (
        "0.463",
        "0.534 to 0.605",
        "p 0.001",
        "Window 0002, asked 2026-10-01 08:00 to 2026-10-07 21:30 UTC. What is asked has shifted",
        "update promoted",
        "+0.151",
        "✓ passed",
        "Failed in this run",
    ):
        assert shown in text


def test_the_page_is_the_same_twice() -> None:
    assert fleet_page(ROWS, "project") == fleet_page(ROWS, "project")


def test_two_hundred_languages_stay_light() -> None:
    rows = [replace(SHIFTED, language=f"l{number}") for number in range(200)]
    assert len(fleet_page(rows, "project").encode()) < 4_000_000


def test_harm_without_shift_calls_a_person() -> None:
    called = replace(
        QUIET, drift=DriftCell("no drift", "No shift.", "page a person", "Harm is shown.", "0002", None, 0.4)
    )
    page = fleet_page([called], "project")
    assert "<strong>1</strong><span>with harm that a person should look at</span>" in page
    assert "<b>Page a person.</b> Harm is shown." in page
    assert "id, a person is needed: Harm is shown." in summary_table([called]).splitlines()


def test_no_languages() -> None:
    assert "<strong>0</strong><span>languages</span>" in fleet_page([], "project")
    assert summary_table([]).splitlines()[0].startswith("language  zero-shot")


def test_terminal_table() -> None:
    lines = summary_table([replace(QUIET, adapter=None), FAILED]).splitlines()
    assert lines == [
        "language  zero-shot             adapter  drift             decision  version  stage",
        "--------  --------------------  -------  ----------------  --------  -------  ----------",
        "id        0.463 [0.428, 0.499]  –        no drift (p 0.4)  kept      1        Production",
        "zu        –                     –        –                 failed    –        –",
        "",
        f"zu failed: {FAILED.failure}",
    ]


@needs_chromium
def test_the_page_in_a_browser_without_network(tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    write_fleet_page(ROWS, "project", path)
    page = opened(path, tmp_path)
    assert (page.console, page.asked) == ((), ())
    assert "<title>Fleet report: project</title>" in page.text
    for shown in (
        "0.463",
        "0.534 to 0.605",
        "p 0.001",
        "What is asked has shifted",
        "Train a candidate",
        "window 0002",
    ):
        assert shown in page.text


@needs_chromium
def test_the_browser_sees_what_must_not_happen(tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("""<script>console.error("boom")</script><img src="http://evil.example/x.png">""", "utf-8")
    page = opened(path, tmp_path)
    assert any("boom" in line for line in page.console)
    assert page.asked == ("http://evil.example/x.png",)


def test_a_plan_without_quotas_says_so_and_no_unit_is_named_that_may_be_another() -> None:
    with_quotas = fleet_page([SHIFTED], "demo")
    assert "the strategy sets no quotas" not in with_quotas
    plan = tuple(replace(cluster, quota=None) for cluster in PLAN)
    without = fleet_page([replace(SHIFTED, plan=plan)], "demo")
    assert "the strategy sets no quotas" in without
    assert without.count("<td>-</td>") == without.count(" of 300</b>") > 0
    for page in (with_quotas, without):
        assert "what was chosen, of what the pool has there, in the budget's unit" in page
        assert "rows chosen" not in page
