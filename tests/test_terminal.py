"""Texts from data do to a terminal nothing but stand there."""

import pytest

from compass_ops.terminal import is_plain, plain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\nlines\tand \x1b[31mred", "two lines and [31mred"),
        ("a\u202eb\u2066c", "abc"),
        ("line\u2028end\u2029", "line end"),
        ("half \ud800 a pair", "half a pair"),
    ],
)
def test_what_moves_or_turns_is_taken_out(text: str, shown: str) -> None:
    assert not is_plain(text)
    assert plain(text) == shown
    assert is_plain(shown)


def test_every_script_is_plain() -> None:
    text = "ما العملة في مصر؟ ሰላም ነው भारत 日本 👍🏽"
    assert is_plain(text)
    assert plain(text) == text
