import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from compass_ops.evaluation.admit import AdmitInputs, admit_languages
from compass_ops.evaluation.evaluate import evaluate_languages
from compass_ops.evaluation.gate import ALL_ALIKE, BETTER, GOLD_MARGIN, LEARNED, NOT_WORSE, GateLimits
from compass_ops.storage import file_digests, read_json, value_digest, write_array, write_json, write_table
from tests.evaluation.project import ITEMS, LANGUAGES, Project

LIMITS = (GateLimits(margin=0.05, alpha=0.05, power=0.8, uncovered_share=0.2, least_items=30), 20)


def admit(project: Project, **sw: Any) -> dict[str, Any]:
    """Evaluate and admit; ``sw`` is that language's entry of the registry. Returns its record."""
    evaluate_languages(project.inputs, LANGUAGES, project.scorer(), project.root / "evaluate", project.root / "memo")
    write_json(project.root / "snapshot" / "registry.json", {"schema": 1, "languages": {"sw": sw} if sw else {}})
    inputs = AdmitInputs(project.root / "evaluate", project.root / "snapshot", project.inputs)
    admit_languages(inputs, LANGUAGES, project.scorer(), LIMITS, project.root / "admit")
    record: dict[str, Any] = read_json(project.root / "admit" / "sw.json")
    body = {key: value for key, value in record.items() if key != "record_digest"}
    assert record["record_digest"] == value_digest(body)
    return record


def candidate_of(project: Project) -> str:
    return str(read_json(project.root / "train" / "sw" / "version" / "manifest.json")["digest"])


def with_production(project: Project, seed: int = 5, **how: Any) -> dict[str, Any]:
    folder = project.root / "snapshot" / "production" / "sw"
    return {"production": {"version": "3", "digest": project.add_adapter(folder, seed=seed, **how)}}


def test_the_base_was_beaten(project: Project) -> None:
    record = admit(project)
    assert record["verdict"] == "promote"
    assert record["candidate"] == candidate_of(project)
    assert record["against"] == {"kind": "base", "version": None, "digest": project.entry.digest}
    assert (record["window"], record["drift_digest"], record["used_gate"]) == (None, None, True)
    assert record["reasons"][0] == "The base was beaten."
    better = next(test for test in record["tests"] if test["name"] == BETTER)
    accuracy = read_json(project.root / "evaluate" / "sw" / "metrics.json")
    assert better["estimate"] == pytest.approx(accuracy["adapter"]["accuracy"] - accuracy["base"]["accuracy"])
    assert better["n"] == ITEMS
    assert (project.root / "admit" / "ca.json").exists()


def test_the_base_was_not_beaten(project: Project) -> None:
    project.write_items("gate", "sw", answers="base")
    record = admit(project)
    assert record["verdict"] == "refuse"
    assert record["reasons"][0] == "The base was not beaten."


def test_against_another_production_version(project: Project) -> None:
    entry = with_production(project)
    record = admit(project, **entry)
    assert record["against"] == {"kind": "production"} | entry["production"]
    assert record["verdict"] == "promote"
    assert [test["name"] for test in record["tests"]] == [NOT_WORSE, BETTER, ALL_ALIKE, LEARNED, GOLD_MARGIN]


def test_what_production_was_updated_for_is_not_undone(project: Project) -> None:
    """Better on the target sample, it loses what is asked since: the first cluster of four."""
    entry = with_production(project)
    folder = project.root / "snapshot" / "production" / "sw"
    project.write_items("gate", "sw", answers="adapter")
    project.relabel("gate", "sw", folder, cluster=0)
    assert admit(project, **entry)["verdict"] == "promote", "over all it gains more than it loses"
    write_json(folder / "reference" / "histogram.json", {"counts": [60, 0, 0, 0]})
    record = admit(project, **entry)
    failed = [test["name"] for test in record["tests"] if not test["passed"]]
    assert (record["verdict"], failed) == ("refuse", [NOT_WORSE])
    project.write_memory(folder, [60, 0, 0, 0])
    failed = [test["name"] for test in admit(project, **entry)["tests"] if not test["passed"]]
    assert failed == [NOT_WORSE, LEARNED]


def test_other_clusters_than_productions_are_said(project: Project) -> None:
    entry = with_production(project)
    folder = project.root / "snapshot" / "production" / "sw"
    write_array(folder / "reference" / "centroids.npy", np.ones((3, 2), np.float32))
    record = admit(project, **entry)
    assert "Production was made in other clusters than the candidate" in record["reasons"][-1]
    assert [test["name"] for test in record["tests"]] == [NOT_WORSE, BETTER, ALL_ALIKE, GOLD_MARGIN]


def test_a_production_version_of_before_anchors_had_weights_can_be_replaced(project: Project) -> None:
    entry = with_production(project)
    anchors = pa.table({"cluster": pa.array([0], pa.int32())})
    write_table(project.root / "snapshot" / "production" / "sw" / "anchors.parquet", anchors)
    record = admit(project, **entry)
    assert record["verdict"] == "promote"
    assert "was not tested by itself" in record["reasons"][-1]


def test_production_whose_weights_are_no_numbers_is_not_judged_against(project: Project) -> None:
    record = admit(project, **with_production(project, scale=float("nan")))
    assert record["verdict"] == "cannot judge"
    assert "scores that are not finite" in record["reasons"][0]


def test_production_scores_are_remembered(project: Project) -> None:
    entry = with_production(project)
    first = admit(project, **entry)
    shutil.rmtree(project.root / "base")
    shutil.rmtree(project.root / "snapshot" / "production" / "sw" / "adapter")
    assert admit(project, **entry) == first


def test_production_is_not_scored_where_it_is_not_needed(project: Project) -> None:
    admit(project)
    before = file_digests(project.root / "memo" / "scores")
    admit(project, production={"version": "1", "digest": candidate_of(project)})
    assert file_digests(project.root / "memo" / "scores") == before


def test_the_same_adapter_is_not_judged_again(project: Project) -> None:
    record = admit(project, production={"version": "1", "digest": candidate_of(project)})
    assert (record["verdict"], record["tests"], record["used_gate"]) == ("already judged", [], False)
    assert record["reasons"] == ["It is Production version 1 already."]
    entry = with_production(project) | {"judged": {candidate_of(project): {"verdict": "refused", "record": "abc"}}}
    record = admit(project, **entry)
    assert (record["verdict"], record["tests"], record["used_gate"]) == ("already judged", [], False)
    assert "refused before (decision record abc)" in record["reasons"][0]


def test_a_used_up_gate_half(project: Project) -> None:
    assert admit(project, production=None, gate_uses=19)["verdict"] == "promote"
    record = admit(project, production=None, gate_uses=20)
    assert (record["verdict"], record["used_gate"]) == ("cannot judge", False)
    assert "used 20 times (at most 20 allowed)" in record["reasons"][0]
    assert "gate.most_uses 40" in record["reasons"][0]


def test_production_of_another_base(project: Project) -> None:
    record = admit(project, **with_production(project, base={"digest": "other"}))
    assert record["verdict"] == "cannot judge"
    assert "belongs to base other" in record["reasons"][0]
    assert project.entry.digest in record["reasons"][0]


@pytest.mark.parametrize("production", [False, True])
def test_labels_missing(project: Project, production: bool) -> None:
    project.write_items("gate", "sw", answers="none")
    record = admit(project, **(with_production(project) if production else {}))
    assert record["verdict"] == "cannot judge"
    assert "Only 0 labelled items of 60 (at least 30 needed)" in record["reasons"][0]


@pytest.mark.parametrize("production", [False, True])
def test_no_gate_items(project: Project, production: bool) -> None:
    (project.root / "ingest" / "gate" / "sw.parquet").unlink()
    record = admit(project, **(with_production(project) if production else {}))
    assert record["verdict"] == "cannot judge"
    assert "Only 0 labelled items of 0" in record["reasons"][0]


def test_no_candidate(project: Project) -> None:
    shutil.rmtree(project.root / "train" / "sw")
    write_json(project.root / "train" / "sw" / "receipt.json", {"reason": "no own rows"})
    record = admit(project)
    assert (record["verdict"], record["candidate"], record["reasons"]) == ("no candidate", None, ["no own rows"])


def test_the_records_are_the_same_each_time(project: Project, tmp_path: Path) -> None:
    entry = with_production(project)
    admit(project, **entry)
    first = file_digests(tmp_path / "admit")
    shutil.rmtree(tmp_path / "memo")
    admit(project, **entry)
    assert file_digests(tmp_path / "admit") == first
