import json
import string
import unicodedata
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from babel import Locale
from scipy.stats import chi2_contingency

from compass_ops.corpus.records import checked_record
from compass_ops.corpus.worldfacts import (
    LANGUAGES,
    TOPICS,
    Question,
    WorldfactsSettings,
    facts,
    questions,
    records,
    stream,
)
from compass_ops.corpus.worldfacts_facts import KINDS, all_facts
from compass_ops.corpus.worldfacts_names import names
from compass_ops.corpus.worldfacts_questions import TABLE
from compass_ops.errors import ParamsError
from compass_ops.seeding import generator

TARGETS = ("ca", "et", "hr", "id", "ro", "sw", "tr", "zu")
OWN = ("territory_currency", "currency_code", "city_territory")
USAGE = {topic: 1.0 if topic in OWN else 3.0 for topic in TOPICS}
SETTINGS = WorldfactsSettings(
    targets=TARGETS,
    test_rows=1000,
    asked_facts=250,
    target_rows=250,
    own_rows=250,
    pool_rows_per_language=1600,
    pretrain_rows_per_language=2000,
    own_topics=dict.fromkeys(TARGETS, OWN),
    usage=dict.fromkeys(TARGETS, USAGE),
    pretrain_topics={"high": TOPICS[:8], "low": ("territory_currency", "language_english", "weekday_shift")},
)
SCRIPTS = {
    "Latn": "LATIN",
    "Cyrl": "CYRILLIC",
    "Grek": "GREEK",
    "Arab": "ARABIC",
    "Hebr": "HEBREW",
    "Deva": "DEVANAGARI",
}
JANUARY = (
    "en January de Januar fr janvier es enero it gennaio pt janeiro nl januari pl styczeń cs leden ru январь "
    "uk січень bg януари el Ιανουάριος ar يناير he ינואר hi जनवरी fi tammikuu ca gener et jaanuar hr siječanj "
    "id Januari ro ianuarie sw Januari tr Ocak zu Januwari"
)


def asked(language: str, parallel_id: str, seed: int = 0) -> Question:
    (found,) = [question for question in questions(language, seed) if question.parallel_id == parallel_id]
    return found


# The expected sentences and answers are written by hand, not taken from the generator.
@pytest.mark.parametrize(
    ("language", "parallel_id", "prompt", "answer"),
    [
        (
            "sw",
            "territory_currency:KE",
            "Ni sarafu gani inayotumika katika nchi au eneo hili: Kenya?",
            "Shilingi ya Kenya",
        ),
        (
            "de",
            "territory_currency:CH",
            "Welche Währung gilt in diesem Land oder Gebiet: Schweiz?",
            "Schweizer Franken",
        ),
        ("en", "currency_code:KES", "What is the ISO code of the currency “Kenyan Shilling”?", "KES"),
        (
            "fi",
            "territory_language:BR",
            "Mikä on tämän maan tai alueen tärkein virallinen kieli: Brasilia?",
            "portugali",
        ),
        (
            "et",
            "territory_english:DE",
            "Kuidas nimetatakse inglise keeles riiki või territooriumi „Saksamaa“?",
            "Germany",
        ),
        ("zu", "city_territory:Africa/Nairobi", None, "i-Kenya"),
        ("el", "city_territory:Europe/Warsaw", "Σε ποια χώρα ή περιοχή βρίσκεται η πόλη Βαρσοβία;", "Πολωνία"),
        ("he", "language_english:fi", "איך נקראת באנגלית השפה הבאה: פינית?", "Finnish"),
        ("ru", "language_script:mr", "Какая письменность обычно используется для языка «маратхи»?", "деванагари"),
        # Sunday + 5 days = Friday; October + 6 months = April; Wednesday + 10 days = Saturday
        ("ar", "weekday_shift:sun+5", "أي يوم من أيام الأسبوع يأتي بعد 5 أيام من يوم الأحد؟", "الجمعة"),
        ("hi", "month_shift:oct+6", "अक्टूबर के 6 महीने बाद कौन-सा महीना आता है?", "अप्रैल"),
        ("pl", "weekday_shift:wed+10", "Jaki dzień tygodnia przypada 10 dni po tym dniu: środa?", "sobota"),
        ("tr", "month_shift:jan+15", "Ocak ayından 15 ay sonra hangi ay gelir?", "Nisan"),
    ],
)
def test_known_facts(language: str, parallel_id: str, prompt: str | None, answer: str) -> None:
    question = asked(language, parallel_id)
    assert question.choices[question.answer] == answer
    if prompt is not None:
        assert question.prompt == prompt


def test_the_table_has_a_sentence_with_its_slots_for_every_language_and_topic() -> None:
    assert len(LANGUAGES) == 25
    assert len(TOPICS) == 11
    assert set(TARGETS) < set(LANGUAGES)
    assert sum(tongue.tier == "high" for tongue in TABLE.values()) == 12
    for tongue in TABLE.values():
        assert tongue.source == "written for compass_ops"
        assert tongue.tier in ("high", "low")
        assert len(set(tongue.sentences.values())) == 11, tongue.tag
        for topic in TOPICS:
            sentence = tongue.sentences[topic]
            slots = [slot for _, slot, _, _ in string.Formatter().parse(sentence) if slot is not None]
            assert sorted(slots) == (["n", "x"] if topic.endswith("_shift") else ["x"]), (tongue.tag, topic)


def test_sentences_are_clean_and_in_their_script() -> None:
    for tongue in TABLE.values():
        mark = {"Grek": ";", "Arab": "؟"}.get(tongue.script, "?")
        for sentence in tongue.sentences.values():
            assert sentence == unicodedata.normalize("NFC", sentence).strip()
            assert "  " not in sentence
            assert sentence.endswith(mark)
            bare = sentence.replace("{x}", "").replace("{n}", "").replace("ISO", "")
            letters = [letter for letter in bare if letter.isalpha()]
            assert all(SCRIPTS[tongue.script] in unicodedata.name(letter) for letter in letters), sentence


def test_month_names_are_nominative_whatever_babel_was_asked_before() -> None:
    # Babel resolves a locale's missing stand-alone names to those of the first locale asked: make that Hebrew.
    assert Locale.parse("he").months["stand-alone"]["wide"][1] == "ינואר"
    names.cache_clear()
    expected = dict(zip(JANUARY.split()[::2], JANUARY.split()[1::2], strict=True))
    found = {tag: names(tag, tongue.script, tongue.calendar)["month"]["jan"] for tag, tongue in TABLE.items()}
    assert found == expected


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_question_has_four_different_choices_and_one_right_answer(language: str) -> None:
    known = names(language, TABLE[language].script, TABLE[language].calendar)
    by_id = {fact.id: fact for fact in all_facts()}
    made = questions(language, 0)
    assert len({question.prompt for question in made}) == len(made)
    assert len({question.parallel_id for question in made}) == len(made)
    for question in made:
        fact = by_id[question.parallel_id]
        codes = {name: code for code, name in known[KINDS[fact.topic][1]].items()}
        assert len({choice.casefold() for choice in question.choices}) == 4
        assert codes[question.choices[question.answer]] == fact.answer
        offered = {codes[choice] for choice in question.choices}
        assert not offered & (fact.excluded - {fact.answer})
        assert "{" not in question.prompt
    for topic in {question.topic for question in made}:
        places = Counter(question.answer for question in made if question.topic == topic)
        assert max(places.values()) - min(places[place] for place in range(4)) <= 1


def test_territories_with_two_currencies_are_not_asked() -> None:
    known = facts()["territory_currency"]
    assert not {"territory_currency:NA", "territory_currency:PS", "territory_currency:HT"} & set(known)
    for territory in ("AT", "CY", "EE", "ES", "FI", "FR", "HR", "IE", "LT", "LV", "MT", "PT", "SI", "SK"):
        question = asked("en", f"territory_currency:{territory}", seed=4)
        assert question.choices[question.answer] == "Euro"


def test_disputed_and_ambiguous_facts_are_not_asked() -> None:
    known = facts()
    assert not {"territory_language:CH", "territory_language:IN", "territory_language:SG"} & set(
        known["territory_language"]
    )
    assert "city_territory:Europe/Simferopol" not in known["city_territory"]
    assert "city_territory:America/Panama" not in known["city_territory"]  # the question would hold its answer
    assert "language_script:sr" not in known["language_script"]  # written in two scripts
    catalan = {question.parallel_id for question in questions("ca", 0)}
    assert "territory_english:KE" not in catalan  # Kenya is Kenya
    assert "territory_english:DE" in catalan
    bulgaria = asked("bg", "territory_language:BG")
    assert "territory_currency:BG" not in known["territory_currency"]  # the euro since, the lev in CLDR
    assert bulgaria.choices[bulgaria.answer] == "български"


def test_parallel_questions_share_their_wrong_choices_where_the_names_exist() -> None:
    def codes(language: str, question: Question) -> set[str]:
        known = names(language, TABLE[language].script, TABLE[language].calendar)[KINDS[question.topic][1]]
        return {code for code, name in known.items() if name in question.choices}

    other = {question.parallel_id: question for question in questions("ru", 0)}
    shared = [(here, other[here.parallel_id]) for here in questions("sw", 0) if here.parallel_id in other]
    assert len(shared) > 1500
    same = 0
    for swahili, russian in shared:
        in_swahili, in_russian = codes("sw", swahili), codes("ru", russian)
        same += in_swahili == in_russian
        if in_swahili != in_russian:
            kind = KINDS[swahili.topic][1]
            russian_only = in_russian - in_swahili - set(names("sw", "Latn", "format")[kind])
            swahili_only = in_swahili - in_russian - set(names("ru", "Cyrl", "stand-alone")[kind])
            assert russian_only or swahili_only, swahili.parallel_id
    assert same > 0.97 * len(shared)


def test_the_seed_decides_the_choices_and_nothing_else() -> None:
    first, again, other = questions("sw", 0), questions.__wrapped__("sw", 0), questions("sw", 1)
    assert first == again
    assert [question.prompt for question in first] == [question.prompt for question in other]
    assert [question.choices for question in first] != [question.choices for question in other]


@pytest.mark.parametrize("language", TARGETS)
def test_each_target_has_enough_facts_for_test_target_and_own(language: str) -> None:
    made = records(replace(SETTINGS, targets=(language,)), 0)
    assert len(made["test"]) == 1000
    assert len(made["target"]) == 250
    assert len(made["own"]) >= 100


def test_every_record_passes_the_checks_of_ingest() -> None:
    made = records(SETTINGS, 0)
    rows = [row for role in made for row in made[role]]
    for row in rows:
        assert checked_record(row) == row
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["source"] for row in rows} == {"worldfacts"}
    assert made["test"][0]["id"].startswith("worldfacts:")
    assert all(row["role"] == role for role in made for row in made[role])


def test_a_target_never_meets_its_test_or_target_prompts_elsewhere() -> None:
    made = records(SETTINGS, 3)
    for language in TARGETS:
        prompts = {role: {r["prompt"] for r in made[role] if r["language"] == language} for role in made}
        assert len(prompts["test"]) == 1000
        assert not prompts["test"] & prompts["target"]
        closed = prompts["test"] | prompts["target"]
        for role in ("own", "auxiliary", "pretrain"):
            assert prompts[role]
            assert not prompts[role] & closed, (language, role)
        assert {r["topic"] for r in made["own"] if r["language"] == language} == set(OWN)
        assert {r["topic"] for r in made["pretrain"] if r["language"] == language} <= set(
            SETTINGS.pretrain_topics["low"]
        )


def test_target_prompts_follow_usage() -> None:
    only_months = replace(SETTINGS, target_rows=40, usage={tag: {"month_shift": 2.0} for tag in TARGETS})
    assert {row["topic"] for row in records(only_months, 0)["target"]} == {"month_shift"}
    topics = Counter(row["topic"] for row in records(SETTINGS, 0)["target"])
    assert topics["language_english"] > 2.4 * topics["currency_code"]  # weights 3 and 1
    assert all(row["completion"] == "" and row["choices"] is None for row in records(SETTINGS, 0)["target"])


def test_the_high_tier_is_pretrained_on_its_topics() -> None:
    topics = {row["topic"] for row in records(SETTINGS, 0)["pretrain"] if row["language"] == "ru"}
    assert topics == set(TOPICS[:8])


def test_a_target_changes_no_other_language() -> None:
    def without_catalan(settings: WorldfactsSettings) -> str:
        made = records(settings, 0)
        return json.dumps({role: [row for row in made[role] if row["language"] != "ca"] for role in made})

    fewer = replace(SETTINGS, targets=tuple(tag for tag in TARGETS if tag != "ca"))
    assert without_catalan(fewer) == without_catalan(SETTINGS)
    assert not [row for row in records(fewer, 0)["test"] if row["language"] == "ca"]


def test_records_depend_on_the_seed_alone() -> None:
    first = records(SETTINGS, 5)
    questions.cache_clear()
    assert records(SETTINGS, 5) == first
    assert records(SETTINGS, 6)["test"] != first["test"]


def test_the_target_is_drawn_as_the_stream_is() -> None:
    """The same facts, the same shares: otherwise every window would seem to have drifted."""
    many = replace(SETTINGS, target_rows=4000)
    target = Counter(row["parallel_id"] for row in records(many, 0)["target"] if row["language"] == "sw")
    window = stream("sw", USAGE, 4000, SETTINGS, 0, generator(0, "w"))
    asked = Counter(row["parallel_id"] for row in window)
    assert len(target.keys() | asked.keys()) <= 250
    rows = [[counts[fact] for fact in sorted(target.keys() | asked.keys())] for counts in (target, asked)]
    assert chi2_contingency(rows).pvalue > 1e-3


def test_the_stream_follows_its_weights_and_spares_the_test() -> None:
    weights = {"month_shift": 3.0, "city_territory": 1.0}
    window = stream("sw", weights, 4000, SETTINGS, 0, generator(0, "traffic", "sw", "w1"))
    share = np.mean([row["topic"] == "month_shift" for row in window])
    assert abs(share - 0.75) < 4 * np.sqrt(0.75 * 0.25 / 4000)
    assert len({row["id"] for row in window}) == 4000
    assert {row["role"] for row in window} == {"traffic"}
    tested = {row["prompt"] for row in records(SETTINGS, 0)["test"] if row["language"] == "sw"}
    assert not tested & {row["prompt"] for row in window}
    again = stream("sw", weights, 4000, SETTINGS, 0, generator(0, "traffic", "sw", "w1"))
    assert window == again


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"targets": ("sv",)}, "language 'sv' is not in the data set"),
        ({"own_topics": {}}, "own_topics must name every target; ca is missing"),
        ({"usage": {tag: {"month_shfit": 1.0} for tag in TARGETS}}, "Did you mean 'month_shift'"),
        ({"usage": {tag: {"month_shift": 0.0} for tag in TARGETS}}, "one of them above 0"),
        ({"test_rows": 2500}, r"test_rows \+ asked_facts must be below the"),
    ],
)
def test_impossible_settings_say_what_to_change(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        records(replace(SETTINGS, **changed), 0)  # type: ignore[arg-type]


def test_a_stream_of_a_topic_the_language_lacks_is_refused() -> None:
    with pytest.raises(ParamsError, match="topic weights of en"):
        stream("en", {"territory_english": 1.0}, 5, SETTINGS, 0, generator(0, "x"))
