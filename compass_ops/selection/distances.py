"""How far the pool's languages are from a target language: URIEL+, the texts' own n-grams, or a trained ranker."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compass_ops.errors import ModelError
from compass_ops.selection import langrank, uriel
from compass_ops.selection.ngrams import bucket_counts, profile_distance
from compass_ops.selection.problem import LanguageDistances, Pool
from compass_ops.selection_sections import SampleParams

FloatArray = NDArray[np.float64]
TRANSFER_FEATURES = len(langrank.FEATURES) + len(uriel.FEATURES)  # of a pair, as LangRank knows it

_BY_TEXTS = "distances are those of the texts' character n-grams."


def distances_needed(settings: SampleParams) -> str | None:
    """Return which distances a strategy needs: ``uriel``, ``ngrams``, ``langrank`` or None."""
    parts = settings.compass_plus
    by_strategy = {
        "langsim": "uriel",
        "langrank": "langrank",
        "compass_plus": parts.distance if parts.affinity else None,
    }
    return by_strategy.get(settings.strategy)


def language_distances(
    kind: str, language: str, asked: Sequence[str], pool: Pool, matrix: langrank.TransferMatrix | None = None
) -> LanguageDistances:
    """Return the distance of each language of the pool from a target language.

    Parameters
    ----------
    kind : {"uriel", "ngrams", "langrank"}
    language : str
    asked : sequence of str
        The target's own texts: its prompts and its own data.
    pool : Pool
    matrix : TransferMatrix or None
        What ``langrank`` is trained on.

    Raises
    ------
    ModelError
        If the optional package is not installed, or ``langrank`` has no matrix.
    """
    if kind == "langrank":
        if matrix is None:
            raise ModelError("langrank has no transfer matrix. Name one in sample.transfer_matrix.")
        return _by_rank(language, asked, pool, matrix)
    return by_uriel(language, asked, pool) if kind == "uriel" else by_ngrams(asked, pool)


def by_ngrams(asked: Sequence[str], pool: Pool, notes: tuple[str, ...] = ()) -> LanguageDistances:
    """Return the Hellinger-like distance of character n-gram profiles, see ``ngrams.profile_distance``."""
    profile = bucket_counts(asked)
    values = {name: profile_distance(profile, own) for name, own in zip(pool.names, pool.profiles, strict=True)}
    return LanguageDistances(values, "character n-grams", notes)


def by_uriel(language: str, asked: Sequence[str], pool: Pool) -> LanguageDistances:
    """Return the mean of URIEL+'s six distances.

    Where one is not recorded the mean of the pool's other languages stands in: left out, it would draw a language
    nearer the less is known of it, since unrelated languages have a genetic distance of 1. A language that URIEL+ does
    not know counts as the mean of the others. If it does not know the target language, or no other one of the pool, the
    texts' character n-grams decide. Notes name all of this.
    """
    if not uriel.known([language])[0]:
        return by_ngrams(asked, pool, (f"URIEL+ does not know {language}: {_BY_TEXTS}",))
    names = [name for name, there in zip(pool.names, uriel.known(pool.names), strict=True) if there]
    unknown = sorted(set(pool.names) - set(names))
    table = uriel.distances([language, *names])[0, 1:]
    recorded, others = np.isfinite(table), np.array([name != language for name in names], bool)
    if not recorded[others].any():
        note = f"URIEL+ has no distance of {language} from another language of the pool: {_BY_TEXTS}"
        return by_ngrams(asked, pool, (note,))
    means = _imputed(table, others).mean(axis=1)
    values = dict(zip(names, means.tolist(), strict=True)) | dict.fromkeys(unknown, float(means[others].mean()))
    half = table.shape[1] / 2
    vague = sorted(name for name, own in zip(names, recorded, strict=True) if name != language and own.sum() < half)
    notes = []
    if vague:
        notes.append(
            f"URIEL+ records less than half of the distances of {', '.join(vague)}: the other languages' mean "
            "stands in."
        )
    if unknown:
        notes.append(f"URIEL+ does not know {', '.join(unknown)}: taken to be as far as the others on average.")
    return LanguageDistances(values, "URIEL+", tuple(notes))


def _imputed(table: FloatArray, others: NDArray[np.bool_]) -> FloatArray:
    """Fill the gaps of distances (L, f) with each feature's mean over ``others``; features nobody has are dropped."""
    table = table[:, np.isfinite(table[others]).any(axis=0)]
    return np.where(np.isfinite(table), table, np.nanmean(table[others], axis=0))


def transfer_features(language: str, own: Sequence[str], pool: Pool) -> FloatArray:
    """Return float64 (L, 13): LangRank's features of a target with each language of the pool; NaN where unknown."""
    known = dict(zip([language, *pool.names], uriel.known([language, *pool.names]), strict=True))
    names = [name for name in pool.names if known[name]]
    typology = np.full((len(pool.names), len(uriel.FEATURES)), np.nan)
    if known[language] and names:
        rows = [place for place, name in enumerate(pool.names) if known[name]]
        typology[rows] = uriel.distances([language, *names])[0, 1:]
    texts: list[list[str]] = [[] for _ in pool.names]
    for text, place in zip(pool.texts, pool.languages, strict=True):
        texts[place].append(text)
    return np.concatenate([np.array([langrank.pair_features(own, there) for there in texts]), typology], axis=1)


def _by_rank(language: str, own: Sequence[str], pool: Pool, matrix: langrank.TransferMatrix) -> LanguageDistances:
    names = [language, *pool.names]
    scores = langrank.rank(matrix, language, transfer_features(language, own, pool), seed=0)
    places = np.argsort(np.argsort(-scores, kind="stable"))
    values = {name: float(place) for name, place in zip(pool.names, places, strict=True)}
    unknown = sorted({name for name, there in zip(names, uriel.known(names), strict=True) if not there})
    note = f"URIEL+ does not know {', '.join(unknown)}: LangRank judges there by the texts' features alone."
    source = "LangRank, retrained on this project's transfer matrix"
    return LanguageDistances(values, source, (note,) if unknown else ())
