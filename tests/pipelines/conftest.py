"""One finished project for all tests of a session; those that change something work on a copy."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.pipelines.project import Ended, Project
from tests.pipelines.questions import small, write_data


@dataclass(frozen=True)
class Road:
    """A project after its first three runs, and what they printed."""

    project: Project
    runs: list[Ended]


@pytest.fixture(scope="session")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    """Run `dvc repro` until nothing is left to do, which takes three runs at most."""
    project = Project.create(tmp_path_factory.mktemp("road") / "project", small, write_data)
    runs = [project.repro() for _ in range(3)]
    project.commit("done")
    return Road(project, runs)


@pytest.fixture
def project(road: Road, tmp_path: Path) -> Project:
    """Return a copy of the finished project, to change it."""
    return road.project.copy(tmp_path / "project")
