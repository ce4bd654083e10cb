"""Which versions may be given up: a question of times that are given, not of the clock."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from compass_ops.registry.history import Entry, LanguageState
from compass_ops.registry.mirror import LanguageView, Version
from compass_ops.registry.stages import ARCHIVED, DISCARDED, NONE, PRODUCTION, STAGING, check_move, rollback_target


@dataclass(frozen=True)
class Leftover:
    """A version that nobody needs any more, and why."""

    language: str
    version: str
    reason: str


def leftovers(view: LanguageView, now: str, days: int) -> list[Leftover]:
    """Return the versions whose retention is over, oldest first.

    Never among them: what is in Production or Staging, what a rollback would bring back, and what was in Production
    at any time within the last ``days`` days. Every other version goes ``days`` days after it was last decided on, or
    after it was registered if it never was.
    """
    state, before = view.state, datetime.fromisoformat(now) - timedelta(days=days)
    kept = {state.production, state.staging, rollback_target(state.line)}
    if state.production is None:
        kept.add(next(reversed(state.line), None))
    found = []
    for version in sorted(view.versions.values(), key=lambda version: int(version.number)):
        if version.number in kept or version.stage in (PRODUCTION, STAGING):
            continue
        last = _last_needed(state, version)
        if last < before:
            was = (
                "champion"
                if version.number in state.champions
                else state.stages.get(version.number, "never decided on")
            )
            found.append(Leftover(state.language, version.number, f"{was}, last needed {last.date().isoformat()}"))
    return found


def _last_needed(state: LanguageState, version: Version) -> datetime:
    """Return when a version was last decided on, left Production, or was registered."""
    times = [entry.when for entry in state.entries if version.number in (entry.version, entry.replaces)]
    registered = datetime.fromtimestamp(version.created / 1000, UTC)
    return max([registered, *map(datetime.fromisoformat, times)])


def discarding(leftover: Leftover, view: LanguageView, who: str, when: str) -> Entry:
    """Return the entry that gives a version up."""
    state = view.state
    source = state.stages.get(leftover.version, NONE)
    check_move(DISCARDED, source, ARCHIVED)
    return Entry(
        language=state.language,
        kind=DISCARDED,
        who=who,
        when=when,
        why=f"retention: {leftover.reason}",
        version=leftover.version,
        digest=state.digests.get(leftover.version),
        source=source,
        target=ARCHIVED,
        previous=state.head,
    )
