"""How far the pool's languages are from a target language: URIEL+, the texts' own n-grams, or a trained ranker."""

from collections.abc import Sequence

import numpy as np

from compass_ops.errors import ModelError
from compass_ops.selection import langrank, uriel
from compass_ops.selection.ngrams import bucket_counts, profile_distance
from compass_ops.selection.problem import LanguageDistances, Pool
from compass_ops.selection_sections import SampleParams


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
    """Return the mean of URIEL+'s six distances, as far as they are recorded.

    A language of the pool that URIEL+ does not know counts as the mean of the others. If it does not know the target
    language, the texts' character n-grams decide. Notes name both.
    """
    if not uriel.known([language])[0]:
        note = f"URIEL+ does not know {language}: distances are those of the texts' character n-grams."
        return by_ngrams(asked, pool, (note,))
    names = [name for name, there in zip(pool.names, uriel.known(pool.names), strict=True) if there]
    unknown = sorted(set(pool.names) - set(names))
    table = uriel.distances([language, *names])[0, 1:]
    means = np.nanmean(table, axis=1)  # genetic and geographic are recorded for all
    values = dict(zip(names, means.tolist(), strict=True))
    others = means[[name != language for name in names]]
    values |= dict.fromkeys(unknown, float(others.mean()) if len(others) else 1.0)
    notes = (f"URIEL+ does not know {', '.join(unknown)}: taken to be as far as the others on average.",)
    return LanguageDistances(values, "URIEL+", notes if unknown else ())


def transfer_features(
    language: str, own: Sequence[str], pool: Pool
) -> np.ndarray[
    tuple[
        int,
        int,
    ],
    np.dtype[np.float64],
]:
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
