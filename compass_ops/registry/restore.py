"""Bringing back a champion whose files, or whose version, were deleted: from a copy that proves to be the same."""

import configparser
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from compass_ops.errors import GoneError, RegistryError
from compass_ops.registry.history import Entry, check_number
from compass_ops.registry.location import author, now
from compass_ops.registry.mirror import LanguageView, Version
from compass_ops.registry.mirroring import mirror_decided
from compass_ops.registry.stages import NONE, PRODUCTION, RESTORED, check_move
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.versions import DECISION, run_notes, verify_version, version_faults
from compass_ops.storage import file_digest, read_json
from compass_ops.training.version import MANIFEST

_MD5 = re.compile(r"[0-9a-f]{32}")


def restore(store: RegistryStore, view: LanguageView, number: str, why: str) -> str:
    """Bring a version's files back, bit for bit, and return in one sentence what was done.

    Copies are looked for in the project's ``.memo``, its ``build`` and DVC's cache; each is verified before it is
    used. Files go where they were. If the version itself was deleted, a champion is registered anew under another
    number, with an entry in the history; others are not.

    Raises
    ------
    RegistryError
        If there is no copy, or the version is none that can come back.
    """
    language, version = view.state.language, view.versions.get(number)
    if version is None:
        return _register_anew(store, view, number, why)
    if _is_whole(store, version):
        return f"{language}: version {number} is whole; nothing was done."
    expected = version.tags.get("manifest", "")
    with found_copy(store.location.root, language, manifest=expected) as folder:
        if folder is None:
            raise RegistryError(_no_copy(store, language, number))
        store.put_files(version, folder)
    with store.opened(version):
        return f"{language}: the files of version {number} are back, every digest as registered."


def _is_whole(store: RegistryStore, version: Version) -> bool:
    """Whether every file is as registered; files that cannot be read now are an error, so that none is replaced."""
    try:
        with store.opened(version, checked=False) as folder:
            return not version_faults(folder, expected=version.tags.get("manifest"))
    except GoneError:
        return False


def _register_anew(store: RegistryStore, view: LanguageView, number: str, why: str) -> str:
    state = view.state
    language, digest = state.language, state.digests.get(number)
    if number != state.production or digest is None:
        raise RegistryError(
            f"{language}: version {number} was deleted and is not the champion. A deleted number does not come back; "
            "let the pipeline register the adapter anew."
        )
    with found_copy(store.location.root, language, adapter=digest) as folder:
        if folder is None:
            alone = f"`compass archive {language}/{number}` lets the base serve alone."
            raise RegistryError(f"{_no_copy(store, language, number)} If there is no former champion, {alone}")
        record = read_json(folder / DECISION)
        # A restoration that was interrupted may have got as far as this.
        again = view.version_of(digest, record["record_digest"])
        if again is None:
            again = store.add_version(language, folder, run_notes(read_json(folder / MANIFEST), record))
        check_number(state, again, digest)
        brought = store.read_language(language).versions[again]
        if not _is_whole(store, brought):  # the run was still there, its files were not
            store.put_files(brought, folder)
    check_move(RESTORED, NONE, PRODUCTION)
    entry = Entry(
        language=language,
        kind=RESTORED,
        who=author(),
        when=now(),
        why=why,
        version=again,
        digest=digest,
        source=NONE,
        target=PRODUCTION,
        replaces=number,
        record=record["record_digest"],
        previous=state.head,
    )
    store.append(entry)
    mirror_decided(store, [language])
    return f"{language}: version {number} was deleted; the same files are version {again} now, in Production."


def _no_copy(store: RegistryStore, language: str, number: str) -> str:
    return (
        f"{language}: no copy of version {number} is left in {store.location.root} (.memo, build, .dvc/cache). Run "
        "`dvc pull` or restore a backup, then call again; or `compass rollback`."
    )


@contextmanager
def found_copy(
    root: Path, language: str, *, manifest: str | None = None, adapter: str | None = None
) -> Iterator[Path | None]:
    """Give a verified copy of a version folder, or None.

    Parameters
    ----------
    root : Path
        The project's folder.
    manifest : str, optional
        SHA-256 of the copy's manifest.
    adapter : str, optional
        Digest of the copy's adapter, where the manifest's is not known.
    """
    with ExitStack() as stack:
        aside = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compass.")))
        for folder in (*_kept(root, language), *_cached(root, language, aside)):
            if _is_the_one(folder, manifest, adapter):
                yield folder
                return
        yield None


def _is_the_one(folder: Path, manifest: str | None, adapter: str | None) -> bool:
    if manifest is not None and file_digest(folder / MANIFEST) != manifest:
        return False
    if version_faults(folder, expected=manifest):
        return False
    return adapter is None or (verify_version(folder)["digest"] == adapter and (folder / DECISION).is_file())


def _kept(root: Path, language: str) -> Iterator[Path]:
    """Yield the version folders of a language that lie about in the project."""
    places = (*root.glob(f"build/*/production/{language}"), *root.glob(".memo/versions/*"))
    yield from (folder for folder in places if (folder / MANIFEST).is_file())


def _cached(root: Path, language: str, aside: Path) -> Iterator[Path]:
    """Yield the version folders of a language that DVC's cache holds, each laid out below ``aside``."""
    cache = _cache_folder(root) / "files" / "md5"
    for listing in sorted(cache.glob("??/*.dir")):
        files = {path: cache / digest[:2] / digest[2:] for path, digest in _listed(listing).items()}
        for path in sorted(files):
            where, _, name = path.rpartition("/")
            if name != MANIFEST or language not in where.split("/") or not files[path].is_file():
                continue
            folder = aside / hashlib.sha256(str(files[path]).encode()).hexdigest()
            if not folder.exists() and _lay_out(
                {p: f for p, f in files.items() if p.startswith(f"{where}/")}, where, folder
            ):
                yield folder


def _listed(listing: Path) -> dict[str, str]:
    """Return {path: MD5} of a listing of DVC's cache: nothing of a damaged one, and no path that leads out of it."""
    try:
        items = json.loads(listing.read_bytes())
        found = {str(item["relpath"]): str(item["md5"]) for item in items}
    except (OSError, ValueError, TypeError, KeyError):  # of no use as a copy; another listing may be
        return {}
    return {path: digest for path, digest in found.items() if _stays_below(path) and _MD5.fullmatch(digest)}


def _stays_below(path: str) -> bool:
    return not {"", ".", ".."} & set(path.split("/"))  # an empty part makes the rest of a path absolute


def _lay_out(files: dict[str, Path], where: str, folder: Path) -> bool:
    """Copy cached files to ``folder``; False if one is not in the cache."""
    if not all(content.is_file() for content in files.values()):
        return False
    for path, content in files.items():
        target = folder / path.removeprefix(f"{where}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(content, target)
    return True


def _cache_folder(root: Path) -> Path:
    settings = configparser.ConfigParser()
    settings.read([root / ".dvc" / "config", root / ".dvc" / "config.local"], "utf-8")
    return (root / ".dvc" / settings.get("cache", "dir", fallback="cache")).resolve()
