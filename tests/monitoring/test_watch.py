from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from compass_ops.corpus.traits import text_traits
from compass_ops.errors import NoVectorError
from compass_ops.evaluation.score import ScoreSettings
from compass_ops.evaluation.scorer import Scorer, Version
from compass_ops.model_files import ModelEntry
from compass_ops.monitoring.action import CANDIDATE
from compass_ops.monitoring.adoption import window_digest
from compass_ops.monitoring.drift import DriftSettings
from compass_ops.monitoring.fleet import write_fleet_page
from compass_ops.monitoring.harm import HarmSettings
from compass_ops.monitoring.probe import Prober
from compass_ops.monitoring.verdict import read_verdict
from compass_ops.monitoring.watch import WatchSettings, watch
from compass_ops.monitoring.windows import Embedding
from compass_ops.params import load_params
from compass_ops.selection.vectors import vectors_file, write_means
from compass_ops.storage import (
    file_digests,
    read_array,
    read_json,
    read_table,
    write_array,
    write_bytes,
    write_json,
    write_table,
)
from pipelines._code import ROOT
from tests.monitoring.test_fleet import SHIFTED as INDEX_ROW

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
SETTINGS = WatchSettings(DRIFT, html_limit=15, examples=2, seed=1)
HARM = HarmSettings(required=True, alpha=0.05, floor_nats=0.1, least_items=10, uncovered_share=0.2, cool_down=0)
BASE = "b" * 64
CLUSTERS = 4
SAME, SHIFTED = [25, 25, 25, 25], [70, 10, 10, 10]


def _embed(texts: Sequence[str], clusters: int = CLUSTERS) -> NDArray[np.float32]:
    """A prompt names its cluster: "2: ..." is the third axis."""
    return np.eye(clusters, dtype=np.float32)[[int(text.partition(":")[0]) for text in texts]]


EMBEDDING = Embedding("e" * 64, "", _embed)


class KnownLosses(Scorer):
    """A scorer that knows the loss of an answer, in nats per byte, by its prompt's cluster; wrong choices lose 9.

    ``answers``: losses of users' own answers, wherever they are asked.
    """

    def __init__(self, root: Path, losses: Sequence[float], answers: Mapping[str, float]) -> None:
        base = ModelEntry("base", None, "base", BASE)
        memo = root / "memo" / f"{losses} {sorted(answers.items())}"
        super().__init__(base, root, ScoreSettings(" ", 64, 512), memo)
        self.losses, self.answers = losses, answers

    def _computed(
        self, prompts: list[str], choices: list[list[str]], version: Version | None
    ) -> list[NDArray[np.float64]]:
        return [
            np.array([-self._loss(prompt, own[0]) * len(own[0].encode()), *(-9.0 * len(wrong) for wrong in own[1:])])
            for prompt, own in zip(prompts, choices, strict=True)
        ]

    def _loss(self, prompt: str, answer: str) -> float:
        return self.answers.get(answer, self.losses[int(prompt[0])])


class Project:
    def __init__(self, root: Path, clusters: int = CLUSTERS) -> None:
        self.root, self.clusters = root, clusters
        self.registry: dict[str, dict[str, object]] = {}
        self.inputs = {
            "windows": root / "traffic",
            "production": root / "production",
            "registry": root / "registry.json",
            "alarms": root / "alarms",
        }
        self.names: list[str] = []

    def version(
        self,
        language: str,
        *,
        embedder: tuple[str, str] = ("e" * 64, ""),
        window: str | None = None,
        rows: str | None = None,
        adopted: Sequence[str] = (),
        adopted_rows: Mapping[str, list[str]] | None = None,
    ) -> Path:
        """``rows``: digest of the window that the version was made for; versions made before do not say."""
        folder = self.inputs["production"] / language
        centroids = np.eye(self.clusters, dtype=np.float32)
        asked = np.repeat(np.arange(self.clusters), 400 // self.clusters)
        write_array(folder / "reference" / "centroids.npy", centroids)
        write_array(folder / "reference" / "vectors.npy", centroids[asked])
        write_array(folder / "reference" / "fitting.npy", centroids)
        traits = text_traits([f"{cluster}: prompt" for cluster in asked])
        write_table(folder / "reference" / "rows.parquet", traits.append_column("session", pa.array(range(len(asked)))))
        made_with = dict(zip(("digest", "prefix"), embedder, strict=True))
        manifest = {"digest": "a" * 64, "base": {"digest": BASE}, "embedder": made_with, "window": window}
        write_json(folder / "manifest.json", manifest | ({} if rows is None else {"window_digest": rows}))
        self.registry[language] = {"production": {"version": "1", "digest": "a" * 64}, "adopted": list(adopted)}
        self.registry[language] |= {} if adopted_rows is None else {"adopted_rows": adopted_rows}
        return folder

    def window(
        self,
        name: str,
        sessions: list[str] | None = None,
        labels: Mapping[str, str] = MappingProxyType({}),
        **counts: list[int],
    ) -> None:
        """``labels``: by cluster, what users say the answer should have been."""
        self.names = sorted({*self.names, name})
        for language, rows in counts.items():
            prompts = [f"{cluster}: prompt {n}" for cluster, many in enumerate(rows) for n in range(many)]
            table = text_traits(prompts).append_column("prompt", pa.array(prompts))
            named = sessions if sessions is not None else pa.nulls(len(prompts), pa.string())
            table = table.append_column("session", pa.array(named, pa.string()))
            table = table.append_column("completion", pa.array([labels.get(prompt[0], "") for prompt in prompts]))
            times = [f"2026-10-1{prompt[0]}T08:00:00+00:00" for prompt in prompts]  # a cluster a day
            table = table.append_column("time", pa.array(times, pa.string()))
            write_table(self.inputs["windows"] / name / f"{language}.parquet", table)

    def dev(self, language: str, counts: list[int]) -> None:
        """Labelled dev items by cluster; the answer, "right", is the first of two choices."""
        prompts = [f"{cluster}: item {n}" for cluster, many in enumerate(counts) for n in range(many)]
        table = pa.table(
            {
                "id": prompts,
                "prompt": prompts,
                "choices": [["right", "wrong"]] * len(prompts),
                "answer": [0] * len(prompts),
                "parallel_id": pa.nulls(len(prompts), pa.string()),
            }
        )
        write_table(self.root / "ingest" / "dev" / f"{language}.parquet", table)
        write_array(vectors_file(self.root / "embed", "dev", language), _embed(prompts))

    def run(
        self,
        settings: WatchSettings = SETTINGS,
        embedding: Embedding = EMBEDDING,
        harm: HarmSettings = HARM,
        losses: Sequence[float] = (1.0,) * CLUSTERS,
        scorer: type[KnownLosses] = KnownLosses,
        answers: Mapping[str, float] = MappingProxyType({}),
    ) -> dict[str, dict[str, Any]]:
        write_json(self.inputs["windows"] / "windows.json", self.names)
        write_json(self.inputs["registry"], {"schema": 1, "languages": self.registry})
        prober = Prober(scorer(self.root, losses, answers), self.root / "ingest", self.root / "embed", harm)
        watch(self.inputs, embedding, prober, settings, self.root / "drift")
        summary: dict[str, dict[str, Any]] = read_json(self.root / "drift" / "summary.json")
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
    assert summary["id"]["period"] == "2026-10-10 08:00 to 2026-10-13 08:00 UTC"
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
    summary = project.run(replace(SETTINGS, html_limit=2))
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


def test_a_window_is_adopted_only_if_its_rows_are_those_that_were_adopted(project: Project) -> None:
    """The log was cut anew: another window bears the name of the one that Production was made for."""
    project.window("0002", sw=SHIFTED)
    here, other = window_digest(project.inputs["windows"] / "0002" / "sw.parquet"), "f" * 64
    project.version("sw", window="0002", rows=here)
    assert project.run()["sw"]["verdict"] == "adopted"
    project.version("sw", window="0002", rows=other)
    assert project.run()["sw"]["verdict"] == "drift"
    project.version("sw", adopted=["0002"], adopted_rows={"0002": [other]})
    assert project.run()["sw"]["verdict"] == "drift"
    project.version("sw", adopted=["0002"], adopted_rows={"0002": [other, here]})
    assert project.run()["sw"]["verdict"] == "adopted"
    project.version("sw", window="0002", rows=other, adopted=["0002"], adopted_rows={"0002": [other]})
    project.window("0003", sw=SHIFTED)
    row = project.run(harm=replace(HARM, required=False, cool_down=5))["sw"]
    assert row["action"] == CANDIDATE, "how long ago Production was made cannot be told"


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
    project.version("sw", embedder=("f" * 64, ""))
    project.version("id")
    project.window("0001", sw=SAME, id=SAME)
    summary = project.run()
    assert summary["sw"]["verdict"] == "failed"
    assert "f" * 64 in str(summary["sw"]["sentence"])
    assert "e" * 64 in str(summary["sw"]["sentence"])
    assert summary["id"]["verdict"] == "no drift"


def test_a_version_made_with_another_prefix_fails_alone(project: Project) -> None:
    project.version("sw", embedder=("e" * 64, "query: "))
    project.version("id")
    project.window("0001", sw=SAME, id=SAME)
    summary = project.run()
    assert "made with embed.prefix 'query: ', it is '' now" in str(summary["sw"]["sentence"])
    assert summary["id"]["verdict"] == "no drift"


def test_windows_are_seen_without_the_means_of_their_version(project: Project) -> None:
    """Every raw vector has the language's direction added; the version's reference was made without it."""
    folder = project.version("sw")
    project.window("0001", sw=SAME)
    plain = project.run()
    mean = np.full(CLUSTERS, 0.5, np.float32)
    write_means(folder / "reference", {"sw": mean, "": -mean})
    moved = Embedding("e" * 64, "", lambda texts: _embed(texts) + mean)
    row = project.run(embedding=moved)["sw"]
    assert row["verdict"] == "no drift"
    assert row["sentence"] == plain["sw"]["sentence"]
    write_means(folder / "reference", {})
    assert project.run(embedding=moved)["sw"]["sentence"] != plain["sw"]["sentence"]


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
    broken = Embedding("e" * 64, "", lambda texts: np.full((len(texts), CLUSTERS), np.nan, dtype=np.float32))
    row = project.run(embedding=broken)["sw"]
    assert row["verdict"] == "failed"
    assert "no vector for some prompts of window 0001" in str(row["sentence"])


def test_a_prompt_that_the_embedder_has_no_vector_for_fails_its_language_alone(project: Project) -> None:
    """As ``embed_texts`` says it of a text whose characters an embedder does not know."""

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        if len(texts) == sum(SHIFTED) + 1:
            raise NoVectorError("The embedder gave no finite vector for 'secret' and 0 other texts.", _embed(texts))
        return _embed(texts)

    project.version("sw")
    project.version("id")
    project.window("0001", sw=[*SHIFTED[:3], SHIFTED[3] + 1], id=SAME)
    project.registry["sw"]["last_alarm"] = {"window": "0000", "p_value": 0.01, "sentence": "Shifted."}
    summary = project.run(embedding=Embedding("e" * 64, "", embed))
    assert (summary["sw"]["verdict"], summary["id"]["verdict"]) == ("failed", "no drift")
    assert "no vector for some prompts of window 0001" in summary["sw"]["sentence"]
    assert "secret" not in str(summary), "a report is no place for what users asked"
    assert summary["sw"]["last_alarm"]["window"] == "0000"


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
    assert "the window has 4 sessions" in str(row["sentence"])


def test_of_sessions_against_a_reference_without_one_prompt_each_is_compared(project: Project) -> None:
    project.version("sw")
    project.window("0001", sessions=[f"s{row // 2}" for row in range(120)], sw=[84, 12, 12, 12])
    row = project.run()["sw"]
    assert (row["verdict"], row["n_window"], row["n_reference"]) == ("drift", 60, 400)
    told = "One prompt per session was compared, 60 of the window's 120, because the reference has no sessions."
    assert str(row["sentence"]).endswith(told)
    folder = project.root / "drift" / "sw"
    assert told in (folder / "report.html").read_text("utf-8")
    assert read_verdict(folder / "verdict.json").n_window == 60
    assert np.bincount(read_array(folder / "clusters.npy")).tolist() == [84, 12, 12, 12], "what is shown is all rows"
    assert "from 25.0% to 70.0%" in str(row["sentence"])
    many = project.run(replace(SETTINGS, drift=replace(DRIFT, minimum_window=120)))["sw"]
    assert many["verdict"] == "drift", "the minimum is of all prompts"
    more = project.run(replace(SETTINGS, drift=replace(DRIFT, minimum_window=121)))["sw"]
    assert (more["verdict"], more["n_window"]) == ("insufficient data", 120)
    fixed = project.run(replace(SETTINGS, drift=replace(DRIFT, correction="fixed")))["sw"]
    assert (fixed["n_window"], "per session" in str(fixed["sentence"])) == (120, False)


def test_of_a_reference_with_sessions_one_prompt_each_is_compared(project: Project) -> None:
    folder = project.version("sw")
    project.window("0001", sw=SHIFTED)
    rows = read_table(folder / "reference" / "rows.parquet")
    numbers = pa.array([row // 4 for row in range(rows.num_rows)], pa.int64())
    write_table(folder / "reference" / "rows.parquet", rows.set_column(4, "session", numbers))
    row = project.run()["sw"]
    assert (row["verdict"], row["n_window"], row["n_reference"]) == ("drift", 100, 100)
    assert "100 of the reference's 400, because the window has no sessions" in str(row["sentence"])
    project.window("0001", sessions=[f"s{row // 2}" for row in range(100)], sw=SHIFTED)
    row = project.run()["sw"]
    assert (row["n_window"], row["n_reference"]) == (100, 400)
    assert "per session" not in str(row["sentence"])


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
    write_json(project.inputs["windows"] / "embedder.json", {"digest": "e" * 64, "prefix": ""})
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

    away = Embedding("e" * 64, "", embed)
    summary = project.run(embedding=away)
    assert summary["sw"]["verdict"] == "drift"
    findings = read_verdict(project.root / "drift" / "id" / "verdict.json").findings
    novelty = next(one for one in findings if one.statistic == "novelty")
    assert (novelty.value, novelty.p_value) == (1.0, 0.01)
    assert summary["id"]["verdict"] == "drift"


def test_no_window_at_all(project: Project) -> None:
    project.version("sw")
    assert {name: row["verdict"] for name, row in project.run().items()} == {"sw": "no window"}


@pytest.mark.long
def test_two_hundred_languages_stay_under_sixty_megabytes(tmp_path: Path) -> None:
    """As many alarms as are shown in full under the project's own params; all others in their verdict and the index."""
    clusters, limit = 30, load_params(ROOT / "params.yaml").report.html_limit
    project, languages = Project(tmp_path, clusters), [f"l{number:03}" for number in range(200)]
    for language in languages:
        project.version(language)
    same, moved = [4] * clusters, [60, *[2] * (clusters - 1)]
    for window in ("0001", "0002"):
        rows: dict[str, Any] = {name: moved if name < "l020" else same for name in languages}
        project.window(window, **rows)
    summary = project.run(
        replace(SETTINGS, html_limit=limit, examples=3, drift=replace(DRIFT, moved_clusters=5)),
        Embedding("e" * 64, "", lambda texts: _embed(texts, clusters)),
        losses=(1.0,) * clusters,
    )
    drifted = {name for name, row in summary.items() if row["verdict"] == "drift"}
    assert drifted == {name for name in languages if name < "l020"}
    assert sum(row["report"] is not None for row in summary.values()) == limit
    assert all(row["last_alarm"] is not None for name, row in summary.items() if name in drifted)
    write_fleet_page(
        [replace(INDEX_ROW, language=name) for name in languages], "project", tmp_path / "report" / "index.html"
    )
    files = [path for folder in ("drift", "report") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert len([path for path in files if path.suffix == ".html"]) == limit + 1
    assert sum(path.stat().st_size for path in files) < 60_000_000


def remember_alarm(project: Project, language: str = "sw") -> bytes:
    """Put the alarm of the last round into the registry's files, as `promote` and `register` do; return its page."""
    last = project.root / "drift" / language
    row = read_json(project.root / "drift" / "summary.json")[language]
    assert row["alarmed"]
    project.registry[language]["last_alarm"] = row["last_alarm"]
    write_bytes(project.inputs["alarms"] / f"{language}.json", (last / "verdict.json").read_bytes())
    return (last / "report.html").read_bytes()


def test_an_alarm_that_led_to_no_version_keeps_its_report_through_quiet_windows(project: Project) -> None:
    project.version("sw")
    project.window("0002", sw=SHIFTED)
    project.run()
    page = remember_alarm(project)
    project.window("0003", sw=SAME)
    quiet = project.run()["sw"]
    assert (quiet["verdict"], quiet["alarmed"], quiet["last_alarm"]["window"]) == ("no drift", False, "0002")
    assert quiet["report"] == "sw/report.html"
    assert (project.root / "drift" / "sw" / "report.html").read_bytes() == page
    assert project.run(replace(SETTINGS, html_limit=0))["sw"]["report"] is None
    project.window("0004", sw=SHIFTED)
    assert project.run()["sw"]["last_alarm"]["window"] == "0004"
    (project.inputs["alarms"] / "sw.json").unlink()
    project.window("0004", sw=SAME)
    gone = project.run()["sw"]
    assert (gone["last_alarm"]["window"], gone["report"]) == ("0002", None)


def test_the_last_alarm_is_the_newest_whatever_its_window_is_called(project: Project) -> None:
    """The log was cut anew, so that its names begin again: 0050 was long ago."""
    folder = project.version("sw", window="0050")
    project.window("0050", sw=[10, 10, 10, 70])
    project.version("sw")
    project.run()
    (folder / "drift.json").write_bytes((project.root / "drift" / "sw" / "verdict.json").read_bytes())
    remember_alarm(project)
    project.names = []
    project.version("sw", window="0050", rows="f" * 64)
    project.registry["sw"]["last_alarm"] = {"window": "0050", "p_value": 0.01, "sentence": "long ago"}
    project.window("0003", sw=SHIFTED)
    assert project.run()["sw"]["last_alarm"]["window"] == "0003"
    remember_alarm(project)
    project.window("0004", sw=SAME)
    assert project.run()["sw"]["last_alarm"]["window"] == "0003"


def test_the_alarm_that_production_came_from_stands_in_where_the_registry_holds_none(project: Project) -> None:
    folder = project.version("sw")
    project.window("0002", sw=SHIFTED)
    project.run()
    (folder / "drift.json").write_bytes((project.root / "drift" / "sw" / "verdict.json").read_bytes())
    project.window("0003", sw=SAME)
    row = project.run()["sw"]
    assert (row["last_alarm"]["window"], row["report"]) == ("0002", "sw/report.html")
