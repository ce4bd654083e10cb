import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from compass_ops.corpus.traits import text_traits
from compass_ops.errors import StorageError
from compass_ops.monitoring.action import respond
from compass_ops.monitoring.drift import Compared, DriftSettings, Histograms, is_enough, judge
from compass_ops.monitoring.evidence import Evidence, described
from compass_ops.monitoring.harm import Harm, HarmSettings
from compass_ops.monitoring.measures import STATISTICS, Sample, fit_lens, measure
from compass_ops.monitoring.report import save_html, verdict_snapshot
from compass_ops.monitoring.verdict import (
    Judged,
    Verdict,
    adopted_verdict,
    read_verdict,
    verdict_from,
    with_response,
)
from compass_ops.storage import file_digest, read_json, write_json
from tests.browser import needs_chromium, opened

SETTINGS = DriftSettings(
    correction="max-t",
    permutations=199,
    alpha=0.05,
    effect_floor_nats=0.01,
    mmd_floor=0.001,
    novelty_floor=2.0,
    fixed_threshold_nats=0.1,
    persistence=1,
    minimum_window=50,
    minimum_reference=50,
    minimum_sessions=20,
    random_features=16,
    novelty_quantile=0.95,
    moved_clusters=3,
)
JUDGED = Judged("sw", "0002", "1", "a" * 64, "b" * 64, "c" * 64)
HOSTILE = """</script><script>document.title='broken in'</script><img src="http://evil.example/x.png" onerror=1>"""


def _sample(counts: list[int]) -> Sample:
    clusters = np.repeat(np.arange(4), counts)
    return Sample(np.eye(4, dtype=np.float32)[clusters], np.array(["LATIN"] * len(clusters)), np.arange(len(clusters)))


def _judged(window: list[int]) -> tuple[Verdict, Evidence]:
    before, after, rng = _sample([200, 100, 50, 50]), _sample(window), np.random.default_rng(1)
    histograms = Histograms(np.array([200, 100, 50, 50]), np.array(window))
    sessions = len(after.blocks), len(before.blocks)
    measured = None
    if is_enough(sessions, sessions, SETTINGS):
        centroids = np.eye(4, dtype=np.float32)
        measured = measure(before, after, fit_lens(centroids, centroids, (16, 0.95), rng), 199, rng)
    found = judge({"sw": Compared(histograms, sessions, measured)}, SETTINGS)["sw"]
    examples = {move.cluster: [HOSTILE, "ما العملة في مصر؟"] for move in found.moved}
    descriptions = described(text_traits(["abc 1", "def"]), text_traits(["ما العملة في مصر؟"] * 4))
    return verdict_from(JUDGED, found), Evidence(histograms, found.moved, examples, descriptions, None)


HARM_SETTINGS = HarmSettings(
    required=True, alpha=0.05, floor_nats=0.1, least_items=10, uncovered_share=0.2, cool_down=0
)
HARM = Harm("dev items", 1.0, 2.0, low=0.9, high=1.1, level=0.05, floor=0.1, n=40, effective_n=33.5)
CASES = {"drift": [20, 20, 100, 20], "no drift": [80, 40, 20, 20], "insufficient data": [1, 0, 0, 0]}


@pytest.mark.parametrize("expected", CASES)
def test_verdict_survives_the_snapshot(tmp_path: Path, expected: str) -> None:
    verdict, evidence = _judged(CASES[expected])
    write_json(tmp_path / "verdict.json", verdict_snapshot(verdict, evidence, SETTINGS))
    assert verdict.verdict == expected
    assert read_verdict(tmp_path / "verdict.json") == verdict


@pytest.mark.parametrize("harm", [HARM, replace(HARM, low=-0.1)])
def test_harm_and_action_survive_the_snapshot(tmp_path: Path, harm: Harm) -> None:
    verdict, evidence = _judged(CASES["no drift"])
    verdict = with_response(verdict, respond("no drift", harm, HARM_SETTINGS, None))
    write_json(tmp_path / "verdict.json", verdict_snapshot(verdict, evidence, SETTINGS))
    assert read_verdict(tmp_path / "verdict.json") == verdict
    assert verdict.alarmed == harm.shown


def test_words_that_contradict_the_harm_are_refused(tmp_path: Path) -> None:
    verdict, evidence = _judged(CASES["no drift"])
    verdict = with_response(verdict, respond("no drift", HARM, HARM_SETTINGS, None))
    snapshot = verdict_snapshot(verdict, evidence, SETTINGS)
    changed = json.loads(json.dumps(snapshot).replace('"value": 0.9', '"value": 0.1'))
    assert changed != snapshot
    write_json(tmp_path / "verdict.json", changed)
    with pytest.raises(StorageError, match="It was changed by hand"):
        read_verdict(tmp_path / "verdict.json")


def test_a_verdict_from_before_the_harm_signal_is_still_read(tmp_path: Path) -> None:
    verdict, evidence = _judged(CASES["drift"])
    snapshot = verdict_snapshot(verdict, evidence, SETTINGS)
    for name in ("action", "action_sentence", "harm_source"):
        del snapshot["metadata"][name]
    write_json(tmp_path / "verdict.json", snapshot)
    assert read_verdict(tmp_path / "verdict.json") == verdict


def test_adopted_verdict_survives_the_snapshot(tmp_path: Path) -> None:
    verdict = adopted_verdict(JUDGED, (160, 400))
    _, evidence = _judged(CASES["drift"])
    write_json(tmp_path / "verdict.json", verdict_snapshot(verdict, evidence, SETTINGS))
    assert read_verdict(tmp_path / "verdict.json") == verdict
    assert not read_verdict(tmp_path / "verdict.json").drifted


def _statuses(snapshot: dict[str, object]) -> dict[str, str]:
    from evidently.core.report import Snapshot

    results = Snapshot.loads(json.dumps(snapshot)).tests_results
    return {result.metric_config.params["name"]: result.status.value for result in results}


def test_evidently_reads_the_verdict_back_with_its_tests() -> None:
    drifted = verdict_snapshot(*_judged(CASES["drift"]), SETTINGS)
    expected = {"drift": "FAIL", "n_window": "SUCCESS", "n_reference": "SUCCESS", "p_value": "WARNING"}
    for name in ("divergence", "mmd"):
        expected |= {f"{name}_effect": "WARNING", f"{name}_p_value": "WARNING"}
    for name in ("novelty", "mix"):
        expected |= {f"{name}_effect": "SUCCESS", f"{name}_p_value": "SUCCESS"}
    assert _statuses(drifted) == expected
    assert set(_statuses(verdict_snapshot(*_judged(CASES["no drift"]), SETTINGS)).values()) == {"SUCCESS"}
    too_few = verdict_snapshot(*_judged(CASES["insufficient data"]), SETTINGS)
    assert _statuses(too_few) == {"n_window": "WARNING", "n_reference": "SUCCESS"}


def test_every_statistic_is_a_metric_with_value_effect_and_both_p_values() -> None:
    snapshot = verdict_snapshot(*_judged(CASES["drift"]), SETTINGS)
    results = snapshot["metric_results"].values()
    named = {result["metric_value_location"]["metric"]["params"]["name"] for result in results}
    parts = {f"{name}_{part}" for name in STATISTICS for part in ("value", "effect", "p_value", "p_raw")}
    assert named == parts | {"drift", "p_value", "n_window", "n_reference", "family"}


def test_descriptions_hold_for_every_script() -> None:
    table = {one.name: (one.before, one.after) for one in described(text_traits(["abc 1"]), text_traits(["ሰላም ነው 12"]))}
    assert table["Characters, median"] == ("5", "9")
    assert table["Share of letters, mean"] == ("75.0%", "71.4%")
    assert table["Rows in LATIN letters"] == ("100.0%", "0.0%")
    assert table["Rows in ETHIOPIC letters"] == ("0.0%", "100.0%")


def test_the_report_says_when_the_window_was_asked(tmp_path: Path) -> None:
    verdict, evidence = _judged(CASES["drift"])
    asked = replace(evidence, period="2026-10-01 08:00 to 2026-10-07 21:30 UTC")
    for shown, about in ((asked, f"sw, window 0002 ({asked.period}), against"), (evidence, "sw, window 0002, against")):
        save_html(verdict_snapshot(verdict, shown, SETTINGS), tmp_path / "report.html")
        assert about in (tmp_path / "report.html").read_text("utf-8")


def test_an_unconfirmed_shift_survives_the_snapshot_and_calls_for_nothing(tmp_path: Path) -> None:
    verdict, evidence = _judged(CASES["drift"])
    waiting = replace(verdict, verdict="unconfirmed")
    write_json(tmp_path / "verdict.json", verdict_snapshot(waiting, evidence, SETTINGS))
    assert read_verdict(tmp_path / "verdict.json") == waiting
    assert not waiting.drifted


def test_the_same_verdict_is_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from compass_ops.storage import write_json\n"
        "from tests.monitoring.test_report import CASES, SETTINGS, _judged\n"
        "from compass_ops.monitoring.report import save_html, verdict_snapshot\n"
        "snapshot = verdict_snapshot(*_judged(CASES['drift']), SETTINGS)\n"
        "write_json(Path(sys.argv[1]) / 'v.json', snapshot); save_html(snapshot, Path(sys.argv[1]) / 'r.html')\n"
    )
    other, here = tmp_path / "other", tmp_path / "here"
    subprocess.run([sys.executable, "-c", script, str(other)], check=True, cwd=Path.cwd())
    write_json(here / "v.json", verdict_snapshot(*_judged(CASES["drift"]), SETTINGS))
    save_html(read_json(here / "v.json"), here / "r.html")
    for name in ("v.json", "r.html"):
        assert file_digest(here / name) == file_digest(other / name), name


@pytest.mark.parametrize("change", ["verdict", "status"])
def test_a_verdict_changed_by_hand_is_refused(tmp_path: Path, change: str) -> None:
    path = tmp_path / "verdict.json"
    write_json(path, verdict_snapshot(*_judged(CASES["drift"]), SETTINGS))
    text = path.read_text()
    old, new = {"verdict": ('"verdict": "drift"', '"verdict": "no drift"'), "status": ('"FAIL"', '"SUCCESS"')}[change]
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(StorageError, match="changed by hand"):
        read_verdict(path)


def test_other_json_is_no_verdict(tmp_path: Path) -> None:
    write_json(tmp_path / "verdict.json", {"languages": {}})
    with pytest.raises(StorageError, match="is not a verdict file"):
        read_verdict(tmp_path / "verdict.json")


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]


def test_html_is_there_and_fetches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    save_html(verdict_snapshot(*_judged(CASES["drift"]), SETTINGS), path)
    text = path.read_text("utf-8")
    page = _Page()
    page.feed(text)
    assert len(text) > 3_000_000  # Evidently's script is inlined
    assert page.fetched == []
    assert "<title>Drift report: sw 0002</title>" in text
    assert "What is asked has shifted" in text
    assert not re.search(r"url\(['\"]?https?:", text)


def test_a_prompt_cannot_leave_its_string(tmp_path: Path) -> None:
    plain, hostile = tmp_path / "plain.html", tmp_path / "hostile.html"
    verdict, evidence = _judged(CASES["drift"])
    save_html(verdict_snapshot(verdict, evidence, SETTINGS), hostile)
    save_html(verdict_snapshot(verdict, replace(evidence, examples={}), SETTINGS), plain)
    pages = {}
    for path in (plain, hostile):
        pages[path] = _Page()
        pages[path].feed(path.read_text("utf-8"))
    assert pages[hostile].scripts == pages[plain].scripts
    assert "\\u003c/script>\\u003cscript>document.title" in hostile.read_text("utf-8")


@needs_chromium
def test_the_report_in_a_browser_without_network(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    verdict, evidence = _judged(CASES["drift"])
    verdict = with_response(verdict, respond("drift", HARM, HARM_SETTINGS, None))
    save_html(verdict_snapshot(verdict, evidence, SETTINGS), path)
    page = opened(path, tmp_path)
    assert (page.console, page.asked) == ((), ())
    shown = re.sub(r"<script.*?</script>", "", page.text, flags=re.DOTALL)
    assert "broken in" not in re.findall(r"<title>(.*?)</title>", page.text)
    for text in (
        "What is asked has shifted",
        "Drift",
        "Train a candidate",
        "Harm is shown",
        "Clusters that moved most",
    ):
        assert text in shown, f"{text!r} is not drawn"
    assert f"{verdict.findings[0].effect:.4g}" in shown


def test_importing_the_door_turns_telemetry_off() -> None:
    script = (
        "import os; os.environ.pop('DO_NOT_TRACK', None);"
        "import compass_ops.monitoring.report; print(os.environ['DO_NOT_TRACK'])"
    )
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert told.stdout.strip() == "1"


def test_reading_a_verdict_needs_no_evidently() -> None:
    script = "import sys; import compass_ops.monitoring.verdict; print('evidently' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=Path.cwd())
    assert told.stdout.strip() == "False"
