from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from compass_ops.corpus.traits import text_traits
from compass_ops.monitoring.drift import DriftSettings
from compass_ops.monitoring.verdict import read_verdict
from compass_ops.monitoring.watch import WatchSettings, watch
from compass_ops.monitoring.windows import Embedding
from compass_ops.storage import file_digests, read_array, read_json, read_table, write_array, write_json, write_table

DRIFT = DriftSettings(
    correction="max-t",
    permutations=99,
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
    moved_clusters=2,
)
SETTINGS = WatchSettings(DRIFT, html_limit=15, examples=2)
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
        centroids, asked = np.eye(CLUSTERS, dtype=np.float32), np.repeat(np.arange(CLUSTERS), 100)
        write_array(folder / "reference" / "centroids.npy", centroids)
        write_array(folder / "reference" / "vectors.npy", centroids[asked])
        write_array(folder / "reference" / "fitting.npy", centroids)
        traits = text_traits([f"{cluster}: prompt" for cluster in asked])
        write_table(folder / "reference" / "rows.parquet", traits.append_column("session", pa.array(range(len(asked)))))
        manifest = {"digest": "a" * 64, "embedder": {"digest": embedder}, "window": window}
        write_json(folder / "manifest.json", manifest)
        self.registry[language] = {"production": {"version": "1", "digest": "a" * 64}, "adopted": list(adopted)}
        return folder

    def window(self, name: str, sessions: list[str] | None = None, **counts: list[int]) -> None:
        self.names = sorted({*self.names, name})
        for language, rows in counts.items():
            prompts = [f"{cluster}: prompt {n}" for cluster, many in enumerate(rows) for n in range(many)]
            table = text_traits(prompts).append_column("prompt", pa.array(prompts))
            named = sessions if sessions is not None else pa.nulls(len(prompts), pa.string())
            table = table.append_column("session", pa.array(named, pa.string()))
            write_table(self.inputs["windows"] / name / f"{language}.parquet", table)

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
    (folder / "reference" / "fitting.npy").unlink()
    project.version("id")
    project.window("0001", sw=SAME, id=SAME)
    summary = project.run()
    assert "holds no reference (fitting.npy)" in str(summary["sw"]["sentence"])
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


PERSISTENT = replace(SETTINGS, drift=replace(DRIFT, persistence=2))


def test_a_shift_is_drift_once_it_persists(project: Project) -> None:
    project.version("sw")
    project.version("id")
    project.window("0001", sw=SAME, id=SAME)
    project.window("0002", sw=SHIFTED, id=SAME)
    first = project.run(PERSISTENT)
    assert (first["sw"]["verdict"], first["id"]["verdict"]) == ("unconfirmed", "no drift")
    assert "Seen in 1 of 2 windows in a row" in str(first["sw"]["sentence"])
    assert not read_verdict(project.root / "drift" / "sw" / "verdict.json").drifted
    project.window("0003", sw=SHIFTED, id=SAME)
    assert project.run(PERSISTENT)["sw"]["verdict"] == "drift"


def test_a_window_before_the_adopted_one_confirms_nothing(project: Project) -> None:
    project.version("sw", window="0001")
    project.window("0001", sw=SHIFTED)
    project.window("0002", sw=SHIFTED)
    assert project.run(PERSISTENT)["sw"]["verdict"] == "unconfirmed"


def test_a_few_long_sessions_are_insufficient(project: Project) -> None:
    project.version("sw")
    project.window("0001", sessions=[f"s{row // 25}" for row in range(100)], sw=SHIFTED)
    row = project.run()["sw"]
    assert row["verdict"] == "insufficient data"
    assert "the window has 4 sessions, 20 are needed" in str(row["sentence"])


def test_a_window_without_text_is_judged_alike_and_shows_none(project: Project) -> None:
    project.version("sw")
    project.window("0001", sw=SHIFTED)
    with_text = project.run()["sw"]
    file = project.inputs["windows"] / "0001" / "sw.parquet"
    table = read_table(file)
    prompts = table.column("prompt").to_pylist()
    write_array(file.with_suffix(".npy"), _embed(prompts))
    bare = table.set_column(table.column_names.index("prompt"), "prompt", pa.array([""] * len(prompts)))
    write_table(file, bare)
    write_json(project.inputs["windows"] / "embedder.json", {"digest": "e" * 64})
    without = project.run()["sw"]
    assert {name: without[name] for name in ("verdict", "p_value", "findings", "sentence")} == {
        name: with_text[name] for name in ("verdict", "p_value", "findings", "sentence")
    }
    assert "prompt 0" not in (project.root / "drift" / "sw" / "report.html").read_text("utf-8")


def test_the_window_s_cluster_ids_are_kept(project: Project) -> None:
    project.version("sw")
    project.window("0001", sw=SHIFTED)
    project.run()
    ids = read_array(project.root / "drift" / "sw" / "clusters.npy")
    assert np.bincount(ids).tolist() == SHIFTED


def test_a_window_of_identical_rows_and_one_that_is_all_new(project: Project) -> None:
    project.version("sw")
    project.version("id")
    project.window("0001", sw=[100, 0, 0, 0], id=SAME)

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        return _embed(texts) if len({text[0] for text in texts}) == 1 else -_embed(texts)

    away = Embedding("e" * 64, embed)
    summary = project.run(embedding=away)
    assert summary["sw"]["verdict"] == "drift"
    findings = read_verdict(project.root / "drift" / "id" / "verdict.json").findings
    novelty = next(one for one in findings if one.statistic == "novelty")
    assert (novelty.value, novelty.p_value) == (1.0, 0.01)
    assert summary["id"]["verdict"] == "drift"


def test_no_window_at_all(project: Project) -> None:
    project.version("sw")
    assert {name: row["verdict"] for name, row in project.run().items()} == {"sw": "no window"}
