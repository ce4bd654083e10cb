"""What training data must not share with the rows that an adapter is judged on: pure comparisons of texts.

Two questions are the same if their comparable texts (``comparable``) are, and, where both have choices, their sets
of choices too: "Which of these is true?" is another question with other choices.
"""

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

GRAM = 5
_CHUNK_CHARACTERS = 2_000_000
_CHUNK_ROWS = 2**16 - 1
_PAIRS = 4_000_000
_ROW_BITS = np.uint64(16)
_FACTOR = np.uint64(0x9E3779B97F4A7C15)

Places = np.ndarray[Any, np.dtype[np.int64]]


class _Squeeze(dict[int, str]):
    """Translation table: punctuation, separators and controls become a space, joiners and format marks nothing.

    Letters, marks (vowel signs!), numbers and symbols stay.
    """

    def __missing__(self, code: int) -> str:
        category = unicodedata.category(chr(code))
        kept = "" if category == "Cf" else " " if category[0] in "PZC" else chr(code)
        self[code] = kept
        return kept


_SQUEEZE = _Squeeze()


def comparable(text: str) -> str:
    """Return a text as it is compared: NFKC, case folded, runs of white space and punctuation as one space.

    A text of punctuation alone keeps it.
    """
    folded = text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()
    squeezed = " ".join(folded.translate(_SQUEEZE).split())
    return squeezed or folded.strip()


@dataclass(frozen=True, slots=True)
class Questions:
    """Comparable texts of rows: ``stems`` (prompts) and ``choices`` (the sorted choices as one text, or None)."""

    stems: list[str]
    choices: list[str | None]

    @classmethod
    def of(cls, prompts: Sequence[str], choices: Sequence[Sequence[str] | None]) -> "Questions":
        """Make the comparable texts of prompts and their choices."""
        seen: dict[tuple[str, ...], str] = {}
        joined: list[str | None] = []
        for options in choices:
            if options is None:
                joined.append(None)
                continue
            key = tuple(options)
            if key not in seen:
                seen[key] = "\x1f".join(sorted(comparable(option) for option in options))
            joined.append(seen[key])
        return cls([comparable(prompt) for prompt in prompts], joined)

    def __len__(self) -> int:
        return len(self.stems)


@dataclass(frozen=True, slots=True)
class QuestionIndex:
    """First place of every held question: by stem, by stem of those without choices, by stem and choices."""

    stems: Mapping[str, int]
    without: Mapping[str, int]
    same: Mapping[tuple[str, str], int]


def index_questions(held: Questions) -> QuestionIndex:
    """Index held questions for ``exact_matches``."""
    stems: dict[str, int] = {}
    without: dict[str, int] = {}
    same: dict[tuple[str, str], int] = {}
    for place, (stem, choices) in enumerate(zip(held.stems, held.choices, strict=True)):
        stems.setdefault(stem, place)
        if choices is None:
            without.setdefault(stem, place)
        else:
            same.setdefault((stem, choices), place)
    return QuestionIndex(stems, without, same)


def exact_matches(rows: Questions, held: QuestionIndex) -> Places:
    """Return int64 (n_rows,): a held question that is the same as the row's, or -1."""
    found = np.full(len(rows), -1, dtype=np.int64)
    for place, (stem, choices) in enumerate(zip(rows.stems, rows.choices, strict=True)):
        if stem in held.stems:
            without = held.without.get(stem, -1)
            found[place] = held.stems[stem] if choices is None else held.same.get((stem, choices), without)
    return found


def near_matches(rows: Questions, held: Questions, threshold: float) -> Places:
    """Return int64 (n_rows,): a held question that the row nearly repeats, or -1.

    Near means a Jaccard similarity of the sets of character 5-grams of at least ``threshold`` in (0, 1]: of stems
    with choices where both have choices, otherwise of stems.
    """
    row_has = np.array([choices is not None for choices in rows.choices], dtype=bool)
    held_has = np.array([choices is not None for choices in held.choices], dtype=bool)
    found = np.full(len(rows), -1, dtype=np.int64)
    for row_mask, held_mask, full in (
        (row_has, held_has, True),
        (row_has, ~held_has, False),
        (~row_has, None, False),
    ):
        row_places = np.flatnonzero(row_mask & (found < 0))
        held_places = np.arange(len(held)) if held_mask is None else np.flatnonzero(held_mask)
        matches = near_duplicates(_texts(rows, row_places, full), _texts(held, held_places, full), threshold)
        hit = matches >= 0
        found[row_places[hit]] = held_places[matches[hit]]
    return found


def _texts(questions: Questions, places: Places, full: bool) -> list[str]:
    if full:
        return [f"{questions.stems[place]} {questions.choices[place]}" for place in places]
    return [questions.stems[place] for place in places]


def repeats(rows: Questions, completions: Sequence[str]) -> Places:
    """Return int64 (n_rows,): the earlier row with the same question and comparable completion, or -1 if none."""
    first: dict[tuple[str, str | None, str], int] = {}
    found = np.full(len(rows), -1, dtype=np.int64)
    for place, (stem, choices, completion) in enumerate(zip(rows.stems, rows.choices, completions, strict=True)):
        earlier = first.setdefault((stem, choices, comparable(completion)), place)
        if earlier != place:
            found[place] = earlier
    return found


def translation_matches(rows: Sequence[str | None], held: Sequence[str | None]) -> Places:
    """Return int64 (n_rows,): the first held row with the row's parallel id, or -1."""
    places: dict[str, int] = {}
    for place, parallel in enumerate(held):
        if parallel is not None:
            places.setdefault(parallel, place)
    return np.array([-1 if parallel is None else places.get(parallel, -1) for parallel in rows], dtype=np.int64)


def near_duplicates(rows: Sequence[str], held: Sequence[str], threshold: float) -> Places:
    """Find the rows that nearly repeat a held text.

    Similarity is |A & B| / |A | B| of the sets of character 5-grams (a text is padded with a space at both ends,
    and to five characters). Exact, but for 5-grams that share a 48-bit hash. Memory is bounded by chunks of rows.

    Parameters
    ----------
    rows, held : sequences of str
        Comparable texts.
    threshold : float
        In (0, 1].

    Returns
    -------
    int64 array (n_rows,)
        Place of the most similar held text, the first among equals; -1 if none reaches the threshold.
    """
    found = np.full(len(rows), -1, dtype=np.int64)
    if not rows or not held:
        return found
    parts = [_gram_sets(held[start:end]) for start, end in _chunks(held)]
    vocabulary = np.unique(np.concatenate([grams for grams, _ in parts]))
    held_sizes = np.concatenate([np.diff(bounds) for _, bounds in parts])
    held_grams = sparse.vstack([_incidence(*part, vocabulary) for part in parts], format="csr")
    transposed = held_grams.T.tocsr()
    for start, end in _chunks(rows):
        grams, bounds = _gram_sets(rows[start:end])
        sizes = np.diff(bounds)
        incidence = _incidence(grams, bounds, vocabulary)
        # Similarity is at most the share of a row's 5-grams that stand in any held text: most rows end here.
        possible = np.flatnonzero(np.diff(incidence.indptr) >= threshold * sizes)
        step = max(1, _PAIRS // len(held))
        for block in (possible[place : place + step] for place in range(0, len(possible), step)):
            matches = _most_similar(incidence[block] @ transposed, sizes[block], held_sizes, threshold)
            found[start + block] = matches
    return found


def _most_similar(shared: Any, sizes: Places, held_sizes: Places, threshold: float) -> Places:
    """Row by row the held text of highest similarity, given the counts of shared 5-grams (CSR)."""
    owner = np.repeat(np.arange(shared.shape[0]), np.diff(shared.indptr))
    similarity = shared.data / (sizes[owner] + held_sizes[shared.indices] - shared.data)
    hit = np.flatnonzero(similarity >= threshold)
    ranked = hit[np.lexsort((shared.indices[hit], -similarity[hit], owner[hit]))]
    owners, first = np.unique(owner[ranked], return_index=True)
    best = np.full(shared.shape[0], -1, dtype=np.int64)
    best[owners] = shared.indices[ranked[first]]
    return best


def _chunks(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    start = characters = 0
    for place, text in enumerate(texts):
        if place > start and (characters + len(text) > _CHUNK_CHARACTERS or place - start >= _CHUNK_ROWS):
            yield start, place
            start, characters = place, 0
        characters += len(text)
    yield start, len(texts)


def _gram_sets(texts: Sequence[str]) -> tuple[np.ndarray[Any, np.dtype[np.uint64]], Places]:
    """Return the sorted distinct 5-gram hashes (48 bits) of each text, end to end, and the bounds (n + 1,)."""
    padded = [f" {text} ".ljust(GRAM) for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    lengths = np.array([len(text) for text in padded], dtype=np.int64)
    owner = np.repeat(np.arange(len(texts), dtype=np.uint64), lengths)
    hashes = np.zeros(len(codes) - GRAM + 1, dtype=np.uint64)
    for offset in range(GRAM):
        hashes = (hashes + codes[offset : len(codes) - GRAM + 1 + offset] + np.uint64(1)) * _FACTOR
        hashes ^= hashes >> np.uint64(29)
    inside = owner[: len(hashes)] == owner[GRAM - 1 :]
    # The row's number above 48 bits of hash: one sort orders by row and by hash.
    keyed = (owner[: len(hashes)][inside] << np.uint64(48)) | (hashes[inside] >> _ROW_BITS)
    keyed.sort()
    keyed = keyed[np.concatenate([[True], keyed[1:] != keyed[:-1]])]
    bounds = np.searchsorted(keyed >> np.uint64(48), np.arange(len(texts) + 1, dtype=np.uint64))
    return keyed & np.uint64(2**48 - 1), bounds.astype(np.int64)


def _incidence(
    grams: np.ndarray[Any, np.dtype[np.uint64]], bounds: Places, vocabulary: np.ndarray[Any, np.dtype[np.uint64]]
) -> Any:
    """CSR int32 (n_texts, n_vocabulary): 1 where a text has the 5-gram; 5-grams outside are left out."""
    places = np.searchsorted(vocabulary, grams)
    known = vocabulary[np.minimum(places, len(vocabulary) - 1)] == grams
    counts = np.concatenate([[0], np.cumsum(known)])[bounds]
    columns = places[known].astype(np.int32)
    shape = (len(bounds) - 1, len(vocabulary))
    return sparse.csr_array((np.ones(len(columns), dtype=np.int32), columns, counts.astype(np.int32)), shape=shape)
