"""Stage names, the table of legal moves, and the aliases that stand beside them. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from compass_ops.errors import RegistryError

NONE, STAGING, PRODUCTION, ARCHIVED = "None", "Staging", "Production", "Archived"
STAGES = (NONE, STAGING, PRODUCTION, ARCHIVED)

# An alias and the stage that it mirrors; one version of a language has each.
ALIASES = MappingProxyType({"champion": PRODUCTION, "candidate": STAGING})

# What may happen to a version: the kind of entry in the history, and the stages that it leads from and to.
PROMOTED, REFUSED, STAGED, REJECTED = "promoted", "refused", "staged", "rejected"
ROLLED_BACK, RETIRED, RESTORED, DISCARDED = "rolled back", "retired", "restored", "discarded"
MOVES: Mapping[str, frozenset[tuple[str, str]]] = MappingProxyType(
    {
        # A candidate that passed the gate, one that a person approved, a former champion that a person promotes.
        PROMOTED: frozenset({(NONE, PRODUCTION), (STAGING, PRODUCTION), (ARCHIVED, PRODUCTION)}),
        REFUSED: frozenset({(NONE, ARCHIVED)}),  # by the gate
        STAGED: frozenset({(NONE, STAGING), (ARCHIVED, STAGING)}),
        REJECTED: frozenset({(STAGING, ARCHIVED)}),  # by a person
        ROLLED_BACK: frozenset({(ARCHIVED, PRODUCTION), (STAGING, PRODUCTION)}),  # former champions alone
        RETIRED: frozenset({(NONE, ARCHIVED), (STAGING, ARCHIVED), (PRODUCTION, ARCHIVED)}),
        RESTORED: frozenset({(NONE, PRODUCTION)}),  # a new version with the files of a champion that was deleted
        DISCARDED: frozenset({(NONE, ARCHIVED), (ARCHIVED, ARCHIVED)}),  # its files are gone for good
    }
)


def check_move(kind: str, source: str, target: str, *, former_champion: bool = False) -> None:
    """Raise ``RegistryError`` unless a version may go from stage ``source`` to stage ``target``.

    Parameters
    ----------
    kind : str
        What happens, a key of ``MOVES``.
    source, target : str
        Names out of ``STAGES``.
    former_champion : bool
        Whether the version was in Production before: only such a version returns there from Archived.
    """
    for stage in (source, target):
        if stage not in STAGES:
            raise RegistryError(f"{stage!r} is not a stage. Stages are {', '.join(STAGES)}.")
    if (source, target) not in MOVES[kind]:
        sources = sorted({start for start, end in MOVES[kind] if end == target})
        legal = f"It must be in {' or '.join(sources)} for that." if sources else "No version may."
        raise RegistryError(f"A version in {source} cannot be {kind} to {target}. {legal}")
    if (source, target) == (ARCHIVED, PRODUCTION) and not former_champion:
        raise RegistryError(
            "An archived version that never was in Production cannot go there. Let it pass the gate, or choose a "
            "former Production version."
        )


def rollback_target(line: tuple[str, ...]) -> str | None:
    """Return the version that held Production before the present one, or None.

    Parameters
    ----------
    line : tuple of str
        Champions in order; a rollback takes the versions above its target off the line, so rolling back twice goes
        two champions back and never forward again.
    """
    return line[-2] if len(line) > 1 else None


def line_after(line: tuple[str, ...], version: str) -> tuple[str, ...]:
    """Return the line of champions after ``version`` came to Production, again or for the first time."""
    return line[: line.index(version) + 1] if version in line else (*line, version)
