"""Texts from data and registries, which anybody may have written, as a terminal may show them. Pure."""

import re
import unicodedata

# What texts must not do to a terminal: move the cursor, end the line, or turn the rest of it around.
_CONTROLS = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
# Before the @ of an address, after :// or after a user's colon; a password may hold / and @ itself. And in a query.
_SECRETS = re.compile(r"(?<=://)[^\s/]\S*(?=@)|(?<=:)[^\s/]+(?=@)|(?<=password=)[^\s&]+")


def is_plain(text: str) -> bool:
    """Tell whether a text is one line without control characters and turns of direction."""
    return not any(_is_control(letter) or _is_turn(letter) for letter in text)


def plain(text: str) -> str:
    """Return a text as one line: what is not plain is left out, or a blank where it parts words."""
    kept = (letter for letter in text if not _is_turn(letter))
    return " ".join("".join(" " if _is_control(letter) else letter for letter in kept).split())


def masked(text: str) -> str:
    """Return a text without the users and passwords of the addresses in it."""
    return _SECRETS.sub("***", text)


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in _CONTROLS


def _is_turn(letter: str) -> bool:
    return unicodedata.bidirectional(letter) in _TURNS
