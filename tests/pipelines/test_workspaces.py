"""`make repro PROFILE=name`: a project of its own beside the first, also where that one's lock is committed."""

import shutil
import sys

import pytest
import yaml

from compass_ops.storage import file_digests
from tests.pipelines.project import REPOSITORY, Ended, Project
from tests.pipelines.test_road import registry_rows

pytestmark = pytest.mark.long

# The environment is taken as it is: a new checkout's pyproject.toml is younger than any.
VENV = sys.prefix


def make(project: Project) -> Ended:
    """Run the profile as a user does."""
    return project.run("make", "-o", f"{VENV}/.installed", "repro", "PROFILE=mine", f"VENV={VENV}")


def test_a_profile_has_data_lock_and_registry_of_its_own(project: Project) -> None:
    shutil.copy(REPOSITORY / "Makefile", project.root)
    params = yaml.safe_load((project.root / "params.yaml").read_text("utf-8"))
    params["ingest"]["sources"][0]["files"] = ["../../data/records.jsonl"]
    params["traffic"]["origin"] = {"kind": "none"}
    (project.root / "profiles").mkdir()
    (project.root / "profiles" / "mine.yaml").write_text(yaml.safe_dump(params, sort_keys=False), "utf-8")
    project.commit("a profile")
    assert project.run("git", "ls-files", "dvc.lock").stdout == "dvc.lock\n"
    lock, rows = (project.root / "dvc.lock").read_bytes(), registry_rows(project)
    built = file_digests(project.root / "build")

    first = make(project)
    assert first.returncode == 0, first.stdout
    assert "Look at workspaces/mine/build/report/index.html" in first.stdout
    assert {"ingest", "base", "train", "register"} <= set(first.stages)
    workspace = Project(project.root / "workspaces" / "mine")
    assert len(registry_rows(workspace)) > 0
    own = (workspace.root / "dvc.lock").read_bytes()
    assert own != lock

    again = make(project)
    assert again.returncode == 0, again.stdout
    assert not {"ingest", "base", "train"} & set(again.stages)

    assert (project.root / "dvc.lock").read_bytes() == lock
    assert registry_rows(project) == rows
    assert file_digests(project.root / "build") == built
