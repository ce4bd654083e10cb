"""What the stage embed leaves: vectors as the embedder gave them, and the languages' means to see them without.

A version keeps the means that it was made with, so that whatever is compared with it is seen in its own space.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from compass_ops.errors import DataFault, ModelError
from compass_ops.fanout import RECEIPT
from compass_ops.selection.centring import Means, centred
from compass_ops.storage import read_array, read_json, read_table, write_table

MEANS_FILE = "means.parquet"


def vectors_file(folder: Path, role: str, language: str) -> Path:
    """Return where the vectors of a role and language lie in the folder of the stage embed."""
    return folder / role / language / "vectors.npy"


def embedded_cells(folder: Path) -> list[tuple[str, str]]:
    """Return the roles and languages that have vectors, in order."""
    return sorted((file.parent.parent.name, file.parent.name) for file in folder.glob("*/*/vectors.npy"))


def embed_fault(folder: Path, role: str, language: str) -> str | None:
    """Return why a language's records of a role could not be embedded, if they could not."""
    receipt = folder / role / language / RECEIPT
    return str(read_json(receipt)["reason"]) if receipt.exists() else None


def read_vectors(folder: Path, role: str, language: str, means: Means) -> NDArray[np.float32]:
    """Read vectors float32 (n, d), without the language's mean.

    Raises
    ------
    DataFault
        If the embedder had none for some of the records.
    ModelError
        If one is not finite.
    """
    fault = embed_fault(folder, role, language)
    if fault is not None:
        raise DataFault(language, fault)
    file = vectors_file(folder, role, language)
    vectors = read_array(file)
    with np.errstate(invalid="ignore"):  # the sum of a row that is not finite is not either, and needs little memory
        bad = int((~np.isfinite(vectors.sum(axis=1))).sum())
    if bad:
        raise ModelError(
            f"{file}: {bad} of {len(vectors)} vectors of role {role}, language {language} are not finite, as the "
            "embedder left them. Run `dvc repro -f embed` to have them anew."
        )
    return centred(vectors, means, language)


def read_pool_vectors(
    folder: Path, languages: Sequence[str], means: Means
) -> tuple[NDArray[np.float32], NDArray[np.str_]]:
    """Read the auxiliary vectors of languages, at least one, into one array: all of them are in memory only once.

    Returns
    -------
    float32 (n, d)
        Without the languages' means.
    str (n,)
        The language of each row.

    Raises
    ------
    ModelError
        If a vector is not finite.
    """
    files = [read_array(vectors_file(folder, "auxiliary", name), mapped=True) for name in languages]
    rows, columns = [len(file) for file in files], files[0].shape[1]
    del files  # pages that stay mapped would count as memory
    joined, start = np.empty((sum(rows), columns), np.float32), 0
    for name, count in zip(languages, rows, strict=True):
        joined[start : start + count] = read_vectors(folder, "auxiliary", name, means)
        start += count
    return joined, np.repeat(languages, rows)


def write_means(folder: Path, means: Means) -> None:
    """Write means, of no language where vectors stay as they are."""
    values = pa.array([mean.tolist() for mean in means.values()], pa.list_(pa.float32()))
    write_table(folder / MEANS_FILE, pa.table({"language": pa.array(list(means), pa.string()), "mean": values}))


def read_means(folder: Path) -> dict[str, NDArray[np.float32]]:
    """Read means back; a folder without them was made of vectors as they are."""
    if not (folder / MEANS_FILE).exists():
        return {}
    table = read_table(folder / MEANS_FILE)
    means = (np.array(mean, np.float32) for mean in table["mean"].to_pylist())
    return dict(zip(table["language"].to_pylist(), means, strict=True))
