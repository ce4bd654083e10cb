"""Real prompts as streams of rows: vectors, scripts and topics, one stream per data set and language.

Vectors are TF-IDF of character n-grams (hashed, any script), projected by the leading singular vectors. Projection and
centroids are fitted on NTREX-128, news sentences of the same language. What is compared is from MultiQ, SIB-200 and
EXAMS, of which nothing is fitted but what the test itself puts aside.
"""

import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer

from compass_ops.corpus.traits import text_traits
from compass_ops.seeding import generator
from compass_ops.selection.cluster import fit_centroids
from compass_ops.selection_sections import KMeansParams
from compass_ops.storage import read_array, read_json, write_array, write_json

LANGUAGES = [
    "am-Ethi", "ar-Arab", "bn-Beng", "el-Grek", "hi-Deva", "ja-Jpan",
    "ka-Geor", "ru-Cyrl", "sw-Latn", "th-Thai", "tr-Latn", "yo-Latn",
]  # fmt: skip
COMPARED = ("multiq", "sib200", "exams")
DATASETS = (*COMPARED, "ntrex128")  # all that is read
FOREIGN = "en-Latn"  # what strays into a window under a language mix; its projection serves all further languages
CLUSTERS = (30, 100)  # ours, and the paper's
DIMENSIONS = 128

Embed = Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Stream:
    """All rows of one language of one data set: float32 (n, d), str (n,), str (n,)."""

    language: str
    vectors: NDArray[np.float32]
    scripts: NDArray[np.str_]
    topics: NDArray[np.str_]


@dataclass(frozen=True)
class World:
    """Streams by data set and language; stray rows and centroids (by their number) by the language they are seen as."""

    streams: dict[str, dict[str, Stream]]
    strays: dict[str, Stream]
    centroids: dict[str, dict[int, NDArray[np.float32]]]

    def centroids_of(self, language: str, number: int) -> NDArray[np.float32]:
        """Return the centroids of a language's projection."""
        return self.centroids[language if language in self.centroids else FOREIGN][number]


def load(data: Path, cache: Path) -> World:
    """Embed everything once; a second call reads what the first one left in ``cache``."""
    if not (cache / "index.json").exists():
        _embed(data, cache)
    index = read_json(cache / "index.json")
    seen_as = [*LANGUAGES, FOREIGN]
    return World(
        {name: {own: _read(cache / name, own) for own in languages} for name, languages in index.items()},
        {own: _read(cache / "strays", own) for own in seen_as},
        {own: {k: read_array(cache / f"centroids-{own}-{k}.npy") for k in CLUSTERS} for own in seen_as},
    )


def records(data: Path, dataset: str, language: str) -> list[dict[str, str]]:
    """Read all splits of one language of a data set."""
    rows = []
    for file in sorted((data / dataset).glob(f"{language}.*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    return rows


def languages_of(data: Path, dataset: str) -> list[str]:
    """Return the languages of a data set."""
    return sorted({file.name.partition(".")[0] for file in (data / dataset).glob("*.jsonl.gz")})


def _embed(data: Path, cache: Path) -> None:
    """Fit on NTREX-128, embed the others."""
    views: dict[str, Embed] = {}
    strays = records(data, "sib200", FOREIGN)
    for language in [*LANGUAGES, FOREIGN]:
        news = [row["prompt"] for row in records(data, "ntrex128", language)]
        view = views[language] = _projection(news)
        for number in CLUSTERS:
            k_means = KMeansParams(kind="kmeans", clusters=number, fit_rows=20_000)
            rng = generator(0, "benchmark", "centroids", language, str(number))
            write_array(cache / f"centroids-{language}-{number}.npy", fit_centroids(view(news), k_means, rng))
        _write(cache / "strays", language, strays, view)
    index = {name: languages_of(data, name) for name in COMPARED}
    for dataset, languages in index.items():
        for language in languages:
            rows = records(data, dataset, language)
            _write(cache / dataset, language, rows, views.get(language, views[FOREIGN]))
    write_json(cache / "index.json", index)


def _projection(texts: Sequence[str]) -> Embed:
    """Fit inverse document frequencies and singular vectors; return texts -> unit rows."""
    hashed = HashingVectorizer(
        analyzer="char_wb", ngram_range=(2, 4), n_features=2**16, norm=None, alternate_sign=False
    )
    weights = TfidfTransformer(sublinear_tf=True).fit(hashed.transform(texts))
    leading = TruncatedSVD(DIMENSIONS, random_state=0).fit(weights.transform(hashed.transform(texts)))

    def embed(others: Sequence[str]) -> NDArray[np.float32]:
        vectors = leading.transform(weights.transform(hashed.transform(others)))
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return np.asarray(unit, dtype=np.float32)

    return embed


def _write(folder: Path, language: str, rows: Sequence[dict[str, str]], embed: Embed) -> None:
    texts = [row["prompt"] for row in rows]
    write_array(folder / f"{language}.npy", embed(texts))
    scripts = text_traits(texts).column("script").to_pylist()
    write_json(folder / f"{language}.json", {"scripts": scripts, "topics": [row["topic"] or "none" for row in rows]})


def _read(folder: Path, language: str) -> Stream:
    told = read_json(folder / f"{language}.json")
    vectors = read_array(folder / f"{language}.npy")
    return Stream(language, vectors, np.array(told["scripts"]), np.array(told["topics"]))
