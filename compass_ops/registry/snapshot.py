"""The registry as files: what cached stages read instead of the registry."""

import shutil
from pathlib import Path

from compass_ops.registry.history import registry_json
from compass_ops.registry.mirror import LanguageView, Version
from compass_ops.registry.names import checked_digest
from compass_ops.registry.reports import alarm_verdict, last_alarm
from compass_ops.registry.stages import PROMOTED
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.versions import link_tree, verify_version
from compass_ops.storage import read_json, write_bytes, write_json

REGISTRY, PRODUCTION_FOLDER, ALARMS_FOLDER = "registry.json", "production", "alarms"


def write_snapshot(store: RegistryStore, out: Path, memo: Path) -> None:
    """Write the registry as files.

    ``<out>/registry.json``; ``<out>/production/<language>/``, the verified Production versions; and
    ``<out>/alarms/<language>.json``, the verdict of the language's last alarm, where it is still beside its version,
    with ``digests.json`` of what is there.

    Parameters
    ----------
    out : Path
        What it held of an earlier snapshot is replaced.
    memo : Path
        ``<memo>/<digest of the manifest>/`` keeps what was fetched; the folders of ``out`` are hard links to it,
        so that an unchanged registry costs neither time nor space.

    Raises
    ------
    RegistryError
        If a Production version was deleted, or naming the file that is missing or altered.
    """
    views = store.read()
    for name in (PRODUCTION_FOLDER, ALARMS_FOLDER):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir(parents=True)
    for language, view in views.items():
        if (version := view.champion()) is not None:
            link_tree(_kept(store, version, memo), out / PRODUCTION_FOLDER / language)
    told = registry_json({language: view.state for language, view in views.items()})
    digests = {}
    for language, view in views.items():
        alarm = last_alarm(view)
        told["languages"][language] |= {"adopted_rows": _adopted_rows(view), "last_alarm": alarm and alarm.told}
        if alarm is not None and (content := alarm_verdict(store, alarm, memo / "verdicts")) is not None:
            write_bytes(out / ALARMS_FOLDER / f"{language}.json", content)
            digests[language] = alarm.verdict
    write_json(out / ALARMS_FOLDER / "digests.json", digests)  # DVC warns of an empty folder in every run
    write_json(out / REGISTRY, told)


def _adopted_rows(view: LanguageView) -> dict[str, list[str | None]]:
    """Return the digests of the rows of adopted windows by name; None for a version that is gone or does not say."""
    found: dict[str, list[str | None]] = {}
    for entry in view.state.entries:
        if entry.kind == PROMOTED and entry.window is not None:
            version = view.versions.get(str(entry.version))
            digest = None if version is None else version.tags.get("window_digest")
            found.setdefault(entry.window, []).append(digest)
    return found


def _kept(store: RegistryStore, version: Version, memo: Path) -> Path:
    """Return the memo's copy of a version, fetched if it is not there or is no longer what was verified."""
    digest = checked_digest(version.tags.get("manifest", ""))
    folder, stamp = memo / digest, memo / f"{digest}.json"
    if folder.is_dir() and stamp.is_file() and read_json(stamp) == _look(folder):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    store.fetch(version, folder)
    verify_version(folder, expected=digest)
    write_json(stamp, _look(folder))
    return folder


def _look(folder: Path) -> dict[str, list[int]]:
    """Size and time of every file: what tells without reading them that nobody wrote into them."""
    files = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path.relative_to(folder).as_posix(): [stat.st_size, stat.st_mtime_ns] for path, stat in files.items()}
