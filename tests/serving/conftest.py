from pathlib import Path

import pytest

from compass_ops.registry.store import RegistryStore
from compass_ops.serving.base_folder import MIRROR
from tests.registry.conftest import Decisions, decisions, migrated, project, store
from tests.serving.world import World

__all__ = ["decisions", "migrated", "project", "store", "world"]


@pytest.fixture
def world(project: Path, store: RegistryStore, decisions: Decisions, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.delenv(MIRROR, raising=False)
    return World(project, store, decisions)
