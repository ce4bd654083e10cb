"""One language's window beside the reference of its Production version: what is judged, and what is shown of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.errors import DataFault
from compass_ops.monitoring.adoption import Named, is_among, window_name_of
from compass_ops.monitoring.drift import Compared, DriftSettings, Histograms, is_enough, moved_clusters
from compass_ops.monitoring.evidence import Evidence, described
from compass_ops.monitoring.labels import labelled, with_groups
from compass_ops.monitoring.measures import Sample, comparable, fit_lens, measure
from compass_ops.monitoring.verdict import Judged
from compass_ops.monitoring.windows import Embedding, read_window
from compass_ops.seeding import generator
from compass_ops.selection.centring import centred
from compass_ops.selection.cluster import assign
from compass_ops.selection.vectors import read_means
from compass_ops.storage import read_array, read_table, tree_digest

REFERENCE_FILES = ("centroids.npy", "fitting.npy", "vectors.npy", "rows.parquet")
_LONGEST_EXAMPLE = 160


@dataclass(frozen=True)
class Watched:
    """What all languages' comparisons share: settings, example prompts per moved cluster, the project's seed."""

    drift: DriftSettings
    examples: int
    seed: int


@dataclass(frozen=True)
class Seen:
    """One language's window beside the reference.

    Attributes
    ----------
    clusters : int32 (n,)
        The window's, under Production's centroids.
    feedback : pyarrow.Table
        Its labelled rows: ``prompt``, ``completion``, ``session``, ``cluster`` and ``group``, equal for rows of one
        session.
    earlier : tuple of Path
        Files of the windows before it that came after the one that Production was made for, oldest first.
    since : int or None
        Windows from the one that Production was made for to this one; None if it was made for none of those there are.
    adopted : bool
        Whether a version was updated for it.
    """

    judged: Judged
    folder: Path
    compared: Compared
    evidence: Evidence
    clusters: NDArray[np.int32]
    feedback: pa.Table
    earlier: tuple[Path, ...]
    since: int | None
    adopted: bool


@dataclass(frozen=True)
class Production:
    """A language's Production version: the registry's entry, its folder and manifest."""

    language: str
    folder: Path
    entry: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The version's name in the registry."""
        return str(self.entry["production"]["version"])

    @property
    def _made_for(self) -> Named:
        return self.manifest["window"], self.manifest.get("window_digest")

    def has_adopted(self, window: Path) -> bool:
        """Tell whether this version, or one before it, was made for a window, given by its file."""
        rows = self.entry.get("adopted_rows", {})
        former = ((name, digest) for name in self.entry.get("adopted", []) for digest in rows.get(name, [None]))
        return is_among(window, [self._made_for, *former])

    def windows_after(self, files: Sequence[Path]) -> Sequence[Path]:
        """Return of windows' files, newest first, those after the one that the version was made for."""
        made = next((place for place, file in enumerate(files) if is_among(file, [self._made_for])), None)
        return files[:made]


def see(production: Production, files: Sequence[Path], embedding: Embedding, watched: Watched) -> list[Seen]:
    """Compare as many windows as must confirm a shift with the reference; the first adopted one ends the row.

    Parameters
    ----------
    files : sequence of Path
        Of all windows of the language, newest first.

    Raises
    ------
    DataFault
        If the version has no reference, or one of another embedder, or a window's vectors do not fit it.
    """
    language, folder = production.language, production.folder
    if production.manifest["embedder"]["digest"] != embedding.digest:
        raise DataFault(
            language,
            f"Production version {production.version} was made with embedder "
            f"{production.manifest['embedder']['digest']}, windows are now seen through {embedding.digest}: they "
            "cannot be compared. Restore the embedder (section base of params.yaml), or promote a version made with "
            "the new one.",
        )
    prefix = production.manifest["embedder"].get("prefix", embedding.prefix)  # versions made before do not say
    if prefix != embedding.prefix:
        raise DataFault(
            language,
            f"Production version {production.version} was made with embed.prefix {prefix!r}, it is "
            f"{embedding.prefix!r} now: windows cannot be compared with it. Set it back, or promote a version made "
            "with the new one.",
        )
    missing = [name for name in REFERENCE_FILES if not (folder / "reference" / name).exists()]
    if missing:
        raise DataFault(
            language,
            f"the Production version holds no reference ({', '.join(missing)}) to compare with. "
            "Promote a version trained by this project.",
        )
    found: list[Seen] = []
    for place in range(min(len(files), watched.drift.persistence)):
        found.append(_seen(production, files[place:], embedding, watched))
        if found[-1].adopted:
            break
    return found


def _seen(production: Production, files: Sequence[Path], embedding: Embedding, watched: Watched) -> Seen:
    """Compare the first of the windows; the others are those before it."""
    language, folder = production.language, production.folder / "reference"
    window = read_window(language, files[0], embedding)
    centroids, vectors = read_array(folder / "centroids.npy"), read_array(folder / "vectors.npy")
    rows = read_table(folder / "rows.parquet")
    if window.vectors.shape[1] != centroids.shape[1]:
        raise DataFault(
            language, f"its window has vectors of length {window.vectors.shape[1]}, its reference {centroids.shape[1]}."
        )
    asked = centred(window.vectors, read_means(folder), language)
    samples = (
        Sample(vectors, _scripts(rows), rows.column("session").to_numpy()),
        Sample(asked, _scripts(window.table), window.sessions()),
    )
    clusters = [assign(sample.vectors, centroids) for sample in samples]
    counts = [np.bincount(own, minlength=len(centroids)).astype(np.int64) for own in clusters]
    histograms = Histograms(counts[0], counts[1])
    adopted = production.has_adopted(files[0])
    judged = Judged(
        language=language,
        window=window.name,
        version=production.version,
        adapter_digest=production.manifest["digest"],
        reference_digest=tree_digest(folder),
        embedder_digest=embedding.digest,
    )
    compared = _compared(judged, samples, (folder, centroids), histograms, (watched, adopted))
    nearness = (asked * centroids[clusters[1]]).sum(axis=1)
    moved = moved_clusters(histograms, watched.drift.moved_clusters)
    examples = {
        move.cluster: _examples(
            window.table, np.where(clusters[1] == move.cluster, nearness, -np.inf), watched.examples
        )
        for move in moved
    }
    evidence = Evidence(histograms, moved, examples, described(rows, window.table), window.period())
    feedback = with_groups(labelled(window.table.append_column("cluster", pa.array(clusters[1]))))
    after = production.windows_after(files)
    since = None if len(after) == len(files) else int(window.name) - int(window_name_of(files[len(after)]))
    earlier = tuple(reversed(after[1:]))
    return Seen(judged, production.folder, compared, evidence, clusters[1], feedback, earlier, since, adopted)


def _compared(
    judged: Judged,
    samples: tuple[Sample, Sample],
    fitted: tuple[Path, NDArray[np.float32]],
    histograms: Histograms,
    how: tuple[Watched, bool],
) -> Compared:
    """Measure what is enough and not adopted."""
    reference, window = samples
    (folder, centroids), (watched, adopted) = fitted, how
    settings, seed, name = watched.drift, watched.seed, judged.language
    sessions = window.sessions, reference.sessions
    if adopted or not is_enough((len(window.blocks), len(reference.blocks)), sessions, settings):
        return Compared(histograms, sessions, None)
    if settings.correction != "fixed":  # which permutes nothing
        reference, window = comparable(*samples, generator(seed, "drift", "sessions", name, judged.window))
    rows = len(window.blocks), len(reference.blocks)
    shape = settings.random_features, settings.novelty_quantile
    lens = fit_lens(centroids, read_array(folder / "fitting.npy"), shape, generator(seed, "drift", "lens", name))
    rng = generator(seed, "drift", name, judged.window)
    return Compared(histograms, sessions, measure(reference, window, lens, settings.permutations, rng), rows)


def _scripts(table: pa.Table) -> NDArray[np.str_]:
    return np.array(table.column("script").to_pylist(), dtype=np.str_)


def _examples(table: pa.Table, nearness: NDArray[np.float32], count: int) -> list[str]:
    """Return a cluster's most typical prompts, each once; rows of others have a nearness of minus infinity."""
    prompts = table.column("prompt").to_pylist()
    typical = [prompts[row] for row in np.argsort(-nearness, kind="stable") if nearness[row] > -np.inf]
    return [_short(prompt) for prompt in list(dict.fromkeys(filter(None, typical)))[:count]]


def _short(prompt: str) -> str:
    return prompt if len(prompt) <= _LONGEST_EXAMPLE else f"{prompt[: _LONGEST_EXAMPLE - 1]}…"
