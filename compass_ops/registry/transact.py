"""What persons ask for one or more languages: all of it is done, or nothing."""

from collections.abc import Sequence
from pathlib import Path

from compass_ops.errors import CompassError, ConflictError, RegistryError
from compass_ops.registry.history import Entry
from compass_ops.registry.mirror import LanguageView
from compass_ops.registry.mirroring import mirror_decided
from compass_ops.registry.names import known_language
from compass_ops.registry.stages import PRODUCTION, PROMOTED
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.transitions import Ask, answer
from compass_ops.registry.versions import DECISION, DRIFT
from compass_ops.storage import file_digest, read_json
from compass_ops.training.version import MANIFEST


def transact(store: RegistryStore, asks: Sequence[Ask], required: Sequence[str] = ()) -> list[Entry]:
    """Do what is asked, or raise and do nothing; return the entries that were written.

    The files of a version that goes to Production are verified first.

    Parameters
    ----------
    asks : sequence of Ask
        At most one per language.
    required : sequence of str
        Evidence that a promoted version must hold: ``decision``, ``drift``.

    Raises
    ------
    RegistryError
        With every refusal, one line each.
    ConflictError
        If somebody else moved one of the languages at the same moment, or the expected champion is not there.
    """
    views = store.read_languages(ask.language for ask in asks)
    if any(_is_unknown(view) for view in views.values()):
        known = store.read()
        for ask in asks:
            known_language(ask.language, known)
    entries: list[Entry] = []
    refusals: list[CompassError] = []
    for ask in asks:
        try:
            entries.append(_checked(store, ask, views[ask.language], required))
        except CompassError as error:
            refusals.append(error)
    if refusals:
        kind = ConflictError if any(isinstance(error, ConflictError) for error in refusals) else RegistryError
        raise kind("\n".join([*map(str, refusals), "Nothing was done."])) from refusals[0]
    store.append(*entries)
    mirror_decided(store, (entry.language for entry in entries if entry.target is not None))
    return entries


def _is_unknown(view: LanguageView) -> bool:
    return not view.versions and not view.state.entries


def _checked(store: RegistryStore, ask: Ask, view: LanguageView, required: Sequence[str]) -> Entry:
    entry = answer(ask, view)
    if entry.target == PRODUCTION:
        with store.opened(view.versions[str(entry.version)]) as folder:
            _check_language(folder, entry)
            if entry.kind == PROMOTED:
                _check_evidence(folder, entry, required)
    return entry


def _check_language(folder: Path, entry: Entry) -> None:
    manifest = read_json(folder / MANIFEST)
    if (manifest["language"], manifest["digest"]) != (entry.language, entry.digest):
        raise RegistryError(
            f"{entry.language}: version {entry.version} holds adapter {manifest['digest'][:12]} of "
            f"{manifest['language']}, not {str(entry.digest)[:12]} of {entry.language}. Register it anew."
        )


def _check_evidence(folder: Path, entry: Entry, required: Sequence[str]) -> None:
    """Refuse a version that lacks what `registry.required_evidence` asks for."""
    where = f"{entry.language}: version {entry.version}"
    change = "Let it pass the gate, or change registry.required_evidence."
    decision = read_json(folder / DECISION) if (folder / DECISION).is_file() else None
    if "decision" in required:
        if decision is None:
            raise RegistryError(f"{where} holds no decision record. {change}")
        if (decision["verdict"], decision["candidate"]) != ("promote", entry.digest):
            raise RegistryError(f"{where}: its decision record says {decision['verdict']!r}. {change}")
    window, verdict = (decision["window"], decision["drift_digest"]) if decision is not None else (None, None)
    if "drift" in required and window is not None and (verdict is None or _drift_digest(folder) != verdict):
        raise RegistryError(
            f"{where} was made for window {window} but lacks the drift verdict that led to it. {change}"
        )


def _drift_digest(folder: Path) -> str | None:
    return file_digest(folder / DRIFT) if (folder / DRIFT).is_file() else None
