"""The continual comparison: streams, the accuracy matrix, summary and tables by hand; its files fit the settings."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from click.testing import CliRunner

from benchmarks.continual import report
from benchmarks.continual.matrix import accuracy_matrix, backward_transfer, final_accuracy, forgetting
from benchmarks.continual.run import chosen
from benchmarks.continual.settings import load_comparison
from benchmarks.continual.stream import draw_stream, topic_counts
from benchmarks.continual.summary import Chain, summary
from benchmarks.continual.tables import tables
from benchmarks.reporting import with_tables
from compass_ops.errors import CompassError, ParamsError
from compass_ops.fanout import RECEIPT
from compass_ops.params import load_params
from compass_ops.storage import read_json, write_json, write_table
from compass_ops.training.method import method_of
from pipelines._code import ROOT

HERE = ROOT / "benchmarks" / "continual"
WORLDFACTS = load_comparison(HERE / "worldfacts" / "comparison.yaml")
DATASETS = sorted(path.parent.name for path in HERE.glob("*/comparison.yaml"))
R = np.array([[0.8, 0.2, 0.5], [0.6, 0.9, 0.4], [0.5, 0.7, 0.6]])


def test_what_is_read_off_a_matrix_by_hand() -> None:
    assert final_accuracy(R) == pytest.approx((0.5 + 0.7 + 0.6) / 3)
    assert backward_transfer(R) == pytest.approx(((0.5 - 0.8) + (0.7 - 0.9)) / 2)
    assert forgetting(R) == pytest.approx(((0.8 - 0.5) + (0.9 - 0.7)) / 2)


def test_the_best_of_the_past_is_what_is_forgotten() -> None:
    rising = np.array([[0.5, 0.0, 0.0], [0.9, 0.6, 0.0], [0.7, 0.8, 0.5]])
    assert forgetting(rising) == pytest.approx(((0.9 - 0.7) + (0.6 - 0.8)) / 2)
    assert backward_transfer(rising) == pytest.approx(((0.7 - 0.5) + (0.8 - 0.6)) / 2)


def test_a_step_weighs_topics_as_they_are_asked() -> None:
    after = [{"a": 1.0, "b": 0.0}, {"a": 0.5, "b": 1.0}]
    asked = [{"a": 1.0}, {"a": 0.25, "b": 0.75}]
    assert accuracy_matrix(after, asked).tolist() == [[1.0, 0.25], [0.5, 0.875]]


def test_rows_are_divided_by_largest_remainder() -> None:
    assert topic_counts({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, 10) == {"a": 4, "b": 3, "c": 3}
    assert topic_counts({"a": 0.5, "b": 0.5}, 300) == {"a": 150, "b": 150}


def draw(own_share: float, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    topics = np.array(["a", "b"] * 30)
    own = np.arange(60) < 12
    steps = [({"a": 1.0}, 10), ({"a": 0.5, "b": 0.5}, 20)]
    return draw_stream(topics.tolist(), own, steps, own_share, np.random.default_rng(seed)), topics, own


def test_a_step_has_its_topics_and_its_share_of_own_rows_while_there_are_any() -> None:
    (first, second), topics, own = draw(0.4)
    assert topics[first].tolist() == ["a"] * 10
    assert sorted(topics[second].tolist()) == ["a"] * 10 + ["b"] * 10
    assert own[first].sum() == 4
    assert own[second].sum() == 2 + 4, "of 6 own rows about a, 4 are gone"


def test_no_row_comes_twice_while_others_are_left() -> None:
    (first, second), _, __ = draw(0.0)
    assert len({*first.tolist(), *second.tolist()}) == 30


def test_streams_are_drawn_by_their_seed() -> None:
    assert [rows.tolist() for rows in draw(0.4)[0]] == [rows.tolist() for rows in draw(0.4)[0]]
    assert draw(0.4)[0][1].tolist() != draw(0.4, seed=1)[0][1].tolist()


def test_a_topic_that_nobody_knows_is_named() -> None:
    with pytest.raises(ValueError, match="no labelled row of another language is about 'c'"):
        draw_stream(["a"], np.array([False]), [({"c": 1.0}, 1)], 0.0, np.random.default_rng(0))


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_files_are_what_the_specification_asks_for(dataset: str) -> None:
    comparison = load_comparison(HERE / dataset / "comparison.yaml")
    params = load_params(HERE / dataset / "params.yaml")
    assert {*comparison.languages, *comparison.tuning.languages} <= set(params.project.languages)
    assert (len(comparison.languages) >= 8, comparison.seeds) == (True, 3)
    assert not set(comparison.tuning.seeds) & set(range(comparison.seeds))
    for steps in comparison.streams.values():
        assert sorted(step.shift for step in steps) == ["abrupt", "gradual", "none", "recurring", "start"]
    updates = {name: comparison.update(changes, params.update) for name, changes in comparison.methods.items()}
    assert set(updates) == {"naive", "ewc", "random_rehearsal", "ecda_paper", "ecda", "full_retrain"}
    assert all(update.method == name for name, update in updates.items())
    assert len({update.schedule.epochs for update in updates.values()} | {params.train.schedule.epochs}) == 1
    assert all(method_of(comparison.update(changes, params.update)) for changes in comparison.tuning.variants.values())


@pytest.mark.parametrize("dataset", DATASETS)
def test_a_shift_is_what_it_is_called(dataset: str) -> None:
    comparison = load_comparison(HERE / dataset / "comparison.yaml")
    for steps in comparison.streams.values():
        mixes = [{group for group, weight in step.mix.items() if weight} for step in steps]
        for number, step in enumerate(steps[1:], start=1):
            before, now, past = mixes[number - 1], mixes[number], mixes[: number - 1]
            if step.shift == "none":
                assert step.mix == steps[number - 1].mix
            elif step.shift == "gradual":
                assert before & now and now - before
            elif step.shift == "abrupt":
                assert not before & now
                assert now not in past
            else:
                assert now in past and now != before


def faulty(change: Any, tmp_path: Path) -> Path:
    values = yaml.safe_load((HERE / "worldfacts" / "comparison.yaml").read_text("utf-8"))
    change(values)
    file = tmp_path / "comparison.yaml"
    file.write_text(yaml.safe_dump(values), "utf-8")
    return file


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda values: values["streams"]["names first"][1].update(mix={"nmaes": 1}), r"\['nmaes'\], which are no gr"),
        (lambda values: values["streams"]["names first"][1].update(shift="start"), "there alone"),
        (lambda values: values["streams"]["names first"].pop(), "equally many steps"),
        (lambda values: values["stream_of"].pop("sw"), "must name a stream for sw"),
        (lambda values: values["tuning"]["languages"].append("sw"), r"\['sw'\] are reported and tuned on"),
    ],
)
def test_faults_of_the_file_are_named(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=message):
        load_comparison(faulty(change, tmp_path))


def test_a_part_is_a_slice_of_the_whole() -> None:
    comparison = WORLDFACTS
    assert chosen(comparison, "naive,ecda/sw/1") == (
        {n: comparison.methods[n] for n in ("naive", "ecda")},
        (["sw"], [0]),
    )
    assert chosen(comparison, None) == (comparison.methods, (comparison.languages, [0, 1, 2]))
    assert chosen(comparison, "//2")[1] == (comparison.languages, [0, 1])


def chain(final: float, tokens: int) -> Chain:
    return Chain(np.array([[0.9, 0.1], [final, 0.8]]), [100, tokens], 7, 2.0)


def test_a_summary_by_hand() -> None:
    chains = {
        ("ecda", "sw"): [chain(0.8, 50), chain(0.9, 50)], ("ecda", "tr"): [chain(0.9, 50), chain(1.0, 50)],
        ("full_retrain", "sw"): [chain(0.8, 200)] * 2, ("full_retrain", "tr"): [chain(0.8, 200)] * 2,
    }  # fmt: skip
    found = summary(chains)
    assert found["ecda"]["acc"] == pytest.approx(0.85)
    assert found["ecda"]["per_language"]["tr"] == pytest.approx({"acc": 0.875, "bwt": 0.05, "forgetting": -0.05})
    assert found["ecda"]["worst_language"] == {"language": "sw", "acc": pytest.approx(0.825)}
    assert (found["ecda"]["train_tokens"], found["ecda"]["last_tokens"]) == (150, 50)
    assert (found["ecda"]["train_tokens_share"], found["ecda"]["last_tokens_share"]) == (0.5, 0.25)
    apart = found["full_retrain"]["ecda_vs"]
    assert (apart["diff"], apart["p"]) == (pytest.approx(0.05), 0.5)
    assert apart["low"] < 0.05 < apart["high"]
    text = tables({}, {"toy": found})
    assert "| **ecda** | 0.850 |" in text
    assert "25.0%" in text
    assert f"| {(150 + 7 / 3) / (300 + 7 / 3):.1%} |" in text, "a parent's forward pass is a third of the work"


def write_cell(folder: Path, steps: dict[int, dict[str, list[bool]]]) -> None:
    rows = [(step, topic, hit) for step, topics in steps.items() for topic, hits in topics.items() for hit in hits]
    columns = {"step": [row[0] for row in rows], "topic": [row[1] for row in rows], "correct": [row[2] for row in rows]}
    gate = pa.table({**columns, "half": ["gate"] * len(rows)})
    dev = pa.table({**columns, "correct": [not row[2] for row in rows], "half": ["dev"] * len(rows)})
    write_table(folder / "items.parquet", pa.concat_tables([dev, gate]))
    cost = {"tokens": 10, "replay": 2, "fisher": 1, "teacher": 2, "seconds": 0.5, "alpha": 1.0}
    write_json(folder / "cost.json", [cost] * len(steps))


def test_runs_are_read_as_chains(tmp_path: Path) -> None:
    topics = [topic for group in WORLDFACTS.groups.values() for topic in group]
    write_cell(tmp_path / "start" / "sw" / "0", {0: {topic: [True, False] for topic in topics}})
    later = {step: {topic: [True] for topic in topics} for step in (1, 2, 3, 4)}
    write_cell(tmp_path / "methods" / "ecda" / "sw" / "0", later)
    found = report.read_chains(HERE / "worldfacts", tmp_path, "gate")["ecda", "sw"][0]
    assert found.matrix == pytest.approx(np.array([[0.5] * 5] + [[1.0] * 5] * 4))
    assert (found.tokens, found.teacher_tokens, found.seconds) == ([13] * 5, 10, 2.5)
    write_json(tmp_path / "methods" / "naive" / "sw" / "0" / RECEIPT, {"reason": "NaN"})
    with pytest.raises(CompassError, match=r"1 cells failed, the first .*: NaN"):
        report.read_chains(HERE / "worldfacts", tmp_path, "gate")


@pytest.mark.parametrize(("half", "runs", "file"), [("tuning", "tuning", "TUNING"), ("gate", "runs", "RESULTS")])
def test_both_reports_are_of_the_gate_half(
    half: str, runs: str, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = [topic for group in WORLDFACTS.groups.values() for topic in group]
    build = tmp_path / "worldfacts" / "build" / runs
    right = {topic: [True] for topic in topics}
    for language in ("sw", "tr"):
        write_cell(build / "start" / language / "0", {0: right})
        write_cell(build / "methods" / "ecda" / language / "0", dict.fromkeys((1, 2, 3, 4), right))
    shutil.copy(HERE / "worldfacts" / "comparison.yaml", tmp_path / "worldfacts")
    shutil.copy(HERE / "README.md", tmp_path)
    monkeypatch.setattr(report, "HERE", tmp_path)
    for name in ("RESULTS", "TUNING", "LOOKS"):
        monkeypatch.setattr(report, name, tmp_path / f"{name.lower()}.json")
    ended = CliRunner().invoke(report.main, ["--dataset", "worldfacts", "--half", half])
    assert ended.exit_code == 0, ended.output
    assert read_json(getattr(report, file))["worldfacts"]["ecda"]["acc"] == 1.0  # dev has 0
    assert report.LOOKS.exists() == (half == "gate")


def test_runs_that_left_nothing_make_no_table(tmp_path: Path) -> None:
    with pytest.raises(CompassError, match=r"expected the results of runs, found none\. Let dvc repro end first"):
        report.read_chains(HERE / "worldfacts", tmp_path, "dev")


def test_the_readme_is_what_the_results_say() -> None:
    readme = (HERE / "README.md").read_text("utf-8")
    tuning, results = (read_json(file) if file.exists() else {} for file in (report.TUNING, report.RESULTS))
    assert with_tables(readme, tables(tuning, results)) == readme
