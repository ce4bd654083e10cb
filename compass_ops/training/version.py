"""The adapter version folder: what may be in it, the digest that names its adapter, and its manifest.

Needs no torch: a training machine, the registry and a server share it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compass_ops.errors import ModelError
from compass_ops.storage import file_digest, file_digests, read_json, value_digest, write_json

SCHEMA = 1
MANIFEST = "manifest.json"
MLMODEL = "MLmodel"  # JSON under the name that MLflow looks for; written when a version is registered
CONFIG, WEIGHTS = "adapter/adapter_config.json", "adapter/adapter_model.safetensors"

# Where a base lies on one machine says nothing about the adapter.
PLACES = frozenset({"base_model_name_or_path", "revision", "parent_library", "auto_mapping"})
# MLflow writes it into the folder of a model that it loads, which may be the registry's own: name and number, no file
# of the version, and nothing here reads it.
MLFLOW_TRACE = "registered_model_meta"
# Formats that cannot carry code.
_SAFE = frozenset({".csv", ".html", ".json", ".npy", ".parquet", ".safetensors"})


@dataclass(frozen=True)
class Origin:
    """Where a version comes from: the fields of its manifest that are not computed from its files.

    Attributes
    ----------
    language : str
        BCP-47 tag.
    base, embedder : mapping
        ``{"id", "revision", "digest"}`` as loaded; of the embedder also ``"prefix"``, which it puts before each text.
    parent : str or None
        Digest of the adapter it was continued from.
    window : str or None
        Traffic window it was updated for.
    window_digest : str or None
        SHA-256 of that window's rows, since another window may bear the name one day.
    subset_digest : str
        SHA-256 of the rows it was trained on.
    text : mapping
        ``{"separator", "max_tokens"}``: how texts were given to the model in training, and are to be in serving.
    """

    language: str
    base: Mapping[str, str | None]
    embedder: Mapping[str, str | None]
    parent: str | None
    window: str | None
    subset_digest: str
    text: Mapping[str, object]
    window_digest: str | None = None


def adapter_digest(folder: Path) -> str:
    """Return the digest that names a version folder's adapter: SHA-256 over weights and config without places."""
    config = {key: value for key, value in read_json(folder / CONFIG).items() if key not in PLACES}
    return value_digest({"weights": file_digest(folder / WEIGHTS), "config": config})


def write_manifest(folder: Path, origin: Origin) -> dict[str, Any]:
    """Write ``manifest.json`` of a finished version folder and return it.

    Raises
    ------
    ModelError
        If the folder holds something that no version may hold.
    """
    pinned = ("id", "revision", "digest")
    manifest: dict[str, Any] = {
        "schema": SCHEMA,
        "language": origin.language,
        "digest": adapter_digest(folder),
        "base": {key: origin.base[key] for key in pinned},
        "embedder": {key: origin.embedder[key] for key in (*pinned, "prefix")},
        "parent": origin.parent,
        "window": origin.window,
        "subset_digest": origin.subset_digest,
        "text": {key: origin.text[key] for key in ("separator", "max_tokens")},
        "git_commit": None,
        "files": version_files(folder),
    }
    if origin.window_digest is not None:
        manifest["window_digest"] = origin.window_digest
    write_json(folder / MANIFEST, manifest)
    return manifest


def text_separator(folder: Path, manifest: Mapping[str, Any]) -> str:
    """Return the text between prompt and answer in training; ``ModelError`` if the manifest does not say it."""
    if "text" not in manifest:
        raise ModelError(
            f"{folder / MANIFEST}: does not say how prompts were given to the model (text.separator), so it cannot be "
            "served. Run `dvc repro` to train and register it again."
        )
    return str(manifest["text"]["separator"])


def version_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of a version folder, by relative path.

    The manifest, which lists them, and what MLflow leaves there when it loads are left out.

    Raises
    ------
    ModelError
        Naming a symbolic link, or a file of a format that can carry code.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            raise ModelError(f"{folder}: {name} is a symbolic link. A version holds plain files only.")
        if path.is_file() and path.suffix not in _SAFE and name not in (MLMODEL, MLFLOW_TRACE):
            raise ModelError(
                f"{folder}: {name} does not belong in a version. Only {', '.join(sorted(_SAFE))} files may be in it, "
                "because other formats can carry code."
            )
    return {name: digest for name, digest in file_digests(folder).items() if name not in (MANIFEST, MLFLOW_TRACE)}
