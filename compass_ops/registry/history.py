"""The history of decisions: a chain of entries per language, and the state that follows from it. Pure.

An entry names the hash of the entry before it. Entries are ordered by a number that the registry hands out
uniquely, so of two writers who saw the same last entry the lower number is valid and the other is void: the chain
is the compare-and-swap. Entries of several languages under one number are one decision: if the link of one is
stale, all are void. Stages and aliases are mirrors of the state that is folded here.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from compass_ops.errors import RegistryError
from compass_ops.registry.stages import (
    ARCHIVED,
    DISCARDED,
    MOVES,
    PRODUCTION,
    PROMOTED,
    REFUSED,
    REJECTED,
    RESTORED,
    ROLLED_BACK,
    STAGED,
    STAGES,
    STAGING,
    line_after,
)
from compass_ops.storage import value_digest

SCHEMA = 1
HELD, RELEASED = "held", "released"
TESTED = "tested"  # on the gate half, though what was decided could not take effect; it moves nothing
KINDS = (*MOVES, HELD, RELEASED, TESTED)
_JUDGEMENTS = (PROMOTED, REFUSED, STAGED, REJECTED)
HOLDING = (ROLLED_BACK, HELD)


@dataclass(frozen=True)
class Entry:
    """One decision about one language.

    Attributes
    ----------
    language, kind, who, when, why : str
        ``kind`` out of ``KINDS``; ``when`` is UTC, ISO 8601.
    version, digest : str or None
        The version that was decided on, and its adapter digest.
    source, target : str or None
        Stages that the version goes from and to.
    replaces : str or None
        The Production version that it replaces.
    record, evidence : str or None
        SHA-256 of the decision record, and of the drift verdict that led to it.
    window : str or None
        The traffic window that the version was updated for.
    used_gate : bool
        Whether the language's gate items were looked at for the decision.
    previous : str or None
        Hash of the language's entry before this one.
    """

    language: str
    kind: str
    who: str
    when: str
    why: str
    version: str | None = None
    digest: str | None = None
    source: str | None = None
    target: str | None = None
    replaces: str | None = None
    record: str | None = None
    evidence: str | None = None
    window: str | None = None
    used_gate: bool = False
    previous: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the entry as a JSON object."""
        return {"schema": SCHEMA, **{name: getattr(self, name) for name in _FIELDS}}

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the entry, the link that the next one names."""
        return value_digest(self.as_json())


_FIELDS = tuple(one.name for one in fields(Entry))  # asdict copies deeply, which takes seconds for a fleet's history


@dataclass(frozen=True)
class Judgement:
    """What was decided on a digest, and the SHA-256 of the record of it."""

    verdict: str
    record: str | None


@dataclass(frozen=True)
class Hold:
    """Who holds a language, and why."""

    who: str
    why: str


@dataclass(frozen=True)
class LanguageState:
    """What the history says of one language.

    Attributes
    ----------
    head : str or None
        Hash of the last valid entry.
    stages, digests : mapping of version to stage, and to adapter digest
        Of every version that the history mentions.
    line : tuple of str
        Champions that a rollback walks back along, the present one last.
    champions : frozenset of str
        Every version that ever was in Production.
    discarded : frozenset of str
        Versions whose files were given up.
    judged : mapping of digest to Judgement
    hold : Hold or None
    adopted : tuple of str
        Windows that promoted versions were updated for, in order.
    entries : tuple of Entry
        Valid ones, oldest first.
    """

    language: str
    head: str | None = None
    stages: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    line: tuple[str, ...] = ()
    champions: frozenset[str] = frozenset()
    discarded: frozenset[str] = frozenset()
    judged: Mapping[str, Judgement] = field(default_factory=dict)
    hold: Hold | None = None
    adopted: tuple[str, ...] = ()
    entries: tuple[Entry, ...] = ()

    @property
    def production(self) -> str | None:
        """The version in Production."""
        return self._at(PRODUCTION)

    @property
    def staging(self) -> str | None:
        """The version in Staging."""
        return self._at(STAGING)

    @property
    def gate_uses(self) -> int:
        """How often the language's gate items were looked at; once for a test that took effect only later."""
        earlier = {entry.record for entry in self.entries if entry.kind == TESTED}
        return sum(entry.used_gate and (entry.kind == TESTED or entry.record not in earlier) for entry in self.entries)

    def has_tested(self, digest: str, window: str | None) -> bool:
        """Whether a test of a candidate for a window is counted that could not take effect."""
        return any((entry.kind, entry.digest, entry.window) == (TESTED, digest, window) for entry in self.entries)

    def _at(self, stage: str) -> str | None:
        return next((version for version, at in self.stages.items() if at == stage), None)


def entry_from(value: Mapping[str, Any]) -> Entry:
    """Read an entry back; ``RegistryError`` if it is damaged or written by a newer compass_ops."""
    if value.get("schema") != SCHEMA or value.get("kind") not in KINDS:
        raise RegistryError(
            f"The registry's history holds an entry of schema {value.get('schema')!r}, kind "
            f"{value.get('kind')!r}, which "
            f"this compass_ops (schema {SCHEMA}) does not know. Upgrade compass_ops."
        )
    try:
        return Entry(**{name: item for name, item in value.items() if name != "schema"})
    except TypeError as error:
        raise RegistryError(f"The registry's history holds a damaged entry ({error}).") from error


def fold(numbered: Iterable[tuple[int, Entry]]) -> dict[str, LanguageState]:
    """Follow the chains of all languages that entries are given of.

    Parameters
    ----------
    numbered : iterable of (number, Entry)
        In any order; the numbers decide. Entries whose link is stale are void: their writer came second.

    Raises
    ------
    RegistryError
        If a link leads to an entry that is not there: one was altered or deleted.
    """
    decisions: dict[int, list[Entry]] = defaultdict(list)
    for number, entry in numbered:
        decisions[number].append(entry)
    states: dict[str, LanguageState] = {}
    links: set[tuple[str, str | None]] = set()
    for number, entries in sorted(decisions.items()):
        for entry in entries:
            state = states.setdefault(entry.language, LanguageState(entry.language))
            if entry.previous not in (None, state.head) and (entry.language, entry.previous) not in links:
                raise RegistryError(
                    f"{entry.language}: the history is broken before entry {number}: an entry was altered or deleted. "
                    "Restore the registry's database from a backup."
                )
        if all(entry.previous == states[entry.language].head for entry in entries):
            states |= {entry.language: after(states[entry.language], entry) for entry in entries}
            links |= {(entry.language, states[entry.language].head) for entry in entries}
    return states


def after(state: LanguageState, entry: Entry) -> LanguageState:
    """Return the state after one more valid entry."""
    changes: dict[str, Any] = {"head": entry.hash, "entries": (*state.entries, entry)}
    if entry.version is not None and entry.target in STAGES:
        changes |= _moved(state, entry)
    if entry.kind in _JUDGEMENTS and entry.digest is not None:
        changes["judged"] = {**state.judged, entry.digest: Judgement(entry.kind, entry.record)}
    if entry.kind == PROMOTED and entry.window is not None and entry.window not in state.adopted:
        changes["adopted"] = (*state.adopted, entry.window)
    if entry.kind in HOLDING and state.hold is None:  # a rollback leaves the hold of another person
        changes["hold"] = Hold(entry.who, entry.why)
    if entry.kind == RELEASED:
        changes["hold"] = None
    return replace(state, **changes)


def _moved(state: LanguageState, entry: Entry) -> dict[str, Any]:
    version, target = str(entry.version), str(entry.target)
    exclusive = target in (PRODUCTION, STAGING)
    stages = {known: ARCHIVED if exclusive and at == target else at for known, at in state.stages.items()}
    changes: dict[str, Any] = {"stages": {**stages, version: target}}
    if entry.digest is not None:
        changes["digests"] = {**state.digests, version: entry.digest}
    line = state.line
    if entry.kind == RESTORED:  # the same files under another number
        line = tuple(version if known == entry.replaces else known for known in line)
    if target == PRODUCTION:
        changes |= {"line": line_after(line, version), "champions": state.champions | {version}}
    discarded = state.discarded - {version}  # what came back under the number is not what was given up
    changes["discarded"] = discarded | {version} if entry.kind == DISCARDED else discarded
    return changes


def check_number(state: LanguageState, version: str, digest: str) -> None:
    """Raise ``RegistryError`` if the history knows another adapter under a new version's number, or discarded it.

    MLflow gives every number out again once a whole registered model was deleted.
    """
    if version in state.stages and (version in state.discarded or state.digests.get(version) != digest):
        raise RegistryError(
            f"{state.language}: adapter {digest[:12]} is registered as version {version}, which the history knows as "
            "another adapter or as discarded: somebody deleted the registered model, and MLflow counts from 1 again. "
            f"Restore the registry's database from a backup; or delete version {version} in MLflow and rerun, until "
            "the number is a new one."
        )


def registry_json(states: Mapping[str, LanguageState]) -> dict[str, Any]:
    """Return the states as the contents of ``registry.json``: canonical, without timestamps."""
    return {"schema": SCHEMA, "languages": {name: _language_json(state) for name, state in sorted(states.items())}}


def _language_json(state: LanguageState) -> dict[str, Any]:
    def named(version: str | None) -> dict[str, Any] | None:
        return None if version is None else {"version": version, "digest": state.digests.get(version)}

    return {
        "production": named(state.production),
        "staging": named(state.staging),
        "judged": {digest: asdict(judgement) for digest, judgement in sorted(state.judged.items())},
        "hold": None if state.hold is None else asdict(state.hold),
        "gate_uses": state.gate_uses,
        "adopted": list(state.adopted),
    }
