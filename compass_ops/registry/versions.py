"""Version folders on their way into and out of the registry: verified, copied, completed with their evidence."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from compass_ops.errors import CompassError, RegistryError, StorageError
from compass_ops.registry.mlmodel import check_mlmodel, mlmodel
from compass_ops.registry.names import checked_digest, checked_language
from compass_ops.registry.tracking import RunNotes
from compass_ops.storage import file_digest, read_json, write_bytes, write_json
from compass_ops.training.version import (
    CONFIG,
    MANIFEST,
    MLMODEL,
    SCHEMA,
    WEIGHTS,
    adapter_digest,
    version_files,
)

DECISION, DRIFT = "decision.json", "drift.json"

_REMEDY = "`compass restore` may bring the version back."


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
    for fault in _differences(folder, manifest, expected):
        raise RegistryError(fault)
    return manifest


def version_faults(folder: Path, *, expected: str | None = None) -> list[str]:
    """Return everything that ``verify_version`` could complain of, one sentence per file; empty if all is well."""
    try:
        verify_version(folder, expected=expected)
    except RegistryError as error:
        try:
            return list(_differences(folder, read_json(folder / MANIFEST), expected))
        except (CompassError, KeyError, TypeError):
            return [str(error)]
    except CompassError as error:
        return [str(error)]
    return []


def _differences(folder: Path, manifest: Mapping[str, Any], expected: str | None) -> Iterator[str]:
    """Yield where a version folder differs from its manifest, and the manifest from the one that was registered."""
    if expected is not None and file_digest(folder / MANIFEST) != expected:
        yield f"{folder}: {MANIFEST} differs from the one that was registered. {_REMEDY}"
    listed, found = manifest["files"], version_files(folder)
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            yield f"{folder}: {name} is missing. {_REMEDY}"
        elif name not in listed:
            yield f"{folder}: {name} is not listed in {MANIFEST}. Remove it."
        elif found[name] != listed[name]:
            yield f"{folder}: {name} was altered: its SHA-256 is {found[name]}, listed as {listed[name]}. {_REMEDY}"
    if MLMODEL in listed.keys() & found.keys():
        yield from _loader_faults(folder / MLMODEL)
    if {CONFIG, WEIGHTS} <= found.keys() and adapter_digest(folder) != manifest["digest"]:
        yield f"{folder}: {MANIFEST} names another adapter than the one beside it. {_REMEDY}"


def _loader_faults(path: Path) -> Iterator[str]:
    try:
        check_mlmodel(f"{path}", read_json(path))
    except CompassError as error:
        yield str(error)


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


def run_notes(manifest: Mapping[str, Any], record: Mapping[str, Any]) -> RunNotes:
    """Return what the run and the model version of a registered folder say, from its manifest and decision."""
    estimates = _estimates(record)
    tags = {
        "digest": manifest["digest"],
        "language": manifest["language"],
        "record": record["record_digest"],
        "parent": manifest["parent"],
        "base_digest": manifest["base"]["digest"],
        "window": manifest["window"],
        "window_digest": manifest.get("window_digest"),
        "git_commit": manifest["git_commit"],
        "metrics": json.dumps(estimates, sort_keys=True),
    }
    return RunNotes(
        params={"language": manifest["language"], "base": manifest["base"]["id"], "verdict": record["verdict"]},
        tags={f"compass.{key}": value for key, value in tags.items() if value is not None},
        # MLflow takes no comma in a metric's name.
        metrics={f"gate/{name.replace(',', '')}": value for name, value in estimates.items()},
    )


def _estimates(record: Mapping[str, Any]) -> dict[str, float]:
    """The tests' estimates, for `compass status` and for the version's run in the MLflow UI."""
    estimates = {str(test["name"]): test.get("estimate") for test in record["tests"]}
    return {
        name: float(value)
        for name, value in estimates.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


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
