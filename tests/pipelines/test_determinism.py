"""Two fresh runs, in two folders, of one project: the same choices to the byte, the same figures."""

import math
from collections.abc import Iterator
from typing import Any

import pytest

from compass_ops.storage import file_digests
from tests.pipelines.conftest import Road
from tests.pipelines.project import Project
from tests.pipelines.questions import small, write_data

pytestmark = pytest.mark.long
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same project in another folder, after its first run."""
    project = Project.create(tmp_path_factory.mktemp("other") / "elsewhere" / "again", small, write_data)
    ended = project.repro()
    assert ended.returncode == 0, ended.stdout
    return project


@pytest.mark.parametrize("stage", ["ingest", "embed", "cluster", "sample", "traffic"])
def test_records_vectors_clusters_and_subsets_are_the_same_bytes(road: Road, other: Project, stage: str) -> None:
    files = file_digests(road.project.root / "build" / stage)
    assert files
    assert file_digests(other.root / "build" / stage) == files


@pytest.mark.parametrize("stage", ["base", "train"])
def test_models_and_adapters_are_the_same_bytes(road: Road, other: Project, stage: str) -> None:
    files = {
        name: digest
        for name, digest in file_digests(road.project.root / "build" / stage).items()
        if name.endswith((".safetensors", ".npy"))
    }
    assert files
    found = file_digests(other.root / "build" / stage)
    assert {name: found[name] for name in files} == files


@pytest.mark.parametrize(
    "file",
    [
        "evaluate/metrics.json",
        "cluster/health.json",
        "train/ca/curve.json",
        "train/sw/curve.json",
        "train/tr/curve.json",
    ],
)
def test_figures_are_the_same(road: Road, other: Project, file: str) -> None:
    first, second = (dict(_figures(project.json(*file.split("/")))) for project in (road.project, other))
    assert first.keys() == second.keys()
    assert any(isinstance(value, float) for value in first.values())
    for name, value in first.items():
        if isinstance(value, float):
            assert math.isclose(value, second[name], rel_tol=0, abs_tol=TOLERANCE), name
        else:
            assert value == second[name], name


def _figures(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every figure and text of a JSON value with the path to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _figures(inner, f"{name}/{key}")
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _figures(inner, f"{name}/{place}")
    else:
        yield name, value


def test_two_figures_that_differ_are_told_apart() -> None:
    assert dict(_figures({"a": [1.0, {"b": None}]})) == {"/a/0": 1.0, "/a/1/b": None}


def test_no_file_names_the_folder_it_was_made_in(road: Road, other: Project) -> None:
    for project in (road.project, other):
        mark = str(project.root).encode()
        build = project.root / "build"
        naming = [path for path in sorted(build.rglob("*")) if path.is_file() and mark in path.read_bytes()]
        assert [path.relative_to(build) for path in naming] == []
