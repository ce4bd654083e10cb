"""Stage sample: the files of earlier stages as problems of choice, and each language's subset and plan."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.errors import DataFault, ModelError, StorageError
from compass_ops.selection.centring import Means
from compass_ops.selection.choose import Rows, choose, items_of, plan_record, pool_of, with_reasons
from compass_ops.selection.distances import TRANSFER_FEATURES, distances_needed, language_distances
from compass_ops.selection.langrank import TransferMatrix, matrix_from_json
from compass_ops.selection.problem import Held, Pool, Problem
from compass_ops.selection.vectors import (
    MEANS_FILE,
    embed_fault,
    read_means,
    read_pool_vectors,
    read_vectors,
    vectors_file,
)
from compass_ops.selection_sections import SampleParams
from compass_ops.storage import (
    read_array,
    read_json,
    read_table,
    tree_digest,
    value_digest,
    write_json,
    write_table,
)

_NEEDED = ("target", "own", "dev", "gate")
Costs = Callable[[pa.Table], NDArray[np.int64]]
_MEASURE = (
    "Name the matrix.json of the stage transfer of benchmarks/selection, run with a variant langrank, or choose "
    "another sample.strategy."
)


def row_costs(table: pa.Table) -> NDArray[np.int64]:
    """Return int64 (n,): each row costs 1."""
    return np.ones(table.num_rows, np.int64)


@dataclass(frozen=True)
class SelectionFiles:
    """What the stages before left.

    Attributes
    ----------
    records, vectors, clusters : Path
        Folders of the stages ingest, embed and cluster.
    costs : callable, table of n records -> int64 (n,)
        What each row takes of a budget.
    """

    records: Path
    vectors: Path
    clusters: Path
    costs: Costs = row_costs

    def rows(self, role: str, language: str) -> Rows:
        """Return a language's records of a role with their clusters."""
        table = read_table(self.records / role / f"{language}.parquet")
        return Rows(table, read_array(self.clusters / "assignments" / role / f"{language}.npy"))

    @cached_property
    def means(self) -> Means:
        """The languages' means, that vectors are seen without."""
        return read_means(self.vectors)

    @cached_property
    def pool(self) -> tuple[pa.Table, Pool]:
        """The auxiliary rows of all languages: records, and what a strategy sees of them."""
        names = sorted(file.stem for file in (self.records / "auxiliary").glob("*.parquet"))
        parts = [self.rows("auxiliary", name) for name in names]
        joined = Rows(pa.concat_tables([p.table for p in parts]), np.concatenate([p.clusters for p in parts]))
        vectors, _ = read_pool_vectors(self.vectors, names, self.means)
        return joined.table, pool_of(joined, vectors, self.costs(joined.table))

    @cached_property
    def pool_digests(self) -> list[str]:
        """The digests of what all languages choose from."""
        shared = [self.records / "auxiliary", self.vectors / "auxiliary", self.clusters / "assignments" / "auxiliary"]
        return _digests([*shared, self.vectors / MEANS_FILE, self.clusters / "health.json"])

    def problem(self, language: str, settings: SampleParams) -> Problem:
        """Return a language's problem of choice; ``DataFault`` if ingest or embed left the language out."""
        fault = self._fault(language)
        if fault is not None:
            raise DataFault(language, fault)
        target, own = self.rows("target", language), self.rows("own", language)
        vectors = read_vectors(self.vectors, "target", language, self.means)
        held = Held(own.clusters, own.table.column("prompt").to_pylist(), self.costs(own.table))
        count = len(read_array(self.clusters / "centroids.npy", mapped=True))
        asked = items_of(target, vectors)
        problem = Problem(language, asked, held, self.pool[1], count, settings.budget_of(language))
        return with_distances(problem, settings)

    def _fault(self, language: str) -> str | None:
        """Return why ingest left the language out, or embed one of its roles; an adapter needs all of them."""
        state = read_json(self.records / "languages.json")[language]
        if state["status"] == "failed":
            return str(state["reason"])
        return next(filter(None, (embed_fault(self.vectors, role, language) for role in _NEEDED)), None)

    def digest(self, language: str, settings: SampleParams) -> str:
        """Digest everything that a language's choice, or its failure, depends on but the seed and the costs."""
        private = [
            path
            for role in ("target", "own")
            for path in (
                self.records / role / f"{language}.parquet",
                vectors_file(self.vectors, role, language),
                self.clusters / "assignments" / role / f"{language}.npy",
            )
        ]
        files = [*self.pool_digests, *_digests(private)]
        parts = settings.model_dump(exclude={"overrides", "budget", "transfer_matrix"})
        state = "ok" if self._fault(language) is None else "failed"
        return value_digest([state, files, matrix_digest(settings), parts, settings.budget_of(language)])


def _digests(paths: Sequence[Path]) -> list[str]:
    return [tree_digest(path) if path.exists() else "none" for path in paths]


def with_distances(problem: Problem, settings: SampleParams) -> Problem:
    """Return the problem with the distances between languages that its strategy needs, if any."""
    kind = distances_needed(settings)
    if kind is None:
        return problem
    own = [*problem.target.texts, *problem.own.texts]
    matrix = _matrix(settings)
    return replace(problem, distances=language_distances(kind, problem.language, own, problem.pool, matrix))


def _matrix(settings: SampleParams) -> TransferMatrix | None:
    """Read the transfer matrix, if the strategy is trained on one; ``ModelError`` if the file holds none."""
    file = _matrix_file(settings)
    if file is None:
        return None
    try:
        return matrix_from_json(read_json(file), TRANSFER_FEATURES)
    except (StorageError, ValueError) as error:  # null too: benchmarks/selection measures none without a langrank
        raise ModelError(
            f"sample.transfer_matrix: {file}: holds no transfer matrix, which strategy langrank learns from: "
            f"{str(error).rstrip('.')}. {_MEASURE}"
        ) from error


def matrix_digest(settings: SampleParams) -> str | None:
    """Digest the transfer matrix, if the strategy is trained on one."""
    file = _matrix_file(settings)
    return None if file is None else tree_digest(file)


def _matrix_file(settings: SampleParams) -> Path | None:
    """Return where the transfer matrix lies, if the strategy is trained on one; ``ModelError`` if nothing is there."""
    if settings.strategy != "langrank" or settings.transfer_matrix is None:
        return None
    file = Path(settings.transfer_matrix)
    if not file.is_file():
        raise ModelError(f"sample.transfer_matrix: expected the file of a transfer matrix, {file} is none. {_MEASURE}")
    return file


def write_subset(
    files: SelectionFiles, language: str, settings: SampleParams, rng: np.random.Generator, folder: Path
) -> None:
    """Choose for one language and write ``subset.parquet`` (its own rows, then the chosen ones) and ``plan.json``."""
    problem, own = files.problem(language, settings), files.rows("own", language)
    chosen, plan = choose(settings, problem, files.pool[0], rng)
    subset = pa.concat_tables([with_reasons(own, ["own data"] * len(own.clusters)), chosen])
    write_table(folder / "subset.parquet", subset)
    record = plan_record(settings, problem, plan)
    record["notes"] += read_json(files.clusters / "health.json")["warnings"]
    write_json(folder / "plan.json", record)
