"""Giving up versions whose retention is over, and archiving languages that the project dropped."""

from collections.abc import Iterable, Mapping

from compass_ops.errors import ConflictError
from compass_ops.registry.location import author, now
from compass_ops.registry.mirror import LanguageView
from compass_ops.registry.retention import Leftover, discarding, leftovers
from compass_ops.registry.stages import RETIRED
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.transact import transact
from compass_ops.registry.transitions import Ask


def found_leftovers(store: RegistryStore, days: int) -> list[Leftover]:
    """Return the versions of all languages whose retention of ``days`` days is over."""
    at = now()
    return [leftover for view in store.read().values() for leftover in leftovers(view, at, days)]


def discard_leftovers(store: RegistryStore, found: Iterable[Leftover], days: int) -> None:
    """Delete versions and their files. The history says so first: what an interruption leaves, the doctor removes.

    Parameters
    ----------
    found : iterable of Leftover
        What ``found_leftovers`` returned for ``days``; each is looked at again before it goes.

    Raises
    ------
    ConflictError
        If somebody moved one of the languages since, or needs a version again; what was deleted before stays so.
    """
    who = author()
    for leftover in found:
        view = store.read_language(leftover.language)
        version = view.versions.get(leftover.version)
        if version is None:
            continue
        when = now()
        if all(one.version != leftover.version for one in leftovers(view, when, days)):
            raise ConflictError(
                f"{leftover.language}: version {leftover.version} is needed again, since somebody changed the registry "
                "meanwhile, and was kept. Look with `compass status`, then rerun."
            )
        store.append(discarding(leftover, view, who, when))
        store.discard(leftover.language, version)


def unlisted(views: Mapping[str, LanguageView], languages: Iterable[str]) -> dict[str, list[str]]:
    """Return {language: versions in Production and Staging} of languages that are not among ``languages``."""
    listed = set(languages)
    found = {
        language: [number for number in (view.state.production, view.state.staging) if number is not None]
        for language, view in views.items()
        if language not in listed
    }
    return {language: numbers for language, numbers in found.items() if numbers}


def archive_unlisted(store: RegistryStore, found: Mapping[str, list[str]], why: str) -> None:
    """Archive the versions that ``unlisted`` found, those in Production of all languages at once."""
    who, when = author(), now()
    for place in (0, 1):  # an entry of the history says one thing about a language
        asks = [
            Ask(language, RETIRED, who, when, why, numbers[place])
            for language, numbers in found.items()
            if len(numbers) > place
        ]
        if asks:
            transact(store, asks)
