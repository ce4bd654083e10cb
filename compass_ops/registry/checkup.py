"""What is wrong with a registry, found without changing anything, and mended on demand."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from compass_ops.errors import CompassError, GoneError, RegistryError
from compass_ops.registry.mirror import LanguageView, corrections, outside, told
from compass_ops.registry.mirroring import mirror
from compass_ops.registry.names import known_language
from compass_ops.registry.restore import restore
from compass_ops.registry.stages import NONE, rollback_target
from compass_ops.registry.store import RegistryStore
from compass_ops.registry.transitions import existing_version
from compass_ops.registry.versions import version_faults

DISAGREES, DELETED, FILES, LEFT_BEHIND, CLAIM, ORPHAN, UNLISTED = (
    "disagreement",
    "deleted",
    "files",
    "left behind",
    "claim",
    "orphan",
    "unlisted",
)
_NOTES = (ORPHAN, UNLISTED)  # nothing is wrong; somebody may want to know


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Attributes
    ----------
    kind : str
        ``disagreement`` (of stage or alias with the history: an interrupted write, or a promotion made past
        compass), ``deleted`` (a version that the history needs), ``files`` (of such a version are missing),
        ``left behind`` (of a discarded version), ``claim`` (of a process that died); as notes: ``orphan`` (a version
        that was never decided on), ``unlisted`` (a language that params.yaml does not name).
    version : str or None
    text : str
        One sentence.
    mended : str or None
        What was done about it.
    """

    language: str | None
    kind: str
    version: str | None
    text: str
    mended: str | None = None

    @property
    def is_fault(self) -> bool:
        """Whether something is wrong, and is still so."""
        return self.kind not in _NOTES and self.mended is None


def examine(store: RegistryStore, languages: Iterable[str]) -> list[Finding]:
    """Return what is wrong, language by language.

    Parameters
    ----------
    languages : iterable of str
        Those of params.yaml.

    Raises
    ------
    RegistryError
        If the registry cannot be read, or its history was altered: nothing can be said then.
    """
    findings: list[Finding] = []
    listed = set(languages)
    for language, view in store.read().items():
        findings.extend(_of_language(store, view))
        if language not in listed and (view.state.production or view.state.staging):
            text = f"{language}: is not in project.languages. `compass prune` archives what it has."
            findings.append(Finding(language, UNLISTED, None, text))
    dead = [f"A process that died left claim {number} on writing stages." for number in store.dead_claims()]
    return [*findings, *(Finding(None, CLAIM, None, text) for text in dead)]


def _of_language(store: RegistryStore, view: LanguageView) -> Iterator[Finding]:
    state = view.state
    for write in (*corrections(view), *outside(view)):
        yield Finding(state.language, DISAGREES, write.version, f"{told(view, write)}.")
    needed: dict[str, str | None] = {"in Production": state.production, "in Staging": state.staging}
    needed["next to roll back to"] = rollback_target(state.line)
    for role, number in needed.items():
        if number is None:
            continue
        if number not in view.versions:
            text = f"{state.language}: version {number}, {role}, was deleted from the registry."
            yield Finding(state.language, DELETED, number, text)
        elif not store.has_files(view.versions[number]):
            text = f"{state.language}: files of version {number}, {role}, are missing."
            yield Finding(state.language, FILES, number, text)
    for number, version in view.versions.items():
        if number in state.discarded:
            text = f"{state.language}: version {number} was discarded, but is still there."
            yield Finding(state.language, LEFT_BEHIND, number, text)
        elif number not in state.stages and version.stage == NONE:
            text = (
                f"{state.language}: version {number} was never decided on: a registration was interrupted or is under "
                "way. The next run takes it up, or `compass gc` removes it after the retention."
            )
            yield Finding(state.language, ORPHAN, number, text)


def repair(store: RegistryStore, findings: Iterable[Finding], why: str) -> list[Finding]:
    """Mend what can be mended, and return the findings with what was done; one that cannot be says why."""
    found = list(findings)
    store.dead_claims(drop=True)
    store.settle_left()
    disagreeing = {str(finding.language) for finding in found if finding.kind == DISAGREES}
    mirror(store, disagreeing, strict=True)
    return [_mended(store, finding, why) for finding in found]


def _mended(store: RegistryStore, finding: Finding, why: str) -> Finding:
    if finding.kind == DISAGREES:
        return replace(finding, mended="The history was written over it.")
    if finding.kind == CLAIM:
        return replace(finding, mended="The claim was given back.")
    try:
        view = store.read_language(str(finding.language))
        if finding.kind == LEFT_BEHIND:
            store.discard(str(finding.language), view.versions[str(finding.version)])
            return replace(finding, mended="It was deleted.")
        if finding.kind in (DELETED, FILES):
            return replace(finding, mended=restore(store, view, str(finding.version), why))
    except CompassError as error:
        return replace(finding, text=f"{finding.text} {error}")
    return finding


def verify_versions(store: RegistryStore, names: Iterable[str], *, every_version: bool) -> dict[str, list[str]]:
    """Read every file of versions and return what is wrong with each: {``sw/3``: sentences}.

    Parameters
    ----------
    names : iterable of str
        ``sw`` stands for its champion, or for all its versions; ``sw/3`` for one.

    Raises
    ------
    RegistryError
        If a name is unknown, a history was altered, or files cannot be read for another reason than that they are gone.
    """
    views = store.read()
    checked: dict[str, list[str]] = {}
    for name in names:
        language, _, version = name.partition("/")
        view = views[known_language(language, views)]
        champion = [view.state.production] if view.state.production else []
        numbers = [version] if version else sorted(view.versions, key=int) if every_version else champion
        for number in numbers:
            checked[f"{language}/{number}"] = _faults(store, view, number)
    return checked


def _faults(store: RegistryStore, view: LanguageView, number: str) -> list[str]:
    name = f"{view.state.language}/{number}"
    try:
        version = view.versions[existing_version(number, view)]
    except RegistryError as error:
        return [f"{name}: {error}"]
    try:
        with store.opened(version, checked=False) as folder:
            faults = version_faults(folder, expected=version.tags.get("manifest"))
    except GoneError as error:
        faults = [str(error)]
    return [f"{name}: {fault}" for fault in faults]
