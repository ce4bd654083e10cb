"""What a person does to a language: go back to a former champion, hold, release."""

import tempfile
from pathlib import Path

from compass_ops.errors import RegistryError
from compass_ops.registry.history import HELD, RELEASED, ROLLED_BACK, Entry, LanguageState
from compass_ops.registry.location import author, now
from compass_ops.registry.mirror import LanguageView
from compass_ops.registry.names import checked_version, known_language
from compass_ops.registry.stages import PRODUCTION, check_move, rollback_target
from compass_ops.registry.store import RegistryStore


def rollback(store: RegistryStore, language: str, why: str, *, to: str | None = None, who: str | None = None) -> str:
    """Bring a former champion back to Production and hold the language; return the version's number.

    Its files are fetched and verified first.

    Parameters
    ----------
    why : str
        For the history and for the receipts of the stages that the hold stops.
    to : str, optional
        A version that was in Production before; the present champion's predecessor if not given.
    who : str, optional
        The person; the operating system's user if not given.

    Raises
    ------
    RegistryError
        If there is no such version, or its files are damaged.
    ConflictError
        If somebody else moved the language at the same moment.
    """
    view = _view(store, language)
    state = view.state
    target = rollback_target(state.line) if to is None else checked_version(to)
    if target is None or target not in state.champions or target == state.production:
        raise RegistryError(_no_way_back(state, target))
    check_move(state.stages[target], PRODUCTION, former_champion=True)
    if target not in view.versions:
        raise RegistryError(f"{language}: version {target} was deleted from the registry. {_others(state, target)}")
    with tempfile.TemporaryDirectory(prefix="compass.") as aside:
        store.fetch(view.versions[target], Path(aside) / "version")
    store.append(
        Entry(
            language=language,
            kind=ROLLED_BACK,
            who=who or author(),
            when=now(),
            why=why,
            version=target,
            digest=state.digests[target],
            source=state.stages[target],
            target=PRODUCTION,
            replaces=state.production,
            previous=state.head,
        )
    )
    store.mirror(language)
    return target


def hold(store: RegistryStore, language: str, why: str, *, who: str | None = None) -> None:
    """Keep the stages from promoting anything for a language until it is released."""
    state = _view(store, language).state
    store.append(Entry(language, HELD, who or author(), now(), why, previous=state.head))


def release(store: RegistryStore, language: str, why: str, *, who: str | None = None) -> None:
    """Let the stages promote again; ``RegistryError`` if nobody holds the language."""
    state = _view(store, language).state
    if state.hold is None:
        raise RegistryError(f"{language}: nobody holds it, so there is nothing to release.")
    store.append(Entry(language, RELEASED, who or author(), now(), why, previous=state.head))


def _view(store: RegistryStore, language: str) -> LanguageView:
    views = store.read()
    return views[known_language(language, views)]


def _no_way_back(state: LanguageState, target: str | None) -> str:
    if target is None:
        return f"{state.language}: no version was in Production before {state.production or 'now'}. Nothing was done."
    if target == state.production:
        return f"{state.language}: version {target} is in Production already. Nothing was done."
    return f"{state.language}: version {target} was never in Production. {_others(state, target)}"


def _others(state: LanguageState, target: str) -> str:
    former = sorted(state.champions - {target, str(state.production)}, key=int)
    return f"Former champions: {', '.join(former)}." if former else "There is no other former champion."
