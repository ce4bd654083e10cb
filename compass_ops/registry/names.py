"""Names in the registry: checked before they touch a path or a query. Pure."""

import difflib
import re
from collections.abc import Iterable

from compass_ops.errors import RegistryError

PREFIX = "compass-"
# Too long for a primary language subtag, so no language can take these names.
HISTORY, CLAIMS = f"{PREFIX}history", f"{PREFIX}claims"

# A canonical BCP-47 tag: language[-Script][-REGION][-variant...], ASCII.
_TAG = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*")
_LONGEST = 64
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def model_name(language: str) -> str:
    """Return the registered model of a language; ``RegistryError`` if the tag is not a canonical BCP-47 tag."""
    return f"{PREFIX}{checked_language(language)}"


def language_of(name: str) -> str | None:
    """Return the language of a registered model, or None if the model is not one of ours."""
    tag = name.removeprefix(PREFIX)
    return tag if name.startswith(PREFIX) and _is_tag(tag) else None


def checked_language(language: str) -> str:
    """Return ``language`` if it is a canonical BCP-47 tag."""
    if not _is_tag(language):
        raise RegistryError(
            f"{language[:80]!r} is not a language tag. Give a canonical BCP-47 tag such as sw, zh-Hant or pt-BR."
        )
    return language


def checked_version(version: str) -> str:
    """Return ``version`` if it is a version number."""
    if not _VERSION.fullmatch(version):
        raise RegistryError(f"{version[:80]!r} is not a version number. Give a whole number such as 3.")
    return version


def checked_digest(digest: str) -> str:
    """Return ``digest`` if it is a SHA-256 in hex."""
    if not _DIGEST.fullmatch(digest):
        raise RegistryError(f"{digest[:80]!r} is not a SHA-256 digest of 64 hex digits.")
    return digest


def known_language(language: str, known: Iterable[str]) -> str:
    """Return ``language`` if it is among ``known``; the error names close matches."""
    names = sorted(known)
    if checked_language(language) not in names:
        close = difflib.get_close_matches(language, names, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(close)}?" if close else f"Registered: {', '.join(names) or 'none yet'}."
        raise RegistryError(f"{language}: has no registered adapter. {hint}")
    return language


def _is_tag(text: str) -> bool:
    return len(text) <= _LONGEST and _TAG.fullmatch(text) is not None
