"""The embedded default: a whole simulated project, made from the facts of CLDR in 25 languages.

Facts are ranked by a hash of their id. In each target language the first ``test_rows`` that it can ask are its
test, the next ``asked_facts`` are what its users ask (target and traffic), and the others are what it has been
taught (own data and pretraining). Facts of the test may be asked in other languages: the pool is made of
translations by design. The topics are not equally hard everywhere: in Zulu, and often in Swahili, the English
name is the language's own without its class prefix.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from compass_ops.corpus.worldfacts_questions import LANGUAGES, SOURCE, TABLE, TOPICS, Question, facts, questions
from compass_ops.errors import ParamsError
from compass_ops.seeding import derived_seed, generator

__all__ = ["LANGUAGES", "TOPICS", "Question", "WorldfactsSettings", "facts", "questions", "records", "stream"]

ROLES = ("target", "own", "auxiliary", "test", "pretrain")
Row = dict[str, Any]


@dataclass(frozen=True)
class WorldfactsSettings:
    """What the simulated project looks like.

    Attributes
    ----------
    targets : tuple of str
        Target languages.
    test_rows, target_rows : int
        Exact numbers of test questions and target prompts per target language.
    asked_facts : int
        Facts that a target language's users ask; prompts repeat them.
    own_rows, pool_rows_per_language, pretrain_rows_per_language : int
        Largest numbers of own rows per target language, and of auxiliary and pretraining rows per language.
    own_topics : mapping of language to topics
        What each target language's own data cover.
    usage : mapping of language to {topic: weight}
        What each target language's users ask; a topic that is left out is not asked.
    pretrain_topics : mapping of tier ("high", "low") to topics
        What the base is pretrained on, in large and in small languages.
    """

    targets: tuple[str, ...]
    test_rows: int
    asked_facts: int
    target_rows: int
    own_rows: int
    pool_rows_per_language: int
    pretrain_rows_per_language: int
    own_topics: Mapping[str, tuple[str, ...]]
    usage: Mapping[str, Mapping[str, float]]
    pretrain_topics: Mapping[str, tuple[str, ...]]


def records(settings: WorldfactsSettings, seed: int) -> dict[str, list[Row]]:
    """Make every record of the simulated project.

    A language's rows depend on its own settings alone: adding a target changes no other language's. Which of
    them ingest keeps in the pool depends on all targets, whose test facts it leaves out.

    Returns
    -------
    dict of role to list of dict
        Rows with the columns of a record.

    Raises
    ------
    ParamsError
        If the settings name an unknown language or topic, or ask for more rows than there are facts.
    """
    _check(settings, seed)
    made: dict[str, list[Row]] = {role: [] for role in ROLES}
    for language in LANGUAGES:
        test, asked, training = _split(language, settings.test_rows, settings.asked_facts, seed)
        closed: set[str] = set()
        if language in settings.targets:
            closed = {question.parallel_id for question in (*test, *asked)}
            made["test"] += [_labelled(question, "test") for question in test]
            made["own"] += [_labelled(question, "own") for question in _own(language, training, settings, seed)]
            rng = generator(seed, "worldfacts", "target", language)
            made["target"] += _asked(language, asked, settings.usage[language], (settings.target_rows, "target"), rng)
        open_ = [question for question in questions(language, seed) if question.parallel_id not in closed]
        pool = _sample(open_, settings.pool_rows_per_language, generator(seed, "worldfacts", "auxiliary", language))
        made["auxiliary"] += [_labelled(question, "auxiliary") for question in pool]
        seen = _pretraining(language, open_, training, settings.pretrain_topics)
        kept = _sample(seen, settings.pretrain_rows_per_language, generator(seed, "worldfacts", "pretrain", language))
        made["pretrain"] += [_labelled(question, "pretrain") for question in kept]
    return made


def stream(
    language: str,
    topic_weights: Mapping[str, float],
    size: int,
    settings: WorldfactsSettings,
    seed: int,
    rng: np.random.Generator,
) -> list[Row]:
    """Draw production prompts, with replacement, from the facts that the language's users ask, as the target is drawn.

    Parameters
    ----------
    language : str
        One of ``LANGUAGES``.
    topic_weights : mapping of topic to float
        What users ask, in any unit.
    size : int
        Number of prompts.
    settings, seed
        As given to ``records``: they decide which facts are asked.
    rng : numpy.random.Generator
        The generator of this window.

    Returns
    -------
    list of dict
        Rows of role ``traffic`` without labels; their ids carry their place in the window.
    """
    _check_names("language", [language], LANGUAGES)
    _check_names("topic", topic_weights, TOPICS)
    _, asked, _ = _split(language, settings.test_rows, settings.asked_facts, seed)
    return _asked(language, asked, topic_weights, (size, "traffic"), rng)


def _split(
    language: str, test_rows: int, asked_facts: int, seed: int
) -> tuple[list[Question], list[Question], list[Question]]:
    """Return the questions of the language's test, those that its users ask, and all others, by the fact's hash."""
    ranked = sorted(
        questions(language, seed),
        key=lambda question: (
            derived_seed(seed, "worldfacts", "split", question.parallel_id),
            question.parallel_id,
        ),
    )
    end = test_rows + asked_facts
    return ranked[:test_rows], ranked[test_rows:end], ranked[end:]


def _own(language: str, training: list[Question], settings: WorldfactsSettings, seed: int) -> list[Question]:
    covered = [question for question in training if question.topic in settings.own_topics[language]]
    return _sample(covered, settings.own_rows, generator(seed, "worldfacts", "own", language))


def _asked(
    language: str,
    asked: list[Question],
    topic_weights: Mapping[str, float],
    size_and_role: tuple[int, str],
    rng: np.random.Generator,
) -> list[Row]:
    """Draw prompts with replacement: target and stream alike, so that only the weights tell them apart."""
    size, role = size_and_role
    drawn = rng.choice(len(asked), size=size, p=_shares(language, asked, topic_weights))
    rows = []
    for place, index in enumerate(drawn):
        row = _prompt_only(asked[index], role)
        rows.append({**row, "id": f"{row['id']}:{place}"})
    return rows


def _pretraining(
    language: str, open_: list[Question], training: list[Question], topics: Mapping[str, tuple[str, ...]]
) -> list[Question]:
    """Return what the base may see: of a large language all open questions of its topics, of a small one some."""
    tier = TABLE[language].tier
    return [question for question in (open_ if tier == "high" else training) if question.topic in topics[tier]]


def _shares(
    language: str, asked: list[Question], topic_weights: Mapping[str, float]
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return each question's probability, shape (n,): topics by their weights, questions of a topic alike."""
    counts = Counter(question.topic for question in asked)
    weights = np.array([topic_weights.get(q.topic, 0.0) / counts[q.topic] for q in asked])
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ParamsError(
            f"worldfacts: topic weights of {language} must be numbers >= 0, one of them above 0 for a topic that "
            f"{language} has questions in; got {dict(topic_weights)}. Weight one of {', '.join(sorted(counts))}."
        )
    return weights / weights.sum()


def _sample(asked: list[Question], size: int, rng: np.random.Generator) -> list[Question]:
    kept = rng.choice(len(asked), size=min(size, len(asked)), replace=False)
    return [asked[index] for index in sorted(kept)]


def _labelled(question: Question, role: str) -> Row:
    return {
        **_prompt_only(question, role),
        "completion": question.choices[question.answer],
        "choices": list(question.choices),
        "answer": question.answer,
    }


def _prompt_only(question: Question, role: str) -> Row:
    return {
        "id": f"{SOURCE}:{question.language}:{role}:{question.parallel_id}",
        "language": question.language,
        "role": role,
        "prompt": question.prompt,
        "completion": "",
        "choices": None,
        "answer": None,
        "topic": question.topic,
        "parallel_id": question.parallel_id,
        "source": SOURCE,
        "weight": 1.0,
    }


def _check(settings: WorldfactsSettings, seed: int) -> None:
    _check_names("language", settings.targets, LANGUAGES)
    _check_names("topic", [topic for topics in settings.pretrain_topics.values() for topic in topics], TOPICS)
    for language in settings.targets:
        for field in ("own_topics", "usage"):
            if language not in getattr(settings, field):
                raise ParamsError(f"worldfacts: {field} must name every target; {language} is missing. Add its topics.")
        _check_names("topic", [*settings.own_topics[language], *settings.usage[language]], TOPICS)
        available = len(questions(language, seed))
        held = settings.test_rows + settings.asked_facts
        if available <= held:
            raise ParamsError(
                f"worldfacts: test_rows + asked_facts must be below the {available} facts of {language}; got "
                f"{held}. Lower them."
            )


def _check_names(what: str, given: Iterable[str], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(known)}."
            raise ParamsError(f"worldfacts: {what} {name!r} is not in the data set.{meant}")
