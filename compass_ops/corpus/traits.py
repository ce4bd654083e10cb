"""What can be said of a text in any script, without splitting words: its script, its length, what it is made of."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

TRAITS = pa.schema(
    [("script", pa.string()), ("characters", pa.int32()), ("letters", pa.float32()), ("digits", pa.float32())]
)
NO_SCRIPT = "NONE"


def text_traits(texts: Sequence[str]) -> pa.Table:
    """Describe texts by figures that are valid for every script.

    Parameters
    ----------
    texts : sequence of str

    Returns
    -------
    pyarrow.Table of ``TRAITS``, one row per text
        script : the script that most letters are in, as Unicode's character names begin (``LATIN``, ``ETHIOPIC``,
        ``CJK``, ...; the first in the alphabet of equals), or ``NONE`` without a letter.
        characters : code points, >= 0.
        letters, digits : their share of the code points that are no white space, in [0, 1]; marks are letters,
        since in many scripts they write vowels.
    """
    rows = [_traits(text) for text in texts]
    columns = list(zip(*rows, strict=True)) or [()] * len(TRAITS)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, TRAITS, strict=True)], TRAITS)


def _traits(text: str) -> tuple[str, int, float, float]:
    scripts: Counter[str] = Counter()
    letters = digits = shown = 0
    for character, count in Counter(text).items():
        if character.isspace():
            continue
        shown += count
        kind = unicodedata.category(character)[0]
        if kind in "LM":
            letters += count
            scripts[_script(character)] += count if kind == "L" else 0
        digits += count if kind == "N" else 0
    most = max(scripts.values(), default=0)
    script = min(name for name, count in scripts.items() if count == most) if most else NO_SCRIPT
    return script, len(text), letters / max(1, shown), digits / max(1, shown)


@lru_cache(maxsize=65_536)
def _script(letter: str) -> str:
    return unicodedata.name(letter, NO_SCRIPT).partition(" ")[0]


def session_numbers(sessions: Sequence[str | None]) -> NDArray[np.int64]:
    """Return int64 (n,): equal for rows of one session; a row without session is one by itself."""
    numbers: dict[str | int, int] = {}
    keys = [row if session is None else session for row, session in enumerate(sessions)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
