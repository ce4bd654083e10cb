"""The registry's fixtures."""

from tests.registry.conftest import decisions, migrated, on_file, project, store

__all__ = ["decisions", "migrated", "on_file", "project", "store"]
