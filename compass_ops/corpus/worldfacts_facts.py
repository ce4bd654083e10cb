"""Facts of the embedded data set, read from Unicode CLDR as carried by Babel.

A fact is independent of language: a topic, a subject (territory KE) and an answer (currency KES). The facts are
those of the CLDR release: later changes are not in them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from babel.core import get_global

from compass_ops.corpus.worldfacts_names import (
    CITY_AREAS,
    MONTHS,
    WEEKDAYS,
    city_zones,
    currencies,
    english,
    is_language,
    territories,
)

# Bulgaria changed to the euro after the CLDR release that Babel 2.18 carries.
_OUTDATED_CURRENCY = frozenset({"BG"})
# Official languages whose shares of speakers CLDR gives doubtfully.
_DOUBTFUL_LANGUAGE = frozenset({"GW", "PY", "SN", "UG"})
# Languages written about as often in a script that CLDR does not count as the usual one.
_DOUBTFUL_SCRIPT = frozenset({"ain", "bej", "crh", "gon", "kaa", "ks", "lad", "mde", "pi", "shi", "swb"})
# A city of the first is also, or is claimed to be, in the second, which is therefore not offered as wrong.
_PART_OF = {
    "AX": "FI", "GG": "GB", "GI": "GB", "IM": "GB", "JE": "GB", "HK": "CN", "MO": "CN", "TW": "CN",
    "PR": "US", "VI": "US",
}  # fmt: skip
_COMMON_SCRIPTS = ("Latn", "Cyrl", "Arab", "Deva")
# Within each of these one plural form is right, in Slavic languages too; Arabic changes it between them.
_OFFSETS = (*range(5, 11), *range(15, 20))


@dataclass(frozen=True)
class Fact:
    """A fact of CLDR, in codes.

    Attributes
    ----------
    id : str
        ``<topic>:<subject>``, the parallel id of the question in every language.
    topic, subject, answer : str
        Topic; code of what is asked about; code of the answer.
    offset : int or None
        Days or months later, for the calendar topics.
    group : str
        Wrong answers of this group are the plausible ones.
    excluded : frozenset of str
        Answers that are right too, or arguably so, and are never offered as wrong ones.
    """

    id: str
    topic: str
    subject: str
    answer: str
    offset: int | None = None
    group: str = ""
    excluded: frozenset[str] = frozenset()


# topic -> kind of the subject, kind of the answer, as keys of ``names``
KINDS = {
    "territory_currency": ("territory", "currency"),
    "territory_language": ("territory", "language"),
    "currency_code": ("currency", "currency code"),
    "territory_code": ("territory", "territory code"),
    "language_code": ("language", "language code"),
    "territory_english": ("territory", "english territory"),
    "language_english": ("language", "english language"),
    "city_territory": ("city", "territory"),
    "language_script": ("language", "script"),
    "weekday_shift": ("weekday", "weekday"),
    "month_shift": ("month", "month"),
}


@cache
def areas() -> dict[str, str]:
    """Return {territory: part of the world}, read off its time zones: Australia counts as Asia."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for zone, territory in get_global("zone_territories").items():
        part = zone.split("/")[0]
        seen[territory]["Asia" if part == "Australia" else part if part in CITY_AREAS else "Ocean"] += 1
    return {code: max(sorted(seen[code]), key=lambda part: seen[code][part]) for code in territories() if code in seen}


@cache
def all_facts() -> tuple[Fact, ...]:
    """Return every fact, whether or not a given language has names for it, sorted by topic and subject."""
    made = [
        *_currency_facts(),
        *_language_facts(),
        *(Fact(f"currency_code:{code}", "currency_code", code, code) for code in currencies()),
        *(Fact(f"territory_code:{code}", "territory_code", code, code) for code in territories()),
        *(Fact(f"language_code:{code}", "language_code", code, code) for code in _asked_languages()),
        *_english_facts(),
        *_city_facts(),
        *_script_facts(),
        *_shift_facts("weekday_shift", WEEKDAYS),
        *_shift_facts("month_shift", MONTHS),
    ]
    return tuple(sorted(made, key=lambda fact: (list(KINDS).index(fact.topic), fact.id)))


@cache
def answers(topic: str) -> Mapping[str, frozenset[str]]:
    """Return {answer code: groups it is plausible in} over the facts of a topic."""
    groups: dict[str, set[str]] = defaultdict(set)
    for fact in all_facts():
        if fact.topic == topic:
            groups[fact.answer].add(fact.group)
    if topic == "language_script":
        return {code: frozenset({"common"} if code in _COMMON_SCRIPTS else ()) for code in sorted(groups)}
    return {code: frozenset(groups[code]) for code in sorted(groups)}


def _current(territory: str) -> tuple[list[str], list[str]]:
    """Return the legal tender of today (as of CLDR) and all currencies of today."""
    uses = get_global("territory_currencies").get(territory, ())
    today = [(code, tender) for code, _, end, tender in uses if end is None]
    return [code for code, tender in today if tender], [code for code, _ in today]


def _currency_facts() -> Iterator[Fact]:
    for territory in territories():
        tender, today = _current(territory)
        if len(tender) == 1 and territory not in _OUTDATED_CURRENCY:
            group, excluded = areas().get(territory, ""), frozenset(today)
            fact_id = f"territory_currency:{territory}"
            yield Fact(fact_id, "territory_currency", territory, tender[0], group=group, excluded=excluded)


def _language_facts() -> Iterator[Fact]:
    """Yield main official languages: spoken by half the people, and by twice as many as the next official one."""
    for territory, speakers in get_global("territory_languages").items():
        if territory not in territories() or territory in _DOUBTFUL_LANGUAGE:
            continue
        shares: dict[str, float] = defaultdict(float)
        for tag, use in speakers.items():
            if use["official_status"] in ("official", "de_facto_official"):
                code = tag.split("_")[0]
                shares[code] = max(shares[code], use["population_percent"])
        ranked = sorted(shares, key=lambda code: (-shares[code], code))
        clear = ranked and shares[ranked[0]] >= 50 and all(2 * shares[c] < shares[ranked[0]] for c in ranked[1:])
        if clear:
            group, excluded = areas().get(territory, ""), frozenset(tag.split("_")[0] for tag in speakers)
            fact_id = f"territory_language:{territory}"
            yield Fact(fact_id, "territory_language", territory, ranked[0], group=group, excluded=excluded)


def _english_facts() -> Iterator[Fact]:
    for code in territories():
        yield Fact(f"territory_english:{code}", "territory_english", code, code, group=areas().get(code, ""))
    for code in _asked_languages():
        yield Fact(f"language_english:{code}", "language_english", code, code)


def _asked_languages() -> list[str]:
    return sorted(code for code in english().languages if is_language(code))


def _city_facts() -> Iterator[Fact]:
    in_english = english().territories
    for zone in city_zones():
        territory = get_global("zone_territories")[zone]
        city = zone.split("/")[-1].replace("_", " ").casefold()
        if city not in in_english[territory].replace("St.", "St").casefold():
            excluded = frozenset({_PART_OF[territory]} if territory in _PART_OF else ())
            group = areas().get(territory, "")
            yield Fact(f"city_territory:{zone}", "city_territory", zone, territory, group=group, excluded=excluded)


@cache
def _likely_scripts() -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for tag, likely in sorted(get_global("likely_subtags").items()):
        found[tag.split("_")[0]].append(likely.split("_")[1])
    return found


def _scripts_of(language: str) -> list[str]:
    """Return the scripts a language is written in, the usual one first."""
    return list(dict.fromkeys(_likely_scripts().get(language, ())))


def _script_facts() -> Iterator[Fact]:
    """Yield languages of one script that their name does not give away, at most half of them Latin."""
    languages, scripts = english().languages, english().scripts
    known_well = [code for code in sorted(languages) if is_language(code) and code not in _DOUBTFUL_SCRIPT]
    written = [(code, _scripts_of(code)) for code in known_well]
    single = [(code, known[0]) for code, known in written if len(known) == 1 and known[0] in scripts]
    asked = [(code, one) for code, one in single if scripts[one].casefold() not in languages[code].casefold()]
    others = [pair for pair in asked if pair[1] != "Latn"]
    latin = [pair for pair in asked if pair[1] == "Latn"]
    for code, script in [*others, *_spread(latin, len(others))]:
        yield Fact(f"language_script:{code}", "language_script", code, script, group="common")


def _spread(pairs: list[tuple[str, str]], count: int) -> Iterable[tuple[str, str]]:
    """Take ``count`` of the pairs at even steps."""
    return pairs if count >= len(pairs) else [pairs[index * len(pairs) // count] for index in range(count)]


def _shift_facts(topic: str, cycle: tuple[str, ...]) -> Iterator[Fact]:
    for index, subject in enumerate(cycle):
        for offset in _OFFSETS:
            answer = cycle[(index + offset) % len(cycle)]
            if answer != subject:
                yield Fact(f"{topic}:{subject}+{offset}", topic, subject, answer, offset)
