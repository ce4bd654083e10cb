"""What a language calls territories, languages, currencies, cities, scripts, days and months, by CLDR."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any
from unicodedata import normalize

from babel import Locale
from babel.core import get_global

# Groupings, unknown regions, pseudo-locales; then reserved codes for parts of other territories.
_NOT_TERRITORIES = frozenset(["ZZ", "EU", "UN", "EZ", "QO", "XA", "XB", "AC", "CP", "CQ", "DG", "EA", "IC", "TA"])
_NOT_LANGUAGES = frozenset(["mul", "und", "zxx", "zbl", "root"])
CITY_AREAS = frozenset({"Africa", "America", "Asia", "Australia", "Europe"})
# Zones named after an island, a state or a peninsula; then names that a city of another American country also
# has; then cities claimed by more than one state.
_NOT_CITIES = frozenset({
    "America/Bahia", "America/Bahia_Banderas", "America/Cayman", "America/Grand_Turk", "America/Lower_Princes",
    "America/Miquelon", "America/Noronha", "America/St_Thomas", "America/Thule", "America/Tortola",
    "Asia/Kamchatka", "Asia/Sakhalin", "Australia/Lindeman", "Australia/Lord_Howe",
    "America/Argentina/Cordoba", "America/Argentina/La_Rioja", "America/Argentina/San_Juan",
    "America/Argentina/San_Luis", "America/Merida", "America/Santiago", "America/St_Johns",
    "Africa/El_Aaiun", "Asia/Famagusta", "Asia/Gaza", "Asia/Hebron", "Asia/Jerusalem", "Europe/Simferopol",
})  # fmt: skip
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


@cache
def names(tag: str, script: str, calendar: str) -> Mapping[str, Mapping[str, str]]:
    """Return {kind: {code: name}} of one language; names that two codes share are left out as ambiguous.

    Parameters
    ----------
    tag, script : str
        BCP-47 tag and script of the language.
    calendar : {"format", "stand-alone"}
        CLDR's form of month and weekday names that is the nominative. It is stated rather than looked up,
        because Babel resolves a missing stand-alone form to that of whichever locale was asked before.
    """
    locale = Locale.parse(tag)
    days, months = locale.days[calendar]["wide"], locale.months[calendar]["wide"]
    kinds: dict[str, dict[str, str]] = {
        "territory": _selected(locale.territories, territories()),
        "language": _selected(locale.languages, filter(is_language, locale.languages)),
        "currency": _selected(locale.currencies, currencies()),
        "currency code": {code: code for code in currencies()},
        "territory code": {code: code for code in territories()},
        "language code": {code: code for code in filter(is_language, english().languages)},
        "english territory": _selected(english().territories, territories()),
        "english language": _selected(english().languages, filter(is_language, english().languages)),
        "city": _cities(locale, script),
        "script": _selected(locale.scripts, locale.scripts),
        "weekday": {code: days[index] for index, code in enumerate(WEEKDAYS)},
        "month": {code: months[index + 1] for index, code in enumerate(MONTHS)},
    }
    return {kind: _unambiguous(kind_names) for kind, kind_names in kinds.items()}


def territories() -> list[str]:
    """Return the two-letter codes of real territories, sorted."""
    return sorted(code for code in english().territories if len(code) == 2 and code not in _NOT_TERRITORIES)


@cache
def currencies() -> tuple[str, ...]:
    """Return codes that are or were legal tender: no funds, metals or test codes."""
    uses = get_global("territory_currencies")
    return tuple(sorted({code for here in territories() for code, _, _, tender in uses.get(here, ()) if tender}))


def is_language(code: str) -> bool:
    """Tell a language from a regional or scriptural form of one, and from codes like "no linguistic content"."""
    return "_" not in code and code not in _NOT_LANGUAGES


def city_zones() -> list[str]:
    """Return the ids of the time zones named after a city of one undisputed country, sorted."""
    parts = get_global("zone_territories")
    return sorted(
        zone
        for zone, territory in parts.items()
        if zone.split("/")[0] in CITY_AREAS and zone not in _NOT_CITIES and territory in territories()
    )


def english() -> Any:
    """Return Babel's English locale."""
    return Locale.parse("en")


def _selected(known: Mapping[str, str], codes: Iterable[str]) -> dict[str, str]:
    return {code: known[code] for code in codes if code in known}


def _cities(locale: Any, script: str) -> dict[str, str]:
    """Name the cities of the zones; a Latin-script name that CLDR omits is the one in the zone's id."""
    found = {}
    for zone in city_zones():
        name = locale.time_zones.get(zone, {}).get("city")
        if name is None and script == "Latn":
            name = zone.split("/")[-1].replace("_", " ")
        if name is not None:
            found[zone] = name
    return found


def _unambiguous(kind_names: Mapping[str, str]) -> dict[str, str]:
    composed = {code: normalize("NFC", name.strip()) for code, name in kind_names.items()}
    shared = Counter(name.casefold() for name in composed.values())
    return {code: name for code, name in composed.items() if name and shared[name.casefold()] == 1}
