"""Harm beside drift, from windows and dev items to the action that the summary and the verdict name."""

from dataclasses import replace
from pathlib import Path

import pytest

from compass_ops.monitoring.action import CANDIDATE, LOG, NONE, PAGE, WAIT
from compass_ops.monitoring.verdict import read_verdict
from compass_ops.storage import read_json, write_json
from tests.monitoring.test_watch import HARM, SAME, SHIFTED, Project

DEV = [15, 15, 15, 15]
WORSE_IN_THE_FIRST = (2.0, 1.0, 1.0, 1.0)  # the cluster that SHIFTED asks more of


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.version("sw")
    made.dev("sw", DEV)
    return made


def test_a_shift_to_what_is_answered_worse_calls_for_a_candidate(project: Project) -> None:
    project.window("0001", sw=SHIFTED)
    row = project.run(losses=WORSE_IN_THE_FIRST)["sw"]
    assert (row["verdict"], row["action"]) == ("drift", CANDIDATE)
    # Only cluster 0 is asked more: 2.0 nats per byte; before, each cluster a quarter: 1.25.
    assert (row["harm"]["after"], row["harm"]["before"], row["harm"]["n"]) == (2.0, 1.25, 15)
    assert row["harm"]["source"] == "dev items"
    assert "Harm is shown" in row["action_sentence"]
    assert "2.000 nats per byte of the answer, 1.250 on what was asked before" in row["action_sentence"]


def test_a_shift_to_what_is_answered_as_well_is_only_logged(project: Project) -> None:
    project.window("0001", sw=SHIFTED)
    row = project.run()["sw"]
    assert (row["verdict"], row["action"]) == ("drift", LOG)
    assert "label prompts of the clusters that moved" in row["action_sentence"]
    row = project.run(harm=replace(HARM, required=False))["sw"]
    assert row["action"] == CANDIDATE
    assert "No harm is shown" in row["action_sentence"]
    assert "drift.harm.required is false" in row["action_sentence"]


def test_harm_without_shift_is_seen_in_feedback_and_calls_a_person(project: Project) -> None:
    """Users correct the answers: their labels are unlikely to the adapter, where its dev items are not."""
    project.version("id")
    project.dev("id", DEV)
    labels = {str(cluster): "corrected" for cluster in range(4)}
    project.window("0001", sw=SAME, labels=labels)
    project.window("0001", id=SAME)
    quiet = project.run()["sw"]
    assert (quiet["verdict"], quiet["action"]) == ("no drift", NONE)
    assert quiet["harm"]["source"] == "feedback"
    summary = project.run(corrected=3.0)
    assert (summary["sw"]["verdict"], summary["sw"]["action"]) == ("no drift", PAGE)
    assert summary["sw"]["last_alarm"]["window"] == "0001"
    assert summary["sw"]["report"] == "sw/report.html"
    assert (summary["id"]["action"], summary["id"]["harm"]) == (NONE, None)
    assert "the window has 0 labelled rows (at least 10 needed)" in summary["id"]["action_sentence"]


def test_feedback_comes_before_dev_items_where_there_is_enough(project: Project) -> None:
    project.window("0001", sw=SHIFTED, labels={"0": "corrected"})
    row = project.run(losses=WORSE_IN_THE_FIRST)["sw"]
    assert (row["harm"]["source"], row["harm"]["n"], row["action"]) == ("feedback", 70, CANDIDATE)
    few = project.run(losses=WORSE_IN_THE_FIRST, harm=replace(HARM, least_items=12))["sw"]
    assert few["harm"]["source"] == "feedback"
    project.window("0001", sw=SHIFTED, labels={"1": "corrected"})
    row = project.run(losses=WORSE_IN_THE_FIRST)["sw"]
    assert row["harm"]["source"] == "dev items", "the labelled rows are not of what is asked more"


def test_unmeasured_harm_does_not_hold_an_update_back(project: Project) -> None:
    project.window("0001", sw=SHIFTED)
    project.dev("sw", [0, 20, 20, 20])
    row = project.run()["sw"]
    assert (row["action"], row["harm"]) == (CANDIDATE, None)
    assert "100% without a labelled item among the dev items" in row["action_sentence"]
    project.dev("sw", [3, 20, 20, 20])
    assert "only 3 effective items among the dev items (at least 10 needed)" in project.run()["sw"]["action_sentence"]
    (project.root / "ingest" / "dev" / "sw.parquet").unlink()
    assert "no labelled dev items" in project.run()["sw"]["action_sentence"]


def test_nothing_continues_from_a_version_of_another_base(project: Project) -> None:
    project.window("0001", sw=SHIFTED)
    manifest = project.inputs["production"] / "sw" / "manifest.json"
    write_json(manifest, read_json(manifest) | {"base": {"digest": "f" * 64}})
    row = project.run()["sw"]
    assert (row["verdict"], row["action"]) == ("drift", NONE)
    assert f"belongs to base {'f' * 64}, this project's is {'b' * 64}" in row["action_sentence"]


def test_no_candidate_within_the_cool_down(project: Project) -> None:
    project.version("sw", window="0001")
    project.window("0001", sw=SAME)
    project.window("0002", sw=SHIFTED)
    waiting = project.run(losses=WORSE_IN_THE_FIRST, harm=replace(HARM, cool_down=1))["sw"]
    assert waiting["action"] == WAIT
    assert "1 windows ago, within the cool-down of 1" in waiting["action_sentence"]
    project.window("0003", sw=SHIFTED)
    assert project.run(losses=WORSE_IN_THE_FIRST, harm=replace(HARM, cool_down=1))["sw"]["action"] == CANDIDATE


def test_the_verdict_file_holds_the_harm_and_the_action(project: Project) -> None:
    project.window("0001", sw=SHIFTED)
    row = project.run(losses=WORSE_IN_THE_FIRST)["sw"]
    verdict = read_verdict(project.root / "drift" / "sw" / "verdict.json")
    assert verdict.response.harm is not None
    assert verdict.response.harm.shown
    assert (verdict.response.action, verdict.response.sentence) == (row["action"], row["action_sentence"])
    page = (project.root / "drift" / "sw" / "report.html").read_text("utf-8")
    assert "Harm is shown" in page
    assert "Train a candidate" in page
