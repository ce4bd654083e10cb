"""BCP-47 language tags: one canonical, path-safe spelling per language, or an error with close matches.

The lists of languages, scripts, regions and variants, and the aliases (``swh`` is ``sw``, ``cmn`` is ``zh``),
are Unicode CLDR's, as carried by Babel.
"""

import difflib
import re
from functools import cache, lru_cache

from babel import Locale
from babel.core import get_global

from compass_ops.errors import SourceError

_SHAPE = re.compile(
    r"(?P<language>[a-z]{2,3})(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|[0-9]{3}))?"
    r"(?P<variants>(?:-(?:[a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*)",
    re.ASCII,
)
_NO_LANGUAGE = {"und", "mul", "zxx", "root"}


def language_tag(text: str) -> str:
    """Return the canonical BCP-47 tag of a language.

    Parameters
    ----------
    text : str
        ``sw``, ``sw-Latn``, ``swh_Latn``, ``ZH-hant-tw``, ...: case and ``_`` do not matter, aliases are resolved.
        A script that is given is kept, so ``sw`` and ``sw-Latn`` stay two tags.

    Returns
    -------
    str
        ``language[-Script][-REGION][-variant...]``: ASCII letters, digits and ``-`` only, safe in a path.

    Raises
    ------
    SourceError
        If it is no tag of a known language; close matches are named.
    """
    tag, fault = _resolved(text)
    if fault:
        raise SourceError(fault)
    return tag


@lru_cache(maxsize=4096)
def _resolved(text: str) -> tuple[str, str]:
    """(tag, '') or ('', fault). Faults are cached too: one misspelt tag may stand in a million rows."""
    parts = _SHAPE.fullmatch(text.strip().replace("_", "-").lower())
    if parts is None or parts["language"] not in _languages():
        return "", _not_a_tag(text)
    aliased = get_global("language_aliases").get(parts["language"], parts["language"])
    language, *implied = aliased.split("_")
    script = (parts["script"] or "").title() or next((part for part in implied if len(part) == 4), "")
    region = (parts["region"] or "").upper() or next((part for part in implied if len(part) < 4), "")
    variants = parts["variants"].strip("-")
    known = Locale("en")
    for kind, value, names in (
        ("script", script, known.scripts),
        ("region", region, known.territories),
        *(("variant", variant.upper(), known.variants) for variant in variants.split("-")),
    ):
        if value and value not in names:
            return "", _unknown_part(text, kind, value, list(names))
    return "-".join(part for part in (language, script, region, variants) if part), ""


@cache
def _languages() -> frozenset[str]:
    """Every ISO 639 code that CLDR names, aliases or knows a likely script for (some 7,500)."""
    likely = {name.split("_")[0] for name in get_global("likely_subtags")}
    return frozenset({*likely, *Locale("en").languages, *get_global("language_aliases")} - _NO_LANGUAGE)


@cache
def _names() -> dict[str, str]:
    """Lower-case English name or code -> plain code, of the languages that CLDR names."""
    known = _languages()
    codes = {code: name for code, name in Locale("en").languages.items() if code in known}
    return {name.lower(): code for code, name in codes.items()} | {code: code for code in codes}


def _not_a_tag(text: str) -> str:
    names = _names()
    wanted = text.strip().lower()[:40]
    found = [wanted] if wanted in names else difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    close = [names[name] for name in found]
    hint = f" Did you mean {' or '.join(dict.fromkeys(close))}?" if close else ""
    return f"{text[:40]!r} is not the tag of a known language (BCP-47, such as sw, sw-Latn or zh-Hant).{hint}"


def _unknown_part(text: str, kind: str, value: str, names: list[str]) -> str:
    close = difflib.get_close_matches(value, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    return f"language tag {text[:40]!r}: {value!r} is not a known {kind}.{hint}"


def codes_of(tag: str) -> list[str]:
    """Return the ISO 639 codes that stand for a tag's language, its own first, then CLDR's aliases for it, sorted."""
    language = tag.split("-")[0]
    aliases = get_global("language_aliases")
    return [language, *sorted(alias for alias, meant in aliases.items() if meant == language and len(alias) == 3)]
