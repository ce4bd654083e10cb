"""Stages and aliases brought up to date with the history."""

from collections.abc import Iterable

from compass_ops.errors import ConflictError, RegistryError
from compass_ops.registry.mirror import Correction, LanguageView, corrections, outside, told
from compass_ops.registry.store import RegistryStore

# The history may move on while its mirror is written; who moves it then waits for the claim.
_ROUNDS = 10


def mirror(store: RegistryStore, languages: Iterable[str], *, strict: bool = False) -> list[str]:
    """Make the languages' stages and aliases agree with the history; return what was put right, as sentences.

    Parameters
    ----------
    strict : bool
        Whether to archive too what somebody put into Production or Staging past the history.

    Raises
    ------
    ConflictError
        If they still disagree afterwards, because somebody writes to them without asking for the claim.
    """
    wanted = sorted(set(languages))
    if not any(_writes(view, strict) for view in store.read_languages(wanted).values()):
        return []
    done: list[str] = []
    with store.claimed():
        for _ in range(_ROUNDS):
            views = store.read_languages(wanted)
            writes = [(view, write) for view in views.values() for write in _writes(view, strict)]
            if not writes:
                return done
            for view, write in writes:
                store.correct(view.state.language, write)
            done += [told(view, write) for view, write in writes]
    raise ConflictError(
        f"{', '.join(wanted)}: somebody else writes stages or aliases at this moment, past compass. Rerun later."
    )


def mirror_decided(store: RegistryStore, languages: Iterable[str]) -> None:
    """Call ``mirror`` for decisions that were just written; what it raises says that they took effect all the same."""
    try:
        mirror(store, languages)
    except RegistryError as error:
        raise RegistryError(
            f"It is done, and the history says so, but stages and aliases lag behind: {error} "
            "`compass doctor --repair` brings them up to date."
        ) from error


def _writes(view: LanguageView, strict: bool) -> list[Correction]:
    return [*corrections(view), *(outside(view) if strict else ())]
