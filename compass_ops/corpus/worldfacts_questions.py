"""Questions of the embedded data set: a fact, asked in one language's own sentence with four choices."""

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import islice

from compass_ops.corpus.worldfacts_facts import KINDS, Fact, all_facts, answers
from compass_ops.corpus.worldfacts_names import names
from compass_ops.seeding import derived_seed, generator

TOPICS = tuple(KINDS)
SOURCE = "worldfacts"
_CHOICES = 4
_MINIMUM_LANGUAGES = 20


@dataclass(frozen=True)
class Tongue:
    """A row of the table of strings.

    Attributes
    ----------
    tag, name, script : str
        BCP-47 tag, English name, ISO 15924 script.
    tier : {"high", "low"}
        High: the embedded base is pretrained on every topic in this language. Low: on some.
    calendar : {"format", "stand-alone"}
        Which of CLDR's forms of month and weekday names is the nominative.
    largest_offset : int
        Largest number of days or months for which the sentence's plural is right.
    sentences : mapping of topic to str
        The question, with the slot ``{x}`` and, for the calendar topics, ``{n}``.
    source : str
        Who wrote the sentences.
    """

    tag: str
    name: str
    script: str
    tier: str
    calendar: str
    largest_offset: int
    sentences: Mapping[str, str]
    source: str


@dataclass(frozen=True)
class Question:
    """A fact asked in one language: ``choices[answer]`` is right, ``parallel_id`` is the fact's everywhere."""

    language: str
    topic: str
    parallel_id: str
    prompt: str
    choices: tuple[str, ...]
    answer: int


def _table() -> dict[str, Tongue]:
    text = files("compass_ops.corpus").joinpath("worldfacts_strings.tsv").read_text("utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    return {
        row["tag"]: Tongue(
            tag=row["tag"],
            name=row["name"],
            script=row["script"],
            tier=row["tier"],
            calendar=row["calendar"],
            largest_offset=int(row["largest_offset"]),
            sentences={topic: row[topic] for topic in TOPICS},
            source=row["source"],
        )
        for row in rows
    }


TABLE: Mapping[str, Tongue] = _table()
LANGUAGES = tuple(TABLE)


def facts() -> dict[str, list[str]]:
    """Return {topic: fact ids} of the facts that at least twenty of the languages can ask, sorted."""
    found: dict[str, list[str]] = {topic: [] for topic in TOPICS}
    for fact in _usable_facts():
        found[fact.topic].append(fact.id)
    return found


@cache
def questions(language: str, seed: int) -> tuple[Question, ...]:
    """Ask every fact that a language has names for.

    The wrong choices of a fact are the same in every language that has names for them, and the right one stands
    equally often in each of the four places, topic by topic.

    Parameters
    ----------
    language : str
        One of ``LANGUAGES``.
    seed : int
        Decides the wrong choices and the order of choices.

    Returns
    -------
    tuple of Question
        Sorted by topic and fact.
    """
    asked: dict[str, list[tuple[Fact, list[str]]]] = defaultdict(list)
    for fact in _usable_facts():
        if _askable(fact, language):
            wrong = _wrong_choices(fact, language, seed)
            if len(wrong) == _CHOICES - 1:
                asked[fact.topic].append((fact, wrong))
    made = {}
    for topic, items in asked.items():
        order = generator(seed, "worldfacts", "places", topic, language).permutation(len(items))
        for place, index in enumerate(order):
            fact, wrong = items[index]
            made[fact.id] = _question(fact, language, wrong, place % _CHOICES)
    return tuple(made[fact.id] for fact in _usable_facts() if fact.id in made)


def _names(language: str) -> Mapping[str, Mapping[str, str]]:
    tongue = TABLE[language]
    return names(tongue.tag, tongue.script, tongue.calendar)


@cache
def _usable_facts() -> tuple[Fact, ...]:
    """Facts whose subject and answer are named in enough languages to be parallel; English needs no telling."""
    return tuple(
        fact for fact in all_facts() if sum(_named(fact, language) for language in LANGUAGES) >= _MINIMUM_LANGUAGES
    )


def _named(fact: Fact, language: str) -> bool:
    subject, answer = KINDS[fact.topic]
    known = _names(language)
    return fact.subject in known[subject] and fact.answer in known[answer]


def _askable(fact: Fact, language: str) -> bool:
    """Whether the language has the names, they differ (in English most do not), and the plural is right."""
    if not _named(fact, language):
        return False
    subject, answer = KINDS[fact.topic]
    known = _names(language)
    differ = known[subject][fact.subject].casefold() != known[answer][fact.answer].casefold()
    return differ and (fact.offset is None or fact.offset <= TABLE[language].largest_offset)


@cache
def _ranked_wrong(fact: Fact, seed: int) -> tuple[str, ...]:
    """Rank the answers of the topic that are wrong for this fact.

    At random, so that a model of a million parameters has a chance; but the common scripts go first (rare ones give
    the answer away), and a city's wrong countries lie on its continent (elsewhere there may be a namesake).
    """
    pool = answers(fact.topic)
    codes = [code for code in pool if code != fact.answer and code not in fact.excluded]
    rank = {code: derived_seed(seed, "worldfacts", "wrong", fact.id, code) for code in codes}
    if fact.topic == "city_territory":
        codes = [code for code in codes if fact.group in pool[code]]
    uncommon = {code: fact.topic == "language_script" and fact.group not in pool[code] for code in codes}
    return tuple(sorted(codes, key=lambda code: (uncommon[code], rank[code], code)))


def _wrong_choices(fact: Fact, language: str, seed: int) -> list[str]:
    kind = KINDS[fact.topic][1]
    known = _names(language)[kind]
    return list(islice((known[code] for code in _ranked_wrong(fact, seed) if code in known), _CHOICES - 1))


def _question(fact: Fact, language: str, wrong: list[str], place: int) -> Question:
    subject, answer = KINDS[fact.topic]
    known = _names(language)
    choices = (*wrong[:place], known[answer][fact.answer], *wrong[place:])
    sentence = TABLE[language].sentences[fact.topic]
    prompt = sentence.format(x=known[subject][fact.subject], n=fact.offset)
    return Question(language, fact.topic, fact.id, prompt, choices, place)
