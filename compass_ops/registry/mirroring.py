"""Stages and aliases brought up to date with the history."""

from collections.abc import Iterable

from compass_ops.errors import ConflictError
from compass_ops.registry.mirror import Correction, LanguageView, corrections, outside, told
from compass_ops.registry.store import RegistryStore


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
    with store.claimed():
        views = store.read_languages(wanted)
        writes = [(view, write) for view in views.values() for write in _writes(view, strict)]
        for view, write in writes:
            store.correct(view.state.language, write)
        after = store.read_languages(view.state.language for view, _ in writes)
    left = [told(view, write) for view in after.values() for write in _writes(view, strict)]
    if left:
        raise ConflictError(f"{'; '.join(left)}. Somebody else writes to the registry at this moment; rerun.")
    return [told(view, write) for view, write in writes]


def _writes(view: LanguageView, strict: bool) -> list[Correction]:
    return [*corrections(view), *(outside(view) if strict else ())]
