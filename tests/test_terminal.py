"""Texts from data do to a terminal nothing but stand there."""

import pytest

from compass_ops.terminal import is_plain, masked, plain


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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://ann:secret@host:5000", "http://***@host:5000"),
        ("postgresql+psycopg2://u:sec/ret@h/db", "postgresql+psycopg2://***@h/db"),
        ("postgresql://u:sec@ret@h/db", "postgresql://***@h/db"),
        ("postgresql://h/db?user=u&password=secret&sslmode=x", "postgresql://h/db?user=u&password=***&sslmode=x"),
        ("ann:secret@host:5000", "ann:***@host:5000"),
        (
            "API request to 'http://ann:secret@host/api' failed with error: host:5000 gave no answer",
            "API request to 'http://***@host/api' failed with error: host:5000 gave no answer",
        ),
        ("sqlite:////home/me@work/mlflow.db: me@example.org", "sqlite:////home/me@work/mlflow.db: me@example.org"),
    ],
)
def test_users_and_passwords_of_addresses_are_masked_and_nothing_else(text: str, shown: str) -> None:
    assert masked(text) == shown
