"""The door to MLflow's registry: versions, the history model, stages and aliases.

The history is the truth; stages and aliases are its mirror, written after it. An interruption between the two
leaves a mirror that lags, and ``mirror`` brings it up to date at the next opportunity, whoever runs it.
"""

import json
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from compass_ops.errors import ConflictError, RegistryError
from compass_ops.registry import tracking
from compass_ops.registry.history import Entry, entry_from, fold
from compass_ops.registry.location import RegistryLocation
from compass_ops.registry.mirror import (
    Correction,
    LanguageView,
    RegistryRows,
    Version,
    corrections,
    told,
    views_of,
)
from compass_ops.registry.names import HISTORY, PREFIX, checked_language, checked_version, language_of, model_name
from compass_ops.registry.remembered import remembered
from compass_ops.registry.stages import PRODUCTION, STAGING
from compass_ops.registry.versions import verify_version
from compass_ops.storage import file_digest, replace_folder
from compass_ops.training.version import MANIFEST, MLFLOW_TRACE

_PAGE, _MODELS_PAGE = 5000, 1000
_TAG = "compass."
_ENTRY = f"{_TAG}entry"
_LONGEST_DESCRIPTION = 4000


class RegistryStore:
    """A registry. Reading one that does not exist yet finds it empty and does not make it.

    Parameters
    ----------
    location : RegistryLocation
    """

    def __init__(self, location: RegistryLocation) -> None:
        self.location = location

    @cached_property
    def _client(self) -> Any:
        return tracking.open_client(self.location)

    def read(self) -> dict[str, LanguageView]:
        """Return every registered language's view, in a handful of queries.

        An SQLite registry that nobody wrote to since it was last read is not read again.

        Raises
        ------
        RegistryError
            If the registry cannot be read or a history is broken.
        """
        if self._is_missing():
            return {}
        database = self.location.database
        return views_of(self._rows() if database is None else remembered(database, self._rows))

    def _rows(self) -> RegistryRows:
        ours = f"name LIKE '{PREFIX}%'"
        return self._read(ours, ours)

    def read_language(self, language: str) -> LanguageView:
        """Return one language's view as it is at this moment; empty if nothing is registered for it."""
        empty = fold(checked_language(language), [])
        if self._is_missing():
            return LanguageView(empty)
        model = f"name = '{model_name(language)}'"
        history = f"name = '{HISTORY}' and tags.`{_TAG}language` = '{language}'"
        return views_of(self._read(model, model, history)).get(language, LanguageView(empty))

    def _is_missing(self) -> bool:
        return self.location.database is not None and not self.location.database.exists()

    def _read(self, models: str, *versions: str) -> RegistryRows:
        entries: list[tuple[int, Entry]] = []
        shown: dict[str, list[Version]] = defaultdict(list)
        for found in (found for query in versions for found in self._search_versions(query)):
            if found.name == HISTORY:
                entries.append((int(found.version), _entry(found)))
            elif (language := language_of(found.name)) is not None:
                shown[language].append(_version(found))
        return RegistryRows(entries, shown, self._aliases(models))

    def add_version(self, language: str, folder: Path, notes: tracking.RunNotes) -> str:
        """Register a folder made by ``versions.stage_for_registration`` and return the version's number.

        Parameters
        ----------
        notes : RunNotes
            Of the run that holds the files; its tags become the version's. ``LanguageView.version_of`` finds it by
            ``compass.digest`` and ``compass.record``.
        """
        tags = {**notes.tags, f"{_TAG}manifest": file_digest(folder / MANIFEST)}
        label = f"{language} {tags[f'{_TAG}digest'][:8]}"
        model = model_name(language)
        self._ensure_model(model)
        notes = replace(notes, tags=tags)
        run_id, uri = tracking.log_version_run(self._client, self.location, label, notes, folder)
        with tracking.mlflow_errors(self.location, f"registering {label}"):
            return str(self._client.create_model_version(model, source=uri, run_id=run_id, tags=tags).version)

    def append(self, entry: Entry) -> None:
        """Add an entry to the history: the moment at which a decision takes effect.

        Raises
        ------
        ConflictError
            If somebody else's entry came first; this one then stays in the history without effect.
        """
        checked_language(entry.language)
        self._ensure_model(HISTORY)
        text = json.dumps(entry.as_json(), sort_keys=True, ensure_ascii=False)
        tags = {_ENTRY: text, f"{_TAG}language": entry.language, f"{_TAG}kind": entry.kind}
        told = f"{entry.language}: version {entry.version or '-'} {entry.kind} by {entry.who}. {entry.why}"
        with tracking.mlflow_errors(self.location, f"writing the history of {entry.language}"):
            # A scheme of our own: an MLflow server refuses local paths that belong to no run.
            source = f"compass:/history/{entry.language}"
            self._client.create_model_version(
                HISTORY, source=source, tags=tags, description=told[:_LONGEST_DESCRIPTION]
            )
        if entry not in self.read_language(entry.language).state.entries:
            raise ConflictError(
                f"{entry.language}: somebody else changed the registry at the same moment, and "
                "nothing was done. Look "
                "with `compass status`, then rerun."
            )

    def mirror(self, language: str) -> list[str]:
        """Make a language's stages and aliases agree with the history; return what was put right, as sentences.

        Raises
        ------
        ConflictError
            If they still disagree afterwards, because somebody else writes too.
        """
        view = self.read_language(language)
        writes = corrections(view)
        with tracking.mlflow_errors(self.location, f"writing stages and aliases of {language}"):
            for write in writes:
                self._correct(model_name(language), write)
        if writes:
            view_after = self.read_language(language)
            left = [told(view_after, write) for write in corrections(view_after)]
            if left:
                raise ConflictError(f"{'; '.join(left)}. Somebody else writes to the registry at this moment; rerun.")
        return [told(view, write) for write in writes]

    def _correct(self, model: str, write: Correction) -> None:
        if write.alias is not None and write.version is None:
            self._client.delete_registered_model_alias(model, write.alias)
        elif write.alias is not None:
            self._client.set_registered_model_alias(model, write.alias, checked_version(str(write.version)))
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # deprecated upstream; this call alone knows stages
                self._client.transition_model_version_stage(
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
            folder = tracking.fetch_folder(self.location, version.source, Path(aside))
            (folder / MLFLOW_TRACE).unlink(missing_ok=True)  # equal versions are equal folders, loaded or not
            verify_version(folder, expected=version.tags.get("manifest"))
            replace_folder(folder, into)

    def attach_report(self, version: Version, path: Path) -> None:
        """Attach a report file to a version's run."""
        tracking.log_report(self._client, self.location, version.run_id, path)

    def _search_versions(self, query: str) -> Iterator[Any]:
        order, token = ["name ASC", "version_number ASC"], None
        while True:
            with tracking.mlflow_errors(self.location, "reading versions"):
                page = self._client.search_model_versions(query, _PAGE, order, token)
            yield from page
            token = page.token
            if not token:
                return

    def _aliases(self, query: str) -> dict[str, dict[str, str]]:
        # Not from the versions: search_model_versions leaves their aliases empty.
        aliases: dict[str, dict[str, str]] = {}
        token = None
        while True:
            with tracking.mlflow_errors(self.location, "reading aliases"):
                page = self._client.search_registered_models(query, _MODELS_PAGE, page_token=token)
            for model in page:
                if (language := language_of(model.name)) is not None:
                    aliases[language] = {alias: str(number) for alias, number in model.aliases.items()}
            token = page.token
            if not token:
                return aliases

    def _ensure_model(self, name: str) -> None:
        with tracking.mlflow_errors(self.location, f"creating {name}"):
            if not self._client.search_registered_models(f"name = '{name}'", 1):
                with tracking.made_by_another():
                    self._client.create_registered_model(name)


def _version(found: Any) -> Version:
    tags = {key.removeprefix(_TAG): value for key, value in found.tags.items() if key.startswith(_TAG)}
    return Version(str(found.version), found.current_stage, found.source, found.run_id or "", tags)


def _entry(found: Any) -> Entry:
    try:
        return entry_from(json.loads(found.tags[_ENTRY]))
    except (KeyError, AttributeError, json.JSONDecodeError) as error:
        raise RegistryError(
            f"{HISTORY}: version {found.version} holds no readable entry ({error}). Restore the "
            "registry's database from "
            "a backup."
        ) from error
