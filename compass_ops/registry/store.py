"""The door to MLflow's registry: versions, the history model, stages and aliases.

The history is the truth; stages and aliases are its mirror, written after it. An interruption between the two
leaves a mirror that lags, and ``mirror`` brings it up to date at the next opportunity, whoever runs it.
"""

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from compass_ops.errors import ConflictError, GoneError, RegistryError
from compass_ops.registry import artifacts, claims, faults, tracking
from compass_ops.registry.database import is_known, read_database
from compass_ops.registry.database_client import DatabaseClient
from compass_ops.registry.history import Entry, LanguageState
from compass_ops.registry.listing import list_models, list_versions
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.mirror import Correction, LanguageView, Version, views_of
from compass_ops.registry.names import (
    CLAIMS,
    HISTORY,
    checked_language,
    checked_version,
    model_name,
)
from compass_ops.registry.rows import (
    EFFECT,
    REPORT,
    REPORTS,
    TAG,
    decision_tags,
    entries_of,
    is_decision_on_several,
    rows_from,
)
from compass_ops.registry.stages import PRODUCTION, STAGING
from compass_ops.registry.versions import verify_version
from compass_ops.storage import file_digest, replace_folder
from compass_ops.training.version import CONFIG, MANIFEST, MLFLOW_TRACE, WEIGHTS

_FEW = 12  # languages that are read faster one by one than all at once
_LONGEST_DESCRIPTION = 4000


class RegistryStore:
    """A registry at a location. Reading one that does not exist yet finds it empty and does not make it."""

    def __init__(self, location: RegistryLocation) -> None:
        self.location = location
        self._made: set[str] = set()  # models that exist; nobody takes one away

    @cached_property
    def _client(self) -> Any:
        return tracking.open_client(self.location)

    @cached_property
    def _deciding(self) -> Any:
        """The client that writes decisions and their mirror: MLflow's, or one of the same effect that starts faster."""
        database = self.location.database
        return DatabaseClient(database) if database is not None and is_known(database) else self._client

    def read(self) -> dict[str, LanguageView]:
        """Return every registered language's view, in a handful of queries.

        Raises
        ------
        RegistryError
            If the registry cannot be read or a history is broken.
        """
        if self._is_missing():
            return {}
        return views_of(rows_from(*self._found()))

    def read_language(self, language: str) -> LanguageView:
        """Return one language's view as it is at this moment; empty if nothing is registered for it."""
        empty = LanguageView(LanguageState(checked_language(language)))
        if self._is_missing():
            return empty
        found, aliases = self._found(language)
        if any(is_decision_on_several(one) and EFFECT not in one.tags for one in found):
            return self.read().get(language, empty)  # whether it took effect depends on other languages
        return views_of(rows_from(found, aliases, only=language)).get(language, empty)

    def _found(self, language: str | None = None) -> tuple[Sequence[Any], dict[str, dict[str, str]]]:
        """Return the versions and aliases of all languages, or of one, each with the history."""
        database = self.location.database
        if database is not None and (read := read_database(database, language)) is not None:
            return read
        return list_models(self._client, self.location, language)

    def read_languages(self, languages: Iterable[str]) -> dict[str, LanguageView]:
        """Return the views of some languages as they are at this moment; empty ones for those not registered."""
        wanted = sorted({checked_language(language) for language in languages})
        if len(wanted) <= _FEW:
            return {language: self.read_language(language) for language in wanted}
        views = self.read()
        return {language: views.get(language, LanguageView(LanguageState(language))) for language in wanted}

    def _is_missing(self) -> bool:
        """Whether there is no registry yet; a file that is empty is none."""
        database = self.location.database
        return database is not None and (not database.exists() or not database.stat().st_size)

    def add_version(self, language: str, folder: Path, notes: tracking.RunNotes) -> str:
        """Register a folder made by ``versions.stage_for_registration`` and return the version's number.

        Parameters
        ----------
        notes : RunNotes
            Of the run that holds the files; its tags become the version's. ``LanguageView.version_of`` finds it by
            ``compass.digest`` and ``compass.record``.
        """
        tags = {**notes.tags, f"{TAG}manifest": file_digest(folder / MANIFEST)}
        label = f"{language} {tags[f'{TAG}digest'][:8]}"
        model = model_name(language)
        self._ensure_model(model)
        notes = replace(notes, tags=tags)
        run_id, uri = tracking.log_version_run(self._client, self.location, label, notes, folder)
        with faults.mlflow_errors(self.location, f"registering {label}"):
            return str(self._client.create_model_version(model, source=uri, run_id=run_id, tags=tags).version)

    def append(self, *entries: Entry) -> None:
        """Add entries to the history, at most one per language: the moment at which a decision takes effect.

        All of them take effect, or none.

        Raises
        ------
        ConflictError
            If somebody else's entry came first; these then stay in the history without effect.
        BusyError
            If others write so much that the registry takes no entry; nothing was done.
        RegistryError
            If the history was lost; nothing was done. If it cannot be read back what was written; it says so.
        """
        languages = [checked_language(entry.language) for entry in entries]
        self._ensure_model(HISTORY)
        tags = decision_tags(entries)
        what = f"version {entries[0].version or '-'}" if len(entries) == 1 else f"{len(entries)} languages"
        told = f"{', '.join(languages)}: {what} {entries[0].kind} by {entries[0].who}. {entries[0].why}"
        number = faults.persist(lambda: self._write_entry(tags, told[:_LONGEST_DESCRIPTION]))
        try:
            valid = self._has(*entries)
            if len(entries) > 1:
                self._settle(number, valid)
        except RegistryError as error:
            raise RegistryError(
                f"{', '.join(languages)}: entry {number} of the history was written, but not what followed ({error}). "
                "Look with `compass history`; `compass doctor --repair` brings stages and aliases up to date."
            ) from error
        if not valid:
            raise ConflictError(
                f"{', '.join(languages)}: somebody else changed the registry at the same moment, and nothing was done. "
                "Look with `compass status`, then rerun."
            )

    def _write_entry(self, tags: dict[str, str], told: str) -> str:
        with faults.mlflow_errors(self.location, "writing the history"):
            # A scheme of our own: an MLflow server refuses local paths that belong to no run. Written twice, because
            # the answer to the first request was lost, the second is void.
            found = self._deciding.create_model_version(HISTORY, "compass:/history", tags=tags, description=told)
            return str(found.version)

    def _has(self, *entries: Entry) -> bool:
        if len(entries) == 1:
            return entries[0] in self.read_language(entries[0].language).state.entries
        views = self.read()
        return all(entry in views[entry.language].state.entries for entry in entries)

    def _settle(self, number: str, valid: bool) -> None:
        """Note beside a decision on several languages what follows from the history, to spare others reading it."""
        self._tag(HISTORY, number, EFFECT, "valid" if valid else "void")

    def _tag(self, model: str, number: str, key: str, value: str) -> None:
        with faults.mlflow_errors(self.location, f"tagging version {number} of {model}"):
            faults.persist(lambda: self._deciding.set_model_version_tag(model, number, key, value))

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the right to write stages and aliases while the body runs, alone among all processes."""
        self._ensure_model(CLAIMS)
        with claims.claimed(self._deciding, self.location):
            yield

    def dead_claims(self, *, drop: bool = False) -> list[int]:
        """Return the numbers of claims that this machine's processes left when they died; ``drop`` gives them back."""
        dead = [] if self._is_missing() else claims.dead_tickets(self._deciding, self.location)
        for ticket in dead if drop else ():
            claims.give_back(self._deciding, self.location, ticket)
        return [ticket.number for ticket in dead]

    def settle_left(self) -> None:
        """Note the effect of decisions on several languages whose writer died before it could."""
        history = f"name = '{HISTORY}'"
        for found in [] if self._is_missing() else list_versions(self._client, self.location, history):
            if is_decision_on_several(found) and EFFECT not in found.tags:
                self._settle(str(found.version), self._has(*entries_of(found)))

    def correct(self, language: str, write: Correction) -> None:
        """Write one stage or alias; the caller holds the claim."""
        with faults.mlflow_errors(self.location, f"writing stages and aliases of {language}"):
            faults.persist(lambda: self._correct(model_name(language), write))

    def _correct(self, model: str, write: Correction) -> None:
        if write.alias is not None and write.version is None:
            self._deciding.delete_registered_model_alias(model, write.alias)
        elif write.alias is not None:
            self._deciding.set_registered_model_alias(model, write.alias, checked_version(str(write.version)))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # deprecated upstream; this call alone knows stages
                self._deciding.transition_model_version_stage(
                    model,
                    checked_version(str(write.version)),
                    write.stage,
                    archive_existing_versions=write.stage in (PRODUCTION, STAGING),
                )

    def fetch(self, version: Version, into: Path) -> None:
        """Download a version's files to ``into`` (replaced) and verify every digest.

        Raises
        ------
        RegistryError
            If files are gone, or naming the file that differs.
        """
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=".fetch.") as aside:
            folder = artifacts.fetch_folder(self.location, version.source, Path(aside))
            (folder / MLFLOW_TRACE).unlink(missing_ok=True)  # equal versions are equal folders, loaded or not
            verify_version(folder, expected=version.tags.get("manifest"))
            replace_folder(folder, into)

    @contextmanager
    def opened(self, version: Version, *, checked: bool = True) -> Iterator[Path]:
        """Give a version's files to read while the body runs, every digest verified unless not ``checked``.

        Raises
        ------
        RegistryError
            Naming the file that differs; ``GoneError`` if all are gone.
        """
        with ExitStack() as stack:
            if version.source.startswith("file:"):
                folder = Path(url2pathname(urlsplit(version.source).path))
                if not folder.is_dir():
                    raise GoneError(f"{folder}: {artifacts.GONE}")
            else:
                aside = stack.enter_context(tempfile.TemporaryDirectory(prefix="compass."))
                folder = artifacts.fetch_folder(self.location, version.source, Path(aside))
            if checked:
                verify_version(folder, expected=version.tags.get("manifest"))
            yield folder

    def has_files(self, version: Version) -> bool:
        """Return whether a version's manifest and adapter are where they should be; their digests are not looked at."""
        return {MANIFEST, CONFIG, WEIGHTS} <= artifacts.files_at(self.location, version.source).keys()

    def put_files(self, version: Version, folder: Path) -> None:
        """Put a version's files back where they were: those of ``folder`` and no others."""
        artifacts.delete_folder(self.location, version.source)
        artifacts.put_folder(self.location, folder, version.source)

    def attach_report(self, language: str, version: Version, files: Iterable[Path], note: tuple[str, str]) -> None:
        """Attach a window's report files to a version's run, then a tag to the version: (window, text)."""
        for file in files:
            tracking.log_report(self._client, self.location, version.run_id, file, f"{REPORTS}/{note[0]}")
        self._tag(model_name(language), checked_version(version.number), f"{TAG}{REPORT}{note[0]}", note[1])

    def discard(self, language: str, version: Version) -> None:
        """Delete a version, with its own files and run unless another has them too; nothing happens if it is gone."""
        others = self.read_language(language).versions.values()
        # A registration takes those of an earlier one again if the answer to that one was lost.
        if all(one.source != version.source for one in others if one.number != version.number):
            tracking.delete_version_run(self._client, self.location, version.run_id, version.source)
        doing = f"deleting version {version.number} of {language}"
        with faults.mlflow_errors(self.location, doing), faults.gone_already():
            self._client.delete_model_version(model_name(language), checked_version(version.number))

    def _ensure_model(self, name: str) -> None:
        if name not in self._made:
            faults.persist(lambda: self._make_model(name))
            self._made.add(name)

    def _make_model(self, name: str) -> None:
        with faults.mlflow_errors(self.location, f"creating {name}"):
            if self._deciding.search_registered_models(f"name = '{name}'", 1):
                return
        if name == HISTORY:
            self.read()  # raises where a history was lost: a new one would hide that
        with faults.mlflow_errors(self.location, f"creating {name}"), faults.made_by_another():
            self._deciding.create_registered_model(name)
