"""What MLflow returns, as the registry's own types; and the tags that carry them. Pure."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from compass_ops.errors import RegistryError
from compass_ops.registry.history import Entry, entry_from
from compass_ops.registry.mirror import RegistryRows, Version
from compass_ops.registry.names import HISTORY, language_of
from compass_ops.registry.stages import PRODUCTION, STAGING
from compass_ops.storage import value_digest

TAG = "compass."
ENTRY = f"{TAG}entry."  # then the language
REPORT, REPORTS = "report.", "reports"  # a tag without our prefix, then the window; the run's folder with its files
SEAL = f"{TAG}seal"  # of a decision: shows that an entry was altered before another one names its hash
EFFECT = f"{TAG}effect"  # of a decision on several languages, once its writer knows: valid or void


def rows_from(
    found: Iterable[Any], aliases: Mapping[str, Mapping[str, str]], *, only: str | None = None
) -> RegistryRows:
    """Sort what was found; with ``only``, entries of that language whose decisions are known not to be void.

    Raises
    ------
    RegistryError
        If a decision was altered or, where all of them are given, one is not there.
    """
    found = list(found)
    if only is None:
        _check_unbroken(int(one.version) for one in found if one.name == HISTORY)
    entries: list[tuple[int, Entry]] = []
    shown: dict[str, list[Version]] = defaultdict(list)
    for one in found:
        if one.name == HISTORY:
            of_one = [(int(one.version), entry) for entry in entries_of(one) if only in (None, entry.language)]
            entries.extend(of_one if only is None or not _is_void(one) else ())
        elif (language := language_of(one.name)) is not None:
            shown[language].append(_version(one))
    if only is None and not entries:
        _check_undecided(shown)
    return RegistryRows(entries, shown, aliases)


def _check_unbroken(numbers: Iterable[int]) -> None:
    """Raise unless a decision stands under every number: MLflow leaves none out and gives none out twice."""
    for expected, number in enumerate(sorted(numbers), 1):
        if number != expected:
            raise broken_history(f"before entry {number} one was deleted")


def _check_undecided(shown: Mapping[str, Sequence[Version]]) -> None:
    """Raise if versions stand where only decisions bring them, though there is no decision at all."""
    for language, versions in shown.items():
        for version in versions:
            if version.stage in (PRODUCTION, STAGING):
                raise RegistryError(
                    f"{HISTORY}: the history is gone, but {language}/{version.number} is in {version.stage}. Restore "
                    "the registry's database from a backup. If nothing was ever decided with compass, bring such "
                    "versions back to stage None in MLflow, then promote them with `compass promote`."
                )


def broken_history(how: str) -> RegistryError:
    """Return the error of a history that lacks something."""
    return RegistryError(f"{HISTORY}: the history is broken: {how}. Restore the registry's database from a backup.")


def _version(found: Any) -> Version:
    tags = {key.removeprefix(TAG): value for key, value in found.tags.items() if key.startswith(TAG)}
    number, created = str(found.version), int(found.creation_timestamp or 0)
    return Version(number, found.current_stage, found.source, found.run_id or "", tags, created)


def decision_tags(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the tags that carry one decision: its entries, at most one per language, and their seal."""
    texts = {
        f"{ENTRY}{entry.language}": json.dumps(entry.as_json(), sort_keys=True, ensure_ascii=False) for entry in entries
    }
    return {**texts, SEAL: _seal(entries)}


def _seal(entries: Sequence[Entry]) -> str:
    return value_digest(sorted(entry.hash for entry in entries))


def is_decision_on_several(found: Any) -> bool:
    """Whether a model version is a decision on several languages."""
    return found.name == HISTORY and sum(key.startswith(ENTRY) for key in found.tags) > 1


def _is_void(found: Any) -> bool:
    """Whether a decision's writer noted that it is void, which only depends on others where there are several."""
    return found.tags.get(EFFECT) == "void" and is_decision_on_several(found)


def entries_of(found: Any) -> list[Entry]:
    """Return the entries of one decision, a version of the history model; ``RegistryError`` if it is unreadable."""
    texts = {key.removeprefix(ENTRY): text for key, text in found.tags.items() if key.startswith(ENTRY)}
    try:
        entries = [entry_from(json.loads(text)) for text in texts.values()]
    except (AttributeError, json.JSONDecodeError) as error:
        raise _unreadable(found, str(error)) from error
    if not entries or [entry.language for entry in entries] != list(texts):
        raise _unreadable(found, "no entry, or one under another language's name")
    if (seal := found.tags.get(SEAL)) is not None and seal != _seal(entries):
        raise RegistryError(
            f"{HISTORY}: entry {found.version} was altered since it was written. Restore the registry's database from "
            "a backup."
        )
    return entries


def _unreadable(found: Any, why: str) -> RegistryError:
    return RegistryError(
        f"{HISTORY}: version {found.version} holds no readable entry ({why}). Restore the registry's database from a "
        "backup."
    )
