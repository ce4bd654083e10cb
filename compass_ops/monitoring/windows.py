"""A window's file read back: its rows and their vectors, whether or not the text was kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.corpus.traits import session_numbers
from compass_ops.errors import DataFault, NoVectorError
from compass_ops.storage import read_array, read_json, read_table

EMBEDDER_FILE = "embedder.json"  # of the vectors that were kept in place of text


@dataclass(frozen=True)
class Embedding:
    """The embedder that windows are seen through.

    Attributes
    ----------
    digest : str
    prefix : str
        That ``embed`` puts before each text.
    embed : texts -> float32 (n, d) unit rows
    """

    digest: str
    prefix: str
    embed: Callable[[Sequence[str]], NDArray[np.float32]]


@dataclass(frozen=True)
class Window:
    """One language's window.

    Attributes
    ----------
    name : str
    table : table of requests with their traits
    vectors : float32 (n, d), unit rows
    """

    name: str
    table: pa.Table
    vectors: NDArray[np.float32]

    def sessions(self) -> NDArray[np.int64]:
        """Return int64 (n,): equal for rows of one session."""
        return session_numbers(self.table.column("session").to_pylist())

    def period(self) -> str | None:
        """Return the times of the earliest and the latest request, in UTC to the minute; None if none is known."""
        times = self.table.column("time").to_pylist()
        known = [datetime.fromisoformat(time).astimezone(UTC) for time in times if time is not None]
        return f"{min(known):%Y-%m-%d %H:%M} to {max(known):%Y-%m-%d %H:%M} UTC" if known else None


def embedded(language: str, embedding: Embedding, prompts: Sequence[str], place: str) -> NDArray[np.float32]:
    """Embed prompts, float32 (n, d) unit rows; ``DataFault`` of the language, without text, if some have no vector."""
    try:
        return embedding.embed(prompts)
    except NoVectorError as error:
        raise _without_vector(language, place) from error


def vectors_to_keep(embedding: Embedding, prompts: Sequence[str]) -> NDArray[np.float32]:
    """Embed prompts, float32 (n, d) unit rows; one without a vector is not a number, and `read_window` says so."""
    try:
        return embedding.embed(prompts)
    except NoVectorError as error:
        return error.vectors


def read_window(language: str, file: Path, embedding: Embedding) -> Window:
    """Read ``<windows>/<name>/<language>.parquet``; without text, the vectors beside it.

    Raises
    ------
    DataFault
        If a prompt has no vector, or vectors were kept by another embedder or with another prefix.
    """
    table = read_table(file)
    kept = file.with_suffix(".npy")
    if kept.exists():
        told = read_json(file.parent.parent / EMBEDDER_FILE)
        digest, prefix = told["digest"], told.get("prefix", embedding.prefix)  # files of before do not say
        if (digest, prefix) != (embedding.digest, embedding.prefix):
            raise DataFault(
                language,
                f"window {file.parent.name} was kept as vectors of embedder {digest} with prefix {prefix!r}, windows "
                f"are now seen through {embedding.digest} with {embedding.prefix!r}: without text it cannot be seen "
                "anew. Restore the embedder and embed.prefix.",
            )
        vectors = read_array(kept)
    else:
        vectors = embedded(language, embedding, table.column("prompt").to_pylist(), f"window {file.parent.name}")
    if vectors.ndim != 2 or len(vectors) != table.num_rows:
        raise DataFault(
            language,
            f"the embedder gave vectors of shape {vectors.shape} for the {table.num_rows} prompts of window "
            f"{file.parent.name}.",
        )
    if not np.isfinite(vectors).all():
        raise _without_vector(language, f"window {file.parent.name}")
    return Window(file.parent.name, table, vectors)


def _without_vector(language: str, place: str) -> DataFault:
    return DataFault(
        language,
        f"the embedder has no vector for some prompts of {place}, such as those of characters that it does not "
        "know. Leave them out of the log, or choose another base.embedder.",
    )
