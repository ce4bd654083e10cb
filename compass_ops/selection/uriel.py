"""The only door to urielplus: typological distances between languages (optional extra ``baselines``)."""

import logging
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compass_ops.corpus.languages import codes_of
from compass_ops.errors import ModelError

# LangRank's six, in its order. Script and morphology are newer, and morphology has no data for most.
FEATURES = ("genetic", "syntactic", "featural", "phonological", "inventory", "geographic")


def known(languages: Sequence[str]) -> list[bool]:
    """Return for each BCP-47 tag whether URIEL+ knows the language."""
    return [_code(language) is not None for language in languages]


def distances(languages: Sequence[str]) -> NDArray[np.float64]:
    """Return float64 (n, n, 6): URIEL+'s angular distances of known languages, in [0, 1], by ``FEATURES``.

    2 arccos(cosine) / pi over the features recorded for both, as ``URIELPlus.new_distance`` has it (which takes
    seconds a language). Where two languages share none the distance is NaN. Script and region of a tag do not count.

    Raises
    ------
    ModelError
        If the package is not installed, or cannot keep its files.
    """
    table = np.zeros((len(languages), len(languages), len(FEATURES)))
    vectors = [_vectors(str(_code(language))) for language in languages]
    for row, one in enumerate(vectors):
        for column, other in enumerate(vectors[:row]):
            found = [_angle(first, second) for first, second in zip(one, other, strict=True)]
            table[row, column] = table[column, row] = found
    return table


def _angle(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    both = (first >= 0) & (second >= 0)  # -1 is unknown
    one, other = first[both], second[both]
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    if not both.any() or size == 0:
        return float("nan")
    return float(2 / np.pi * np.arccos(np.clip(one @ other / size, -1, 1)))


@cache
def _vectors(code: str) -> tuple[NDArray[np.float64], ...]:
    """Return a language's features, one array per kind, -1 where nothing is recorded."""
    return tuple(np.asarray(_database().get_vector(kind, [code])[code], np.float64) for kind in FEATURES)


@cache
def _code(language: str) -> str | None:
    """Return the ISO 639-3 code under which URIEL+ knows a language, that with the most recorded, or None."""
    codes = [code for code in codes_of(language) if code in _languages()]
    return max(codes, key=lambda code: sum(int((own >= 0).sum()) for own in _vectors(code)), default=None)


@cache
def _languages() -> frozenset[str]:
    return frozenset(str(code) for code in _database().get_languages_with_distance_data("genetic"))


@cache
def _database() -> Any:
    """Load the database once, and keep the package from speaking through the root logger."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        from urielplus.urielplus import URIELPlus

        logging.disable(logging.INFO)
        return URIELPlus()
    except ModuleNotFoundError as error:
        raise ModelError(
            "URIEL+ is not installed, and the strategy needs its distances. Run `pip install 'compass_ops[baselines]'`."
        ) from error
    except OSError as error:
        raise ModelError(f"URIEL+ cannot unpack its files beside its package ({error}). Make them writable.") from error
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.disable(logging.NOTSET)
