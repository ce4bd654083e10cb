"""Version folders on their way into and out of the registry: verified, copied, completed with their evidence."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compass_ops.errors import RegistryError, StorageError
from compass_ops.registry.mlmodel import check_mlmodel, mlmodel
from compass_ops.registry.names import checked_digest, checked_language
from compass_ops.storage import file_digest, read_json, write_bytes, write_json
from compass_ops.training.version import MANIFEST, MLMODEL, SCHEMA, adapter_digest, version_files

DECISION, DRIFT = "decision.json", "drift.json"

_REMEDY = "Fetch the version again, or restore it from a backup."


def verify_version(folder: Path, *, expected: str | None = None) -> dict[str, Any]:
    """Check every file of a version folder against its manifest and return the manifest.

    Parameters
    ----------
    expected : str, optional
        SHA-256 of ``manifest.json`` as it was registered.

    Raises
    ------
    RegistryError
        Naming the file that is missing, differs or does not belong there.
    ModelError
        Naming a file of a kind that no version may hold.
    """
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise RegistryError(f"{folder / MANIFEST}: is not a manifest of schema {SCHEMA}. Upgrade compass_ops.")
    checked_language(str(manifest.get("language")))
    checked_digest(str(manifest.get("digest")))
    if expected is not None and file_digest(folder / MANIFEST) != expected:
        raise RegistryError(f"{folder}: {MANIFEST} differs from the one that was registered. {_REMEDY}")
    _compare(folder, manifest["files"], version_files(folder))
    if MLMODEL in manifest["files"]:
        check_mlmodel(f"{folder / MLMODEL}", read_json(folder / MLMODEL))
    if adapter_digest(folder) != manifest["digest"]:
        raise RegistryError(f"{folder}: {MANIFEST} names another adapter than the one beside it. {_REMEDY}")
    return manifest


def _compare(folder: Path, listed: Mapping[str, str], found: Mapping[str, str]) -> None:
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            raise RegistryError(f"{folder}: {name} is missing. {_REMEDY}")
        if name not in listed:
            raise RegistryError(f"{folder}: {name} is not listed in {MANIFEST}. Remove it.")
        if found[name] != listed[name]:
            raise RegistryError(
                f"{folder}: {name} was altered: its SHA-256 is {found[name]}, listed as {listed[name]}. {_REMEDY}"
            )


def stage_for_registration(
    source: Path, destination: Path, additions: Mapping[str, bytes], commit: str | None
) -> dict[str, Any]:
    """Make the copy of a version folder that is registered, with MLflow's ``MLmodel``, and return its manifest.

    Parameters
    ----------
    source : Path
        A version folder that was verified; it is not changed.
    destination : Path
        Must not exist.
    additions : mapping of file name to contents
        Evidence laid beside, byte for byte: ``decision.json``, ``drift.json``.
    commit : str or None
        Git commit of the code that registers.
    """
    link_tree(source, destination)
    write_json(destination / MLMODEL, mlmodel())
    for name, content in additions.items():
        write_bytes(destination / name, content)
    manifest: dict[str, Any] = read_json(source / MANIFEST)
    manifest |= {"files": version_files(destination), "git_commit": commit}
    write_json(destination / MANIFEST, manifest)
    return manifest


def link_tree(source: Path, destination: Path) -> None:
    """Copy a folder by hard links, or by contents across file systems. Nothing here writes into files in place."""
    try:
        shutil.copytree(source, destination, copy_function=_link)
    except (OSError, shutil.Error) as error:
        raise StorageError(
            f"{destination}: cannot be written ({error}). Free space or fix permissions, then rerun."
        ) from error


def _link(source: str, destination: str) -> None:
    try:
        Path(destination).hardlink_to(source)
    except OSError:
        shutil.copy2(source, destination)
