import pytest

from compass_ops.corpus.traits import TRAITS, text_traits


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Habari gani?", "LATIN"),
        ("ما العملة في مصر؟", "ARABIC"),
        ("ሰላም ነው", "ETHIOPIC"),
        ("埃及的货币是什么", "CJK"),
        ("สวัสดีครับ", "THAI"),
        ("मुद्रा क्या है", "DEVANAGARI"),
        ("ߒߞߏ", "NKO"),
        ("Лев и lion cub", "LATIN"),
        ("ab аб", "CYRILLIC"),  # of equals the first in the alphabet
        ("12 + 7 = ?", "NONE"),
        ("", "NONE"),
    ],
)
def test_script(text: str, script: str) -> None:
    assert text_traits([text]).column("script").to_pylist() == [script]


def test_figures_by_hand() -> None:
    row = text_traits(["ab 12!", "", "क्या"]).to_pylist()
    assert (row[0]["characters"], row[0]["letters"], row[0]["digits"]) == (6, pytest.approx(0.4), pytest.approx(0.4))
    assert (row[1]["characters"], row[1]["letters"], row[1]["digits"]) == (0, 0.0, 0.0)
    assert row[2]["letters"] == 1.0  # vowel signs are letters


def test_no_text() -> None:
    table = text_traits([])
    assert table.schema.equals(TRAITS)
    assert table.num_rows == 0
