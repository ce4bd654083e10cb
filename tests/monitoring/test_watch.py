from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from compass_ops.monitoring.drift import DriftSettings
from compass_ops.monitoring.verdict import read_verdict
from compass_ops.monitoring.watch import Embedding, WatchSettings, watch
from compass_ops.storage import file_digests, read_json, write_array, write_json, write_table

SETTINGS = WatchSettings(DriftSettings(99, 0.05, 0.01, 50, 50, 2), html_limit=15, examples=2)
CLUSTERS = 4
SAME, SHIFTED = [25, 25, 25, 25], [70, 10, 10, 10]


def _embed(texts: Sequence[str]) -> NDArray[np.float32]:
    """A prompt names its cluster: "2: ..." is the third axis."""
    return np.eye(CLUSTERS, dtype=np.float32)[[int(text[0]) for text in texts]]


EMBEDDING = Embedding("e" * 64, _embed)


class Project:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.registry: dict[str, dict[str, object]] = {}
        self.inputs = {
            "windows": root / "traffic",
            "production": root / "production",
            "registry": root / "registry.json",
        }
        self.names: list[str] = []

    def version(
        self, language: str, *, embedder: str = "e" * 64, window: str | None = None, adopted: Sequence[str] = ()
    ) -> Path:
        folder = self.inputs["production"] / language
        write_array(folder / "reference" / "centroids.npy", np.eye(CLUSTERS, dtype=np.float32))
        write_json(folder / "reference" / "histogram.json", {"counts": [100] * CLUSTERS})
        manifest = {"digest": "a" * 64, "embedder": {"digest": embedder}, "window": window}
        write_json(folder / "manifest.json", manifest)
        self.registry[language] = {"production": {"version": "1", "digest": "a" * 64}, "adopted": list(adopted)}
        return folder

    def window(self, name: str, **counts: list[int]) -> None:
        self.names = sorted({*self.names, name})
        for language, rows in counts.items():
            prompts = [f"{cluster}: prompt {n}" for cluster, many in enumerate(rows) for n in range(many)]
            write_table(self.inputs["windows"] / name / f"{language}.parquet", pa.table({"prompt": prompts}))

    def run(self, settings: WatchSettings = SETTINGS, embedding: Embedding = EMBEDDING) -> dict[str, dict[str, object]]:
        write_json(self.inputs["windows"] / "windows.json", self.names)
        write_json(self.inputs["registry"], {"schema": 1, "languages": self.registry})
        watch(self.inputs, embedding, settings, 1, self.root / "drift")
        summary: dict[str, dict[str, object]] = read_json(self.root / "drift" / "summary.json")
        return summary


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_only_the_shifted_language_drifts(project: Project) -> None:
    for language in ("sw", "id", "ca"):
        project.version(language)
    project.window("0001", sw=SHIFTED, id=SAME, ca=SAME)
    project.window("0002", sw=SHIFTED, id=SAME, ca=SAME)
    summary = project.run()
    assert {name: row["verdict"] for name, row in summary.items()} == {
        "sw": "drift",
        "id": "no drift",
        "ca": "no drift",
    }
    verdict = read_verdict(project.root / "drift" / "sw" / "verdict.json")
    assert verdict.drifted
    assert (verdict.judged.window, verdict.n_window, verdict.n_reference, verdict.family) == ("0002", 100, 400, 3)
    assert summary["sw"]["report"] == "sw/report.html"
    assert summary["id"]["report"] is None
    assert "0: prompt 0" in (project.root / "drift" / "sw" / "report.html").read_text("utf-8")
    assert not (project.root / "drift" / "id" / "report.html").exists()


def test_the_output_is_the_same_twice(project: Project) -> None:
    project.version("sw")
    project.window("0001", sw=SHIFTED)
    project.run()
    before = file_digests(project.root / "drift")
    project.run()
    assert file_digests(project.root / "drift") == before


def test_html_stays_within_its_limit_and_goes_to_the_largest_shifts(project: Project) -> None:
    for language in ("sw", "id", "ca"):
        project.version(language)
    project.window("0001", sw=SHIFTED, id=SAME, ca=[0, 0, 0, 100])
    summary = project.run(WatchSettings(SETTINGS.drift, html_limit=2, examples=2))
    assert {name for name, row in summary.items() if row["report"]} == {"sw", "ca"}
    assert len(list((project.root / "drift").glob("*/report.html"))) == 2


@pytest.mark.parametrize("by", ["manifest", "registry"])
def test_an_adopted_window_is_not_tested_and_keeps_its_alarm(project: Project, by: str) -> None:
    project.version("sw")
    project.window("0002", sw=SHIFTED)
    project.run()
    alarm = (project.root / "drift" / "sw" / "verdict.json").read_bytes()
    page = (project.root / "drift" / "sw" / "report.html").read_bytes()
    folder = project.version(
        "sw", window="0002" if by == "manifest" else None, adopted=["0002"] if by == "registry" else []
    )
    (folder / "drift.json").write_bytes(alarm)
    row = project.run()["sw"]
    assert (row["verdict"], row["p_value"]) == ("adopted", None)
    assert isinstance(row["last_alarm"], dict)
    assert row["last_alarm"]["window"] == "0002"
    assert (project.root / "drift" / "sw" / "report.html").read_bytes() == page


def test_languages_without_production_or_traffic(project: Project) -> None:
    project.version("id")
    project.registry["zu"] = {"production": None}
    project.window("0001", sw=SAME)
    summary = project.run()
    assert {name: row["verdict"] for name, row in summary.items()} == {
        "sw": "no production version",
        "zu": "no production version",
        "id": "no window",
    }


def test_a_quiet_language_is_judged_on_its_newest_window(project: Project) -> None:
    project.version("sw")
    project.version("id")
    project.window("0001", sw=SAME, id=SAME)
    project.window("0002", sw=SAME)
    summary = project.run()
    assert (summary["sw"]["window"], summary["id"]["window"]) == ("0002", "0001")


def test_another_embedder_is_refused_with_both_digests_and_the_others_go_on(project: Project) -> None:
    project.version("sw", embedder="f" * 64)
    project.version("id")
    project.window("0001", sw=SAME, id=SAME)
    summary = project.run()
    assert summary["sw"]["verdict"] == "failed"
    assert "f" * 64 in str(summary["sw"]["sentence"])
    assert "e" * 64 in str(summary["sw"]["sentence"])
    assert summary["id"]["verdict"] == "no drift"


def test_a_version_without_reference_fails_alone(project: Project) -> None:
    folder = project.version("sw")
    (folder / "reference" / "histogram.json").unlink()
    project.version("id")
    project.window("0001", sw=SAME, id=SAME)
    summary = project.run()
    assert "holds no reference (histogram.json)" in str(summary["sw"]["sentence"])
    assert summary["id"]["verdict"] == "no drift"


def test_vectors_that_are_not_finite_fail_the_language(project: Project) -> None:
    project.version("sw")
    project.window("0001", sw=SAME)
    broken = Embedding("e" * 64, lambda texts: np.full((len(texts), CLUSTERS), np.nan, dtype=np.float32))
    row = project.run(embedding=broken)["sw"]
    assert row["verdict"] == "failed"
    assert "not finite" in str(row["sentence"])


def test_one_row_is_insufficient(project: Project) -> None:
    project.version("sw")
    project.window("0001", sw=[1, 0, 0, 0])
    row = project.run()["sw"]
    assert (row["verdict"], row["p_value"]) == ("insufficient data", None)
