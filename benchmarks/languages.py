"""Languages for projects of many: those that Unicode CLDR has a name for."""

from babel import Locale

from compass_ops.corpus.languages import language_tag
from compass_ops.errors import CompassError


def known_languages() -> list[str]:
    """Return them as canonical tags of two or three letters, sorted."""
    return [name for name in sorted(Locale("en").languages) if len(name) in (2, 3) and _is_canonical(name)]


def _is_canonical(name: str) -> bool:
    try:
        return language_tag(name) == name
    except CompassError:
        return False
