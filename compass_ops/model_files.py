"""Where a model's files are, and the digest that names them: a base or an embedder is pinned by its contents."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from compass_ops.errors import ModelError
from compass_ops.storage import file_digest, value_digest

# What decides a model's output: weights, configuration, tokenizer. Model cards and caches do not.
_DECISIVE = ("*.safetensors", "*.json", "*.model", "*.txt")
_HUB_FILES = [*_DECISIVE, "*/*.json", "*/*.safetensors"]


@dataclass(frozen=True)
class ModelEntry:
    """A model as ``base.json`` and manifests name it.

    Attributes
    ----------
    id : str
        Hub id, or the name of a folder or of the embedded recipe.
    revision : str or None
        Commit of the hub repository; None for a folder.
    path : str or None
        Folder, relative to the project root where it lies inside; None for a model in the hub's cache.
    digest : str
        SHA-256 over its decisive files.
    """

    id: str
    revision: str | None
    path: str | None
    digest: str

    def as_json(self) -> dict[str, str | None]:
        """Return the entry as a JSON object."""
        return asdict(self)


def entry_from(value: Mapping[str, str | None]) -> ModelEntry:
    """Read an entry back from JSON."""
    return ModelEntry(str(value["id"]), value["revision"], value["path"], str(value["digest"]))


def model_digest(folder: Path) -> str:
    """Return the SHA-256 over the relative names and contents of a model folder's decisive files."""
    visible = (path for pattern in _DECISIVE for path in folder.rglob(pattern))
    files = sorted(path for path in visible if not path.relative_to(folder).as_posix().startswith("."))
    return value_digest({path.relative_to(folder).as_posix(): file_digest(path) for path in files})


def folder_entry(folder: Path, root: Path, *, name: str | None = None) -> ModelEntry:
    """Pin a model in a local folder; ``ModelError`` if the folder holds no configuration or no weights."""
    resolved = (root / folder).resolve()
    if not resolved.is_dir():
        raise ModelError(f"{folder}: is not a folder. Give the folder of a model saved with `save_pretrained`.")
    for pattern, what in (("config*.json", "configuration"), ("*.safetensors", "weights in safetensors format")):
        if not any(resolved.rglob(pattern)):
            raise ModelError(
                f"{folder}: holds no {what} ({pattern}). Save the model there with "
                "`save_pretrained(folder, safe_serialization=True)`; pickled weights (.bin, .pt) are refused."
            )
    inside = resolved.is_relative_to(root.resolve())
    path = resolved.relative_to(root.resolve()) if inside else resolved
    return ModelEntry(name or resolved.name, None, path.as_posix(), model_digest(resolved))


def hub_entry(repository: str, revision: str) -> ModelEntry:
    """Pin a model of the Hugging Face hub by id and revision, downloading it if the cache lacks it."""
    folder = _hub_folder(repository, revision)
    return ModelEntry(repository, revision, None, model_digest(folder))


def verified_folder(entry: ModelEntry, root: Path) -> Path:
    """Return the folder of a pinned model after comparing its contents with the pinned digest.

    Raises
    ------
    ModelError
        If the files are gone, or are no longer those that were pinned.
    """
    if entry.path is not None:
        folder = root / entry.path
        if not folder.is_dir():
            raise ModelError(f"{entry.id}: its folder {entry.path} is gone. Run `dvc repro base`.")
    else:
        folder = _hub_folder(entry.id, str(entry.revision))
    found = model_digest(folder)
    if found != entry.digest:
        raise ModelError(
            f"{entry.id}: the files in {folder} have digest {found}, expected {entry.digest}. Adapters fit one "
            "base only: restore the files, or run `dvc repro --force --single-item base` to adopt the new ones."
        )
    return folder


def _hub_folder(repository: str, revision: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, revision=revision, allow_patterns=_HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ModelError(
            f"{repository} at revision {revision}: cannot be fetched ({error}). Check the id, the revision, the "
            "network and `hf auth login` for gated models, or give a local folder instead."
        ) from error
