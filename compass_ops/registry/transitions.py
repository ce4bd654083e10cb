"""What a person asks of a language, and the history entry that answers it. Pure."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from compass_ops.errors import ConflictError, RegistryError
from compass_ops.registry.history import HELD, HOLDING, RELEASED, Entry, LanguageState
from compass_ops.registry.mirror import LanguageView
from compass_ops.registry.names import checked_version
from compass_ops.registry.stages import (
    ARCHIVED,
    NONE,
    PRODUCTION,
    PROMOTED,
    REJECTED,
    RETIRED,
    ROLLED_BACK,
    STAGED,
    STAGING,
    check_move,
    rollback_target,
)

NOBODY = "none"  # what `--expect` calls a language without a champion


@dataclass(frozen=True)
class Ask:
    """What a person asks for one language.

    Attributes
    ----------
    kind : str
        What the history will say: ``promoted``, ``staged``, ``rolled back``, ``retired``, ``rejected``, ``held``,
        ``released``.
    who, when, why : str
        For the history; ``when`` is UTC, ISO 8601.
    version : str or None
        None means the version in Staging (promoted, rejected) or the former champion (rolled back).
    expect : str or None
        The champion that the person has seen; ``none`` for a language without one.
    """

    language: str
    kind: str
    who: str
    when: str
    why: str
    version: str | None = None
    expect: str | None = None


def answer(ask: Ask, view: LanguageView) -> Entry:
    """Return the entry that does what is asked.

    Raises
    ------
    RegistryError
        If the version does not exist, or may not go there.
    ConflictError
        If another champion is in Production than the one that was expected or judged against.
    """
    state = view.state
    present = state.production or NOBODY
    if ask.expect is not None and ask.expect != present:
        raise ConflictError(
            f"{ask.language}: version {ask.expect} was expected in Production, but {_called(state)} is there now. Look "
            f"with `compass status`, then decide again."
        )
    return _ANSWERS[ask.kind](ask, view)


def _promotion(ask: Ask, view: LanguageView) -> Entry:
    state = view.state
    version = existing_version(ask.version, view) if ask.version is not None else _candidate(ask, state)
    if state.hold is not None:
        raise RegistryError(
            f"{ask.language}: {state.hold.who} holds it ({state.hold.why}). `compass release {ask.language}` first."
        )
    if version == state.production:
        raise RegistryError(f"{ask.language}: version {version} is in Production already.")
    entry = _move(ask, view, version, PRODUCTION)
    if version != state.staging:
        return entry
    staged = _staged(state, version)
    return replace(entry, window=staged.window, evidence=staged.evidence)


def _candidate(ask: Ask, state: LanguageState) -> str:
    """Return the version in Staging, if nothing has changed since it was put there."""
    if state.staging is None:
        raise RegistryError(f"{ask.language}: no version is in Staging. Name one, such as {ask.language}/3.")
    judged_against = _staged(state, state.staging).replaces
    if judged_against != state.production:
        raise ConflictError(
            f"{ask.language}: version {state.staging} was put into Staging against "
            f"{f'version {judged_against}' if judged_against else 'the bare base'}, but {_called(state)} is in "
            f"Production now. `compass promote {ask.language}/{state.staging}` promotes it all the same."
        )
    return state.staging


def _staged(state: LanguageState, version: str) -> Entry:
    return next(entry for entry in reversed(state.entries) if (entry.kind, entry.version) == (STAGED, version))


def _staging(ask: Ask, view: LanguageView) -> Entry:
    entry = _move(ask, view, existing_version(ask.version, view), STAGING)
    return replace(entry, replaces=view.state.production)


def _rejection(ask: Ask, view: LanguageView) -> Entry:
    if view.state.staging is None:
        raise RegistryError(f"{ask.language}: no version is in Staging, so there is nothing to reject.")
    return _move(ask, view, existing_version(ask.version or view.state.staging, view), ARCHIVED)


def _retirement(ask: Ask, view: LanguageView) -> Entry:
    state, version = view.state, ask.version
    if version is None or version in view.versions or version not in (state.production, state.staging):
        version = existing_version(version, view)
    return _move(ask, view, version, ARCHIVED)  # also of a champion that was deleted, which stops what reads the fleet


def _return(ask: Ask, view: LanguageView) -> Entry:
    state = view.state
    before = rollback_target(state.line) if state.production is not None else next(reversed(state.line), None)
    target = before if ask.version is None else checked_version(ask.version)
    if target is None:
        raise RegistryError(f"{ask.language}: no version was in Production before {_called(state)}.")
    if target == state.production:
        raise RegistryError(f"{ask.language}: version {target} is in Production already.")
    if target not in state.champions:
        raise RegistryError(f"{ask.language}: version {target} was never in Production. {_others(state, target)}")
    if target not in view.versions:
        raise RegistryError(f"{ask.language}: version {target} was deleted from the registry. {_others(state, target)}")
    return _move(ask, view, target, PRODUCTION)


def _holding(ask: Ask, view: LanguageView) -> Entry:
    state = view.state
    if (hold := state.hold) is not None:
        said = (hold.who, hold.why)
        began = next(one for one in reversed(state.entries) if one.kind in HOLDING and (one.who, one.why) == said)
        raise RegistryError(
            f"{ask.language}: {hold.who} holds it already, since {began.when[:16]} ({hold.why}). Talk to "
            f"{hold.who}, or `compass release {ask.language}` first."
        )
    return Entry(ask.language, HELD, ask.who, ask.when, ask.why, previous=view.state.head)


def _release(ask: Ask, view: LanguageView) -> Entry:
    if view.state.hold is None:
        raise RegistryError(f"{ask.language}: nobody holds it, so there is nothing to release.")
    return Entry(ask.language, RELEASED, ask.who, ask.when, ask.why, previous=view.state.head)


_ANSWERS: Mapping[str, Callable[[Ask, LanguageView], Entry]] = MappingProxyType(
    {
        PROMOTED: _promotion,
        STAGED: _staging,
        REJECTED: _rejection,
        RETIRED: _retirement,
        ROLLED_BACK: _return,
        HELD: _holding,
        RELEASED: _release,
    }
)


def _move(ask: Ask, view: LanguageView, version: str, target: str) -> Entry:
    state, found = view.state, view.versions.get(version)
    tags = found.tags if found is not None else {}
    source = state.stages.get(version, NONE)
    try:
        check_move(ask.kind, source, target, former_champion=version in state.champions)
    except RegistryError as error:
        raise RegistryError(f"{ask.language}, version {version}: {error}") from error
    return Entry(
        language=ask.language,
        kind=ask.kind,
        who=ask.who,
        when=ask.when,
        why=ask.why,
        version=version,
        digest=state.digests.get(version) or tags.get("digest"),
        source=source,
        target=target,
        replaces=state.production if target == PRODUCTION else None,
        record=tags.get("record"),
        previous=state.head,
    )


def existing_version(version: str | None, view: LanguageView) -> str:
    """Return a version that can be named; the error offers near ones."""
    language = view.state.language
    if version is None:
        raise RegistryError(f"{language}: name the version, such as {language}/3. {_all_versions(view)}")
    if checked_version(version) in view.state.discarded:
        raise RegistryError(f"{language}: version {version} was discarded by `compass gc`. {_all_versions(view)}")
    if version not in view.versions:
        near = difflib.get_close_matches(version, view.versions, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else _all_versions(view)
        raise RegistryError(f"{language}: has no version {version}. {hint}")
    return version


def _all_versions(view: LanguageView) -> str:
    numbers = sorted(view.versions, key=int)
    shown = numbers if len(numbers) <= 8 else [*numbers[:3], "...", *numbers[-3:]]
    return f"There are: {', '.join(shown)}." if shown else "There is none."


def _called(state: LanguageState) -> str:
    return f"version {state.production}" if state.production else "no version"


def _others(state: LanguageState, target: str) -> str:
    former = sorted(state.champions - {target, str(state.production)}, key=int)
    return f"Former champions: {', '.join(former)}." if former else "There is no other former champion."
