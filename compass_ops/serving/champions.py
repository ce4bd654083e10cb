"""The champions as a server sees them: which version a language's answers come from, and its files, fetched once."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from compass_ops.errors import CompassError, RegistryError
from compass_ops.registry.names import checked_digest, checked_language, known_language
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.versions import verify_version


@dataclass(frozen=True)
class Champion:
    """The version in Production of a language.

    Attributes
    ----------
    language, version : str
    manifest : str
        SHA-256 of its ``manifest.json``: another champion, another digest.
    """

    language: str
    version: str
    manifest: str


class RegistryChampions:
    """Asks the registry, and keeps the files that it fetched.

    Parameters
    ----------
    store : RegistryStore
    kept : Path
        ``<kept>/<digest of the manifest>/`` are fetched version folders.
    languages : collection of str
        Languages that are served although nothing was registered for them yet.
    """

    def __init__(self, store: RegistryStore, kept: Path, languages: Collection[str]) -> None:
        self._store = store
        self._kept = kept
        self._languages = frozenset(languages)

    def champion(self, language: str) -> Champion | None:
        """Return the language's champion, or None if it has none.

        Raises
        ------
        RegistryError
            If nobody knows the language (the nearest names are offered), if its champion was deleted, or if the
            registry cannot be read.
        """
        view = self._store.read_language(checked_language(language))
        version = view.champion()
        if version is None:
            if language not in self._languages and not view.state.entries and not view.versions:
                known_language(language, self._languages | self._store.read().keys())
            return None
        return Champion(language, version.number, checked_digest(version.tags.get("manifest", "")))

    def folder(self, champion: Champion) -> Path:
        """Return the champion's version folder, verified; fetched if it is not kept or no longer what it was.

        Raises
        ------
        RegistryError
            If files are gone, or naming the file that differs.
        """
        folder = self._kept / champion.manifest
        if not self._is_kept(folder, champion):
            version = self._store.read_language(champion.language).versions.get(champion.version)
            if version is None:
                raise RegistryError(
                    f"{champion.language} version {champion.version}: is gone from the registry, and no copy is kept "
                    "here. Ask again for the language's champion of now."
                )
            self._store.fetch(version, folder)
        return folder

    @staticmethod
    def _is_kept(folder: Path, champion: Champion) -> bool:
        try:
            verify_version(folder, expected=champion.manifest)
        except CompassError:
            return False  # damaged here: fetched again, and verified then
        return True
