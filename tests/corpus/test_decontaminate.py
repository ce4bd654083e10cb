"""What training rows share with held rows, against hand-made cases and a slow oracle."""

import unicodedata

import numpy as np
import pytest

from compass_ops.corpus import decontaminate
from compass_ops.corpus.decontaminate import (
    Questions,
    comparable,
    exact_matches,
    index_questions,
    near_duplicates,
    near_matches,
    repeats,
    translation_matches,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  What IS\n this?! ", "what is this"),
        ("Straße", "strasse"),
        ("ﬁne №1", "fine no1"),
        ("Ｗｈａｔ　ｉｓ", "what is"),
        ("कि", "कि"),
        ("की।", "की"),
        ("نمی‌خواهم؟", "نمیخواهم"),
        ("2+2", "2+2"),
        ("a-b", "a b"),
        ("...", "..."),
        ("สวัสดี ครับ", "สวัสดี ครับ"),
        ("e\u0301", "é"),
    ],
)
def test_comparable_text(text: str, expected: str) -> None:
    assert comparable(text) == expected


def test_fast_and_general_path_agree_on_ascii() -> None:
    text = "".join(chr(code) for code in range(128))
    squeezed = "".join(" " if unicodedata.category(c)[0] in "PZC" else c for c in text.casefold())
    assert comparable(text) == " ".join(squeezed.split())
    assert comparable(text + "xé") == comparable(text + "x") + "é"


def test_same_question_depends_on_the_choices_where_both_have_some() -> None:
    held = Questions.of(
        ["Which is true?", "Which is true?", "Capital of Kenya?", "Hello"],
        [["a", "B"], ["c", "d"], ["Nairobi", "Lagos"], None],
    )
    rows = Questions.of(
        ["which is TRUE", "Which is true?", "Capital of Kenya", "hello!", "hello", "other", "Which is true"],
        [["b", "a!"], ["a", "x"], None, None, ["a", "b"], None, ["d", "c"]],
    )
    assert exact_matches(rows, index_questions(held)).tolist() == [0, -1, 2, 3, 3, -1, 1]


def test_repeats_and_translations() -> None:
    rows = Questions.of(["A", "a!", "a", "b", "A"], [None, None, None, None, ["x", "y"]])
    assert repeats(rows, ["yes", "Yes.", "no", "yes", "yes"]).tolist() == [-1, 0, -1, -1, -1]
    assert translation_matches(["p1", None, "p2", "p3"], [None, "p3", "p1", "p3"]).tolist() == [2, -1, -1, 1]


def _grams(text: str) -> set[str]:
    padded = f" {text} ".ljust(5)
    return {padded[start : start + 5] for start in range(len(padded) - 4)}


def _slow_near(rows: list[str], held: list[str], threshold: float) -> list[int]:
    found = []
    for row in rows:
        mine = _grams(row)
        similarity = [len(mine & _grams(text)) / len(mine | _grams(text)) for text in held]
        best = int(np.argmax(similarity)) if similarity else -1
        found.append(best if similarity and similarity[best] >= threshold else -1)
    return found


def _made_texts(rng: np.random.Generator, count: int) -> list[str]:
    """Sentences of few words in four scripts, so that many nearly repeat another; some empty or very short."""
    words = ["nini", "mji", "mkuu", "wa", "ค่า", "เมือง", "город", "где", "𐐀𐐁", "क्या", "है", "x"]
    return [" ".join(rng.choice(words, size=rng.integers(0, 12))) for _ in range(count)]


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("small", [False, True])
def test_near_duplicates_are_those_of_the_slow_oracle(
    threshold: float, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:
        monkeypatch.setattr(decontaminate, "_CHUNK_CHARACTERS", 300)
        monkeypatch.setattr(decontaminate, "_PAIRS", 500)
    rng = np.random.default_rng(5)
    rows, held = _made_texts(rng, 400), _made_texts(rng, 150)
    expected = _slow_near(rows, held, threshold)
    assert near_duplicates(rows, held, threshold).tolist() == expected
    assert 0 < sum(place >= 0 for place in expected) < 400


def test_near_duplicates_by_hand() -> None:
    # " abcdef " has 4 grams, " abcdeg " 4, of which " abcd" and "abcde" are shared: 2 / 6.
    assert near_duplicates(["abcdef"], ["zzz", "abcdeg"], 0.33).tolist() == [1]
    assert near_duplicates(["abcdef"], ["zzz", "abcdeg"], 0.34).tolist() == [-1]
    assert near_duplicates([], ["a"], 0.5).tolist() == []
    assert near_duplicates(["a", "b"], [], 0.5).tolist() == [-1, -1]


def test_near_matches_compare_choices_where_both_have_some() -> None:
    stem = "which of the following statements about the animal kingdom is true"
    some, other = ["a bird has feathers", "a fish has fur"], ["plants breathe water", "stones can swim far"]
    held = Questions.of([stem, "where is the largest lake of the continent"], [some, None])
    rows = Questions.of(
        [f"{stem} now", f"{stem} now", f"{stem} now", "where is the largest lake of a continent", "else"],
        [some, other, None, other, None],
    )
    assert near_matches(rows, held, 0.7).tolist() == [0, -1, 0, 1, -1]


def test_only_the_same_sentence_matches_at_one() -> None:
    rows = [f"which currency is used in country number {number % 97}" for number in range(3000)]
    held = [f"which currency is used in country number {number}" for number in range(0, 97, 2)]
    found = near_duplicates(rows, held, 1.0)
    expected = [number % 97 // 2 if number % 97 % 2 == 0 else -1 for number in range(3000)]
    assert found.tolist() == expected
