"""From sources to clean records by role and language: checked, freed of what the tests hold, divided."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from compass_ops.corpus import decontaminate as match
from compass_ops.corpus.collect import REJECT_SCHEMA, Collected, Group, collect, reject, rows_of
from compass_ops.corpus.fields import MappedRow
from compass_ops.corpus.languages import language_tag
from compass_ops.corpus.records import COLUMNS, SCHEMA
from compass_ops.errors import CompassError, ParamsError, SourceError
from compass_ops.storage import fresh_folder, write_json, write_table

HELD_ROLES = ("target", "test")
TRAINING_ROLES = ("own", "auxiliary", "pretrain")
NEEDED_ROLES = ("target", "own", "dev", "gate")
REMOVALS = ("same question", "near duplicate", "translation", "repeated")


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """Settings of the stage.

    Attributes
    ----------
    languages : tuple of str
        The target languages, canonical tags.
    dev_share : float
        Share of the test rows that becomes ``dev``, in (0, 1); the rest becomes ``gate``.
    near_duplicates : float or None
        Jaccard similarity of character 5-grams, in (0, 1], from which a training row is removed; None keeps all.
    keep_translations : bool
        Keep training rows with the parallel id of a target or test row, for data sets made of translations.
    """

    languages: tuple[str, ...]
    dev_share: float
    near_duplicates: float | None
    keep_translations: bool


@dataclass(frozen=True, slots=True)
class Corpus:
    """The stage's result, in the form of the files that ``write_corpus`` writes."""

    tables: Mapping[Group, pa.Table]
    rejects: pa.Table
    languages: Mapping[str, Any]
    summary: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Held:
    """The rows that training must not see: their texts, parallel ids and names, and those of each language."""

    index: match.QuestionIndex
    parallel: list[str | None]
    names: list[str]
    by_language: Mapping[str, tuple[match.Questions, list[str]]]


def ingest(sources: Mapping[str, Iterable[MappedRow]], settings: IngestSettings) -> Corpus:
    """Make the corpus.

    Every row read ends in a table, in the rejects (with its reason), or is counted as left out by ``where``.

    Parameters
    ----------
    sources : mapping of name to mapped rows
        See ``fields.mapped_rows``.
    settings : IngestSettings

    Raises
    ------
    ParamsError
        If a target language is no canonical tag.
    SourceError
        If a source cannot be read.
    """
    _check_targets(settings.languages)
    collected = collect(sources, settings.languages)
    held = _held(collected.tables)
    tables: dict[Group, pa.Table] = {}
    removed: Counter[tuple[str, str]] = Counter()
    for (role, language), table in tqdm(collected.tables.items(), desc="clean", unit="table", disable=None):
        reasons = _reasons(table, role, held, settings)
        clean, rejects = _without(table, reasons)
        tables |= _divided(clean, language, settings.dev_share) if role == "test" else {(role, language): clean}
        collected.rejects += rejects
        removed.update((kind, role) for kind, _ in reasons.values())
    tables = {group: table.select(COLUMNS) for group, table in sorted(tables.items()) if len(table)}
    return Corpus(
        tables=tables,
        rejects=pa.Table.from_pylist(collected.rejects, schema=REJECT_SCHEMA),
        languages={language: _standing(language, tables, collected) for language in settings.languages},
        summary=_summary(tables, collected, removed),
    )


def write_corpus(corpus: Corpus, out: Path) -> None:
    """Write ``<role>/<language>.parquet``, ``rejects.parquet``, ``languages.json`` and ``summary.json``.

    Raises
    ------
    StorageError
        If the disk fails; what was in ``out`` stays.
    SourceError
        After writing, if no target language has all it needs, or there is no auxiliary row.
    """
    with fresh_folder(out) as aside:
        for (role, language), table in corpus.tables.items():
            write_table(aside / role / f"{language}.parquet", table)
        write_table(aside / "rejects.parquet", corpus.rejects)
        write_json(aside / "languages.json", corpus.languages)
        write_json(aside / "summary.json", corpus.summary)
    if all(standing["status"] == "failed" for standing in corpus.languages.values()):
        reasons = "\n".join(f"  {language}: {one['reason']}" for language, one in corpus.languages.items())
        raise SourceError(
            f"no target language can go on:\n{reasons}\nCorrect ingest.sources; {out}/rejects.parquet has every "
            "rejected row with its reason."
        )
    if not any(role == "auxiliary" for role, _ in corpus.tables):
        raise SourceError(
            f"no auxiliary row is left: there is nothing to choose from. Correct ingest.sources; {out}/rejects.parquet "
            "has every rejected row with its reason."
        )


def _check_targets(languages: Sequence[str]) -> None:
    faults = []
    for language in languages:
        try:
            tag = language_tag(language)
        except CompassError as error:
            faults.append(f"languages: {error}")
            continue
        if tag != language:
            faults.append(f"languages: {language!r} must be in canonical form. Write {tag!r}.")
    faults += [f"languages: {tag!r} stands there twice." for tag, count in Counter(languages).items() if count > 1]
    if faults:
        raise ParamsError("\n".join(faults))


def _questions(table: pa.Table) -> match.Questions:
    return match.Questions.of(table["prompt"].to_pylist(), table["choices"].to_pylist())


def _held(tables: Mapping[Group, pa.Table]) -> _Held:
    everything = match.Questions([], [])
    parallel: list[str | None] = []
    names: list[str] = []
    by_language: dict[str, tuple[match.Questions, list[str]]] = {}
    for (role, language), table in tables.items():
        if role not in HELD_ROLES:
            continue
        questions = _questions(table)
        named = [f"{role} row {identity!r} ({language})" for identity in table["id"].to_pylist()]
        same, same_names = by_language.setdefault(language, (match.Questions([], []), []))
        for together in (everything, same):
            together.stems.extend(questions.stems)
            together.choices.extend(questions.choices)
        names += named
        same_names += named
        parallel += table["parallel_id"].to_pylist()
    return _Held(match.index_questions(everything), parallel, names, by_language)


def _reasons(table: pa.Table, role: str, held: _Held, settings: IngestSettings) -> dict[int, tuple[str, str]]:
    """Return the rows that do not stay, each with a kind and a sentence; what is asked stays as often as it is asked.

    Repeats of a test would let what chooses, in one half, see what decides, in the other.
    """
    if role == "target":
        return {}
    questions, language = _questions(table), table["language"][0].as_py()
    reasons: dict[int, tuple[str, str]] = {}

    def remove(kind: str, sentence: str, found: match.Places, names: Sequence[str]) -> None:
        for place in np.flatnonzero(found >= 0).tolist():
            reasons.setdefault(place, (kind, f"{sentence} {names[found[place]]}"))

    if role != "test":
        remove("same question", "asks the same as", match.exact_matches(questions, held.index), held.names)
        if not settings.keep_translations:
            found = match.translation_matches(table["parallel_id"].to_pylist(), held.parallel)
            remove("translation", "has the parallel id of", found, held.names)
        if settings.near_duplicates is not None and language in held.by_language:
            same, names = held.by_language[language]
            found = match.near_matches(questions, same, settings.near_duplicates)
            remove("near duplicate", f"shares {settings.near_duplicates:g} or more of the 5-grams with", found, names)
    if role != "pretrain":
        ids = [f"row {identity!r} of the same role" for identity in table["id"].to_pylist()]
        remove("repeated", "repeats", match.repeats(questions, table["completion"].to_pylist()), ids)
    return reasons


def _without(table: pa.Table, reasons: Mapping[int, tuple[str, str]]) -> tuple[pa.Table, list[dict[str, Any]]]:
    """Return a table without the rows that there are reasons against, and these as rejects."""
    places = sorted(reasons)
    kept = np.ones(len(table), dtype=bool)
    kept[places] = False
    rejects = [reject(*reasons[place], row) for place, row in zip(places, rows_of(table, places), strict=True)]
    return table.filter(pa.array(kept)), rejects


def _divided(table: pa.Table, language: str, dev_share: float) -> dict[Group, pa.Table]:
    """Divide test rows by the hash of their parallel id: a parallel item is on one side in every language."""
    keys = [
        parallel if parallel is not None else identity
        for parallel, identity in zip(table["parallel_id"].to_pylist(), table["id"].to_pylist(), strict=True)
    ]
    is_dev = np.array([_fraction(key) < dev_share for key in keys], dtype=bool)
    halves = {}
    for role, mask in (("dev", is_dev), ("gate", ~is_dev)):
        half = table.filter(pa.array(mask))
        roles = pa.array([role] * len(half), pa.string())
        halves[role, language] = half.set_column(COLUMNS.index("role"), SCHEMA.field("role"), roles)
    return halves


def _fraction(key: str) -> float:
    """Return a number in [0, 1) that depends on the key alone."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:6], "big") / 2**48


def _standing(
    language: str,
    tables: Mapping[Group, pa.Table],
    collected: Collected,
) -> dict[str, Any]:
    """Whether a target language has the rows that it needs, and if not why."""
    rows = {role: len(table) for (role, tag), table in tables.items() if tag == language}
    missing = [role for role in NEEDED_ROLES if not rows.get(role)]
    if not missing:
        return {"status": "ok", "reason": None, "rows": rows}
    rejected = Counter(one["role"] for one in collected.rejects if one["language"] == language)
    test_rows = len(collected.tables.get(("test", language), ()))
    faults = []
    for role in missing:
        if role in ("dev", "gate") and test_rows:
            faults.append(f"no {role} rows, because {test_rows} test rows are too few to divide")
        elif role != "gate":
            named = "test" if role == "dev" else role
            lost = f" ({rejected[named]} were rejected, see rejects.parquet)" if rejected[named] else ""
            faults.append(f"no {named} rows{lost}")
    kin = sorted({tag for _, tag in tables if tag.split("-")[0] == language.split("-")[0]} - {language})
    kin += sorted(
        {
            one["language"]
            for one in collected.rejects
            if one["language"]
            and one["language"] not in (language, *kin)
            and one["language"].split("-")[0] == language.split("-")[0]
        }
    )
    hint = f" There are rows of {', '.join(kin)}: write the tag the same in both places." if kin else ""
    return {"status": "failed", "reason": f"{'; '.join(faults)}. Add them to a source.{hint}", "rows": rows}


def _summary(
    tables: Mapping[Group, pa.Table], collected: Collected, removed: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    kept: dict[str, dict[str, int]] = {}
    for (role, _), table in tables.items():
        counts = kept.setdefault(role, {"rows": 0, "languages": 0})
        counts["rows"] += len(table)
        counts["languages"] += 1
    by_reason: dict[str, dict[str, int]] = {kind: dict.fromkeys(("test", *TRAINING_ROLES), 0) for kind in REMOVALS}
    for (kind, role), count in removed.items():
        by_reason[kind][role] += count
    total_removed = sum(removed.values())
    rows = {
        "read": collected.read,
        "left_out_by_where": collected.left_out,
        "rejected": len(collected.rejects) - total_removed,
        "removed": total_removed,
        "kept": sum(counts["rows"] for counts in kept.values()),
    }
    return {"rows": rows, "kept": kept, "removed": by_reason}
