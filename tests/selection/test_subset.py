"""From the files of earlier stages to a subset and its plan; what a choice's digest depends on."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from compass_ops.corpus.records import to_table
from compass_ops.errors import DataFault, ModelError
from compass_ops.selection.subset import SelectionFiles, row_costs, write_subset
from compass_ops.selection.vectors import vectors_file, write_means
from compass_ops.storage import read_json, read_table, write_array, write_json, write_table
from tests.selection.problems import items, plus, settings


def records(role: str, language: str, clusters: list[int]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{role}:{language}:{n}", "language": language, "role": role, "prompt": f"{language} {role} {n}?",
            "completion": "yes", "choices": None, "answer": None, "topic": None, "parallel_id": None,
            "source": "test", "weight": 1.0,
        }
        for n in range(len(clusters))
    ]  # fmt: skip


def store(root: Path, role: str, language: str, clusters: list[int]) -> None:
    write_table(root / "ingest" / role / f"{language}.parquet", to_table(records(role, language, clusters)))
    write_array(vectors_file(root / "embed", role, language), items(clusters, seed=len(language + role)).vectors)
    write_array(root / "cluster" / "assignments" / role / f"{language}.npy", np.array(clusters, np.int32))


@pytest.fixture
def files(tmp_path: Path) -> SelectionFiles:
    for language in ("et", "id", "sw", "tr"):
        store(tmp_path, "auxiliary", language, [0, 1, 2] * 5)
    for language in ("sw", "tr"):
        store(tmp_path, "target", language, [0] * 6 + [1] * 4)
        store(tmp_path, "own", language, [1] * 5)
    write_array(tmp_path / "cluster" / "centroids.npy", np.eye(3, 6, dtype=np.float32))
    write_json(tmp_path / "cluster" / "health.json", {"warnings": []})
    write_means(tmp_path / "embed", {})
    write_json(
        tmp_path / "ingest" / "languages.json",
        {"sw": {"status": "ok"}, "tr": {"status": "ok"}, "zu": {"status": "failed", "reason": "no own rows."}},
    )
    return SelectionFiles(tmp_path / "ingest", tmp_path / "embed", tmp_path / "cluster")


def made(files: SelectionFiles, folder: Path, language: str = "sw", **changes: Any) -> dict[str, Any]:
    write_subset(files, language, settings(**changes), np.random.default_rng(0), folder)
    plan: dict[str, Any] = read_json(folder / "plan.json")
    return plan


@pytest.mark.parametrize("strategy", ["compass", "langsim", "compass_plus"])
def test_a_subset_holds_own_rows_then_chosen_ones_of_other_languages(
    files: SelectionFiles, tmp_path: Path, strategy: str
) -> None:
    parts = plus(affinity=1.0, rows="round_robin", duplicates=0.99, quotas="water_filling", shrinkage=True)
    plan = made(files, tmp_path / "made", strategy=strategy, compass_plus=parts)
    subset = read_table(tmp_path / "made" / "subset.parquet").to_pandas()
    assert subset["reason"].tolist()[:5] == ["own data"] * 5
    assert len(subset) == 9
    assert "sw" not in subset["language"].tolist()[5:]
    assert plan["languages"] == subset["language"][5:].value_counts().to_dict()
    assert (plan["strategy"], plan["chosen"], plan["unit"]) == (strategy, 4, "rows")


def test_a_budget_in_tokens_counts_tokens(files: SelectionFiles, tmp_path: Path) -> None:
    counted = SelectionFiles(files.records, files.vectors, files.clusters, lambda table: np.full(table.num_rows, 3))
    plan = made(counted, tmp_path / "made", budget=10, unit="tokens")
    assert (plan["chosen"], plan["rows"], plan["unfilled"], plan["notes"]) == (9, 3, 1, [])


def test_what_is_asked_is_not_priced(files: SelectionFiles) -> None:
    """Only what is held or drawn takes of a budget; tokens of every target prompt would be counted for nothing."""
    priced: set[str] = set()

    def costs(table: pa.Table) -> NDArray[np.int64]:
        priced.update(table.column("role").to_pylist())
        return row_costs(table)

    SelectionFiles(files.records, files.vectors, files.clusters, costs).problem("sw", settings())
    assert priced == {"own", "auxiliary"}


def test_adding_a_target_language_changes_no_other_languages_rows(files: SelectionFiles, tmp_path: Path) -> None:
    before = made(files, tmp_path / "before", strategy="compass_plus")
    store(tmp_path, "target", "et", [2] * 9)
    store(tmp_path, "own", "et", [0] * 9)
    again = SelectionFiles(files.records, files.vectors, files.clusters)
    assert made(again, tmp_path / "after", strategy="compass_plus") == before
    subsets = [read_table(tmp_path / name / "subset.parquet") for name in ("before", "after")]
    assert subsets[0].equals(subsets[1])


def test_what_is_wrong_with_the_clusters_is_noted_in_the_plan(files: SelectionFiles, tmp_path: Path) -> None:
    write_json(files.clusters / "health.json", {"warnings": ["Clusters follow languages."]})
    assert made(files, tmp_path / "made")["notes"] == ["Clusters follow languages."]


def test_the_digest_follows_what_the_choice_depends_on(files: SelectionFiles, tmp_path: Path) -> None:
    digest = files.digest("sw", settings())
    assert files.digest("sw", settings(overrides={"tr": {"budget": 9}})) == digest, "another language's budget"
    assert files.digest("sw", settings(overrides={"sw": {"budget": 9}})) != digest
    assert files.digest("sw", settings("random")) != digest
    write_json(files.records / "languages.json", {"sw": {"status": "failed", "reason": "no test rows."}})
    assert files.digest("sw", settings()) != digest, "what is failed now must not be answered from what was made"
    write_json(files.records / "languages.json", {"sw": {"status": "ok"}})
    store(tmp_path, "own", "tr", [0] * 5)
    assert files.digest("sw", settings()) == digest, "another language's own data"
    store(tmp_path, "own", "sw", [0] * 5)
    assert files.digest("sw", settings()) != digest


def test_what_all_languages_choose_from_is_digested_once(files: SelectionFiles) -> None:
    again = SelectionFiles(files.records, files.vectors, files.clusters)
    assert again.digest("sw", settings()) != files.digest("tr", settings())
    expected = files.digest("sw", settings())
    shutil.rmtree(files.records / "auxiliary")
    assert files.digest("sw", settings()) == again.digest("sw", settings()) == expected
    assert SelectionFiles(files.records, files.vectors, files.clusters).digest("sw", settings()) != expected


def test_a_language_that_ingest_left_out_says_why(files: SelectionFiles) -> None:
    with pytest.raises(DataFault, match="zu: no own rows"):
        files.problem("zu", settings())


def test_langsim_without_its_optional_package_says_what_to_install(
    files: SelectionFiles, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys

    from compass_ops.selection import uriel

    for cached in (uriel._database, uriel._languages, uriel._code, uriel._vectors):
        cached.cache_clear()
    monkeypatch.setitem(sys.modules, "urielplus.urielplus", None)
    with pytest.raises(ModelError, match=r"pip install 'compass_ops\[baselines\]'"):
        made(files, tmp_path / "made", strategy="langsim")


def test_langrank_on_a_matrix_that_was_never_measured_says_so(files: SelectionFiles, tmp_path: Path) -> None:
    write_json(tmp_path / "matrix.json", None)
    with pytest.raises(ModelError, match=r"matrix\.json: holds no transfer matrix, which strategy langrank learns"):
        made(files, tmp_path / "made", strategy="langrank", transfer_matrix=str(tmp_path / "matrix.json"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[1, 2]", r"expected an object with the lists targets, .* got \[1, 2\]"),
        (b'{"transfers": []}', r"expected an object with the lists targets, .* got an object with \['transfers'\]"),
        (b'{"targets": ["tr"], "transfers": ["id"], "scores": [[1]], "features": [[[1]]]}', r"shape \(1, 1, 13\)"),
        (b"{", "is not readable JSON"),
    ],
    ids=["a list", "no targets", "another number of features", "no JSON"],
)
def test_a_transfer_matrix_that_is_none_is_told_by_its_parameter_with_what_to_do(
    files: SelectionFiles, tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "matrix.json").write_bytes(content)
    with pytest.raises(ModelError, match=rf"^sample\.transfer_matrix: .*matrix\.json: .*{told}.*stage transfer of"):
        made(files, tmp_path / "made", strategy="langrank", transfer_matrix=str(tmp_path / "matrix.json"))


def test_a_transfer_matrix_that_is_not_there_is_told_before_anything_is_remembered(
    files: SelectionFiles, tmp_path: Path
) -> None:
    missing = settings("langrank", transfer_matrix=str(tmp_path / "none.json"))
    with pytest.raises(ModelError, match=r"sample\.transfer_matrix: .*none\.json is none\. Name the matrix\.json"):
        files.digest("sw", missing)
