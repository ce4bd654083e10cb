"""A project with a registry and params, and `compass` called in it as a person would."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from compass_ops.cli.main import main
from compass_ops.registry.store import RegistryStore
from pipelines._code import ROOT
from tests.registry.conftest import Decisions, decisions, migrated, on_file, project, store

__all__ = ["decisions", "migrated", "on_file", "project", "store"]

Compass = Callable[..., Result]


@pytest.fixture
def compass(store: RegistryStore, project: Path) -> Compass:
    """Call `compass` in the project; its registry is that of params.yaml, or the server under test."""
    shutil.copy(ROOT / "params.yaml", project / "params.yaml")
    set_param(project, "uri", store.location.uri)
    return lambda *arguments: CliRunner().invoke(main, arguments)


def as_json(result: Result) -> Any:
    """Return what a command printed, which must have ended well."""
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def set_param(project: Path, name: str, value: str) -> None:
    """Change a value of the section ``registry`` in params.yaml."""
    path = project / "params.yaml"
    lines = path.read_text("utf-8").splitlines()
    (place,) = [i for i, line in enumerate(lines) if line.startswith(f"  {name}: ")]
    lines[place] = f"  {name}: {value}"
    path.write_text("\n".join(lines), "utf-8")


__all__ += ["Compass", "Decisions", "as_json", "set_param"]
