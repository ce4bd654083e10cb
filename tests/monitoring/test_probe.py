"""Harm beside drift, from windows and dev items to the action that the summary and the verdict name."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from compass_ops.evaluation.score import UnscorableError
from compass_ops.evaluation.scorer import Version
from compass_ops.monitoring.action import CANDIDATE, LOG, NONE, PAGE, WAIT
from compass_ops.monitoring.verdict import read_verdict
from compass_ops.storage import read_json, write_json
from tests.monitoring.test_watch import EMBEDDING, HARM, SAME, SHIFTED, KnownLosses, Project

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


def labels(answer: str, clusters: str = "0123") -> dict[str, str]:
    """What users say the answer is, by cluster."""
    return dict.fromkeys(clusters, answer)


def test_harm_without_shift_is_a_rise_from_earlier_feedback_and_calls_a_person(project: Project) -> None:
    project.version("id")
    project.window("0001", sw=SAME, id=SAME, labels=labels("usual"))
    project.window("0002", sw=SAME, labels=labels("corrected"))
    project.window("0002", id=SAME)
    quiet = project.run()["sw"]
    assert (quiet["verdict"], quiet["action"]) == ("no drift", NONE)
    assert (quiet["harm"]["source"], quiet["harm"]["before"], quiet["harm"]["after"]) == ("feedback", 1.0, 1.0)
    summary = project.run(answers={"usual": 1.6, "corrected": 3.0})
    assert (summary["sw"]["verdict"], summary["sw"]["action"]) == ("no drift", PAGE)
    assert (summary["sw"]["harm"]["before"], summary["sw"]["harm"]["after"]) == (1.6, 3.0)
    assert summary["sw"]["last_alarm"]["window"] == "0002"
    assert summary["sw"]["report"] == "sw/report.html"
    assert (summary["id"]["action"], summary["id"]["harm"]) == (NONE, None)
    assert "the window has 0 labelled rows (at least 10 needed)" in summary["id"]["action_sentence"]


def test_answers_in_another_style_than_dev_are_no_harm(project: Project) -> None:
    """Users write sentences, which cost 1.6 nats per byte, where dev's choices cost 1.0; nothing ever changes."""
    for number in range(1, 5):
        project.window(f"000{number}", sw=SAME, labels=labels("a sentence"))
        row = project.run(answers={"a sentence": 1.6})["sw"]
        assert (row["verdict"], row["action"]) == ("no drift", NONE)
        if number == 1:
            assert row["harm"] is None
            assert "no earlier window since Production was made has labelled rows" in row["action_sentence"]
        else:
            assert (row["harm"]["before"], row["harm"]["after"]) == (1.6, 1.6)


def test_feedback_is_compared_with_the_oldest_since_production_was_made(project: Project) -> None:
    """Whole windows are taken until they suffice; those that Production may have been trained on are not."""
    project.version("sw", window="0001")
    weeks = {"0001": "trained on", "0002": "old", "0003": "later", "0004": "much later", "0005": "newest"}
    for name, answer in weeks.items():
        project.window(name, sw=SAME, labels=labels(answer, "01" if name == "0002" else "0123"))
    answers = {"trained on": 0.2, "old": 1.0, "later": 2.0, "much later": 8.0, "newest": 2.0}
    row = project.run(answers=answers)["sw"]
    # Window 0002 lacks two clusters, so 0003 is taken too: of clusters 0 and 1 one half is old, of the others none.
    assert (row["harm"]["before"], row["harm"]["after"]) == (1.75, 2.0)
    project.window("0002", sw=SAME, labels=labels("old"))
    assert project.run(answers=answers)["sw"]["harm"]["before"] == 1.0
    for name in ("0002", "0003", "0004"):
        project.window(name, sw=SAME, labels=labels("old", "0"))
    row = project.run(answers=answers)["sw"]
    assert (row["harm"], row["action"]) == (None, NONE)
    lacks = "in the earlier windows since Production was made, 75% without a labelled item among the feedback"
    assert lacks in row["action_sentence"]


def test_only_labelled_rows_of_the_windows_that_are_used_are_embedded(project: Project) -> None:
    project.window("0001", sw=SAME, labels=labels("old", "0"))
    for name in ("0002", "0003", "0004"):
        project.window(name, sw=SAME, labels=labels("old"))
    embedded: list[int] = []

    def counting(texts: Sequence[str]) -> NDArray[np.float32]:
        embedded.append(len(texts))
        return EMBEDDING.embed(texts)

    assert project.run(embedding=replace(EMBEDDING, embed=counting))["sw"]["harm"]["source"] == "feedback"
    assert embedded == [100, 25, 100]
    project.window("0004", sw=SAME)
    embedded.clear()
    project.run(embedding=replace(EMBEDDING, embed=counting))
    assert embedded == [100]


def test_alpha_is_divided_among_the_languages_whose_feedback_can_be_compared(project: Project) -> None:
    project.version("id")
    project.version("ca")
    project.window("0001", sw=SAME, id=SAME, labels=labels("old"))
    project.window("0001", ca=SAME)
    project.window("0002", sw=SAME, id=SAME, ca=SAME, labels=labels("old"))
    summary = project.run()
    assert (summary["sw"]["harm"]["level"], summary["id"]["harm"]["level"]) == (0.025, 0.025)
    assert summary["ca"]["harm"] is None


def test_feedback_comes_before_dev_items_where_there_is_enough(project: Project) -> None:
    project.window("0001", sw=SAME, labels=labels("usual"))
    project.window("0002", sw=SHIFTED, labels=labels("corrected", "0"))
    row = project.run(losses=WORSE_IN_THE_FIRST)["sw"]
    assert (row["harm"]["source"], row["harm"]["n"], row["action"]) == ("feedback", 70, CANDIDATE)
    few = project.run(losses=WORSE_IN_THE_FIRST, harm=replace(HARM, least_items=12))["sw"]
    assert few["harm"]["source"] == "feedback"
    project.window("0002", sw=SHIFTED, labels=labels("corrected", "1"))
    row = project.run(losses=WORSE_IN_THE_FIRST)["sw"]
    assert row["harm"]["source"] == "dev items", "the labelled rows are not of what is asked more"


def test_a_shift_with_nothing_to_compare_its_feedback_with_is_measured_on_dev_items(project: Project) -> None:
    project.window("0001", sw=SHIFTED, labels=labels("a sentence"))
    row = project.run(losses=WORSE_IN_THE_FIRST, answers={"a sentence": 9.0})["sw"]
    assert (row["harm"]["source"], row["harm"]["after"], row["action"]) == ("dev items", 2.0, CANDIDATE)
    project.dev("sw", [0, 20, 20, 20])
    told = project.run()["sw"]["action_sentence"]
    assert "no earlier window since Production was made has labelled rows" in told
    assert "; 100% without a labelled item among the dev items" in told


def test_a_label_that_cannot_be_scored_leaves_the_dev_items(project: Project) -> None:
    class Limited(KnownLosses):
        def _computed(
            self, prompts: list[str], choices: list[list[str]], version: Version | None
        ) -> list[NDArray[np.float64]]:
            if any("too long" in own[0] for own in choices):
                raise UnscorableError("The choice must have 1 to 64 tokens of its own; got 200.")
            return super()._computed(prompts, choices, version)

    project.window("0001", sw=SAME, labels=labels("too long"))
    project.window("0002", sw=SHIFTED, labels=labels("corrected", "0"))
    row = project.run(losses=WORSE_IN_THE_FIRST, scorer=Limited)["sw"]
    assert (row["harm"]["source"], row["action"]) == ("dev items", CANDIDATE)
    project.dev("sw", [0, 20, 20, 20])
    told = project.run(losses=WORSE_IN_THE_FIRST, scorer=Limited)["sw"]["action_sentence"]
    assert "must have 1 to 64 tokens of its own; got 200; 100% without a labelled item among the dev items" in told


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


def test_a_version_made_for_a_window_that_is_not_there_holds_nothing_back(project: Project) -> None:
    """The log was cut anew, and its windows have not got as far as the name of the one that led to Production."""
    project.version("sw", window="0004")
    for name in ("0001", "0002"):
        project.window(name, sw=SHIFTED)
    assert project.run(losses=WORSE_IN_THE_FIRST)["sw"]["action"] == CANDIDATE


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
