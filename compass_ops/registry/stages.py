"""Stage names, the legal moves between them, and the aliases that stand beside them. Pure."""

from types import MappingProxyType

from compass_ops.errors import RegistryError

NONE, STAGING, PRODUCTION, ARCHIVED = "None", "Staging", "Production", "Archived"
STAGES = (NONE, STAGING, PRODUCTION, ARCHIVED)

# An alias and the stage that it mirrors; one version of a language has each.
ALIASES = MappingProxyType({"champion": PRODUCTION, "candidate": STAGING})

# Archived -> Production is a return: `check_move` allows it to former champions alone.
_MOVES = MappingProxyType(
    {
        NONE: frozenset({STAGING, PRODUCTION, ARCHIVED}),
        STAGING: frozenset({PRODUCTION, ARCHIVED}),
        PRODUCTION: frozenset({ARCHIVED}),
        ARCHIVED: frozenset({STAGING, PRODUCTION}),
    }
)


def check_move(source: str, target: str, *, former_champion: bool = False) -> None:
    """Raise ``RegistryError`` unless a version may go from stage ``source`` to stage ``target``.

    Parameters
    ----------
    source, target : str
        Names out of ``STAGES``.
    former_champion : bool
        Whether the version was in Production before: only such a version returns there from Archived.
    """
    for stage in (source, target):
        if stage not in _MOVES:
            raise RegistryError(f"{stage!r} is not a stage. Stages are {', '.join(STAGES)}.")
    if target not in _MOVES[source]:
        legal = ", ".join(sorted(_MOVES[source]))
        raise RegistryError(f"A version cannot go from {source} to {target}. From {source} it may go to: {legal}.")
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
