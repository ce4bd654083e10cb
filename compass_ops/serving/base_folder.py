"""Where the base model of a version is on this machine: a version names it by id, revision and digest, no more."""

import os
from collections.abc import Mapping
from pathlib import Path

from compass_ops.errors import ModelError
from compass_ops.model_files import ModelEntry

MIRROR = "COMPASS_BASE"  # environment variable that names the folder of a local copy


def base_entry(pinned: Mapping[str, str | None], mirror: str | None) -> ModelEntry:
    """Return where to load a version's base from; ``training.base.load_base`` compares the digests.

    Parameters
    ----------
    pinned : mapping
        ``{"id", "revision", "digest"}`` of the version's manifest.
    mirror : str or None
        Folder of a local copy. If None, that of the environment variable ``COMPASS_BASE``; if that is not set either,
        the hub's repository at the pinned revision.

    Raises
    ------
    ModelError
        If the base has no revision on a hub and no local copy is named, or the copy named is not a folder.
    """
    place = mirror or os.environ.get(MIRROR)
    known = str(pinned["id"]), pinned["revision"], str(pinned["digest"])
    if place:
        folder = Path(place).resolve()
        if not folder.is_dir():
            raise ModelError(f"{place}: is not a folder. Set {MIRROR} to the folder of the base model {known[0]}.")
        return ModelEntry(known[0], known[1], folder.as_posix(), known[2])
    if pinned["revision"] is None:
        raise ModelError(
            f"{known[0]}: this base model is in no hub. Set {MIRROR} to the folder that holds it (digest {known[2]}); "
            "in the project that trained the adapter, its folder stands in build/base/base.json."
        )
    return ModelEntry(known[0], known[1], None, known[2])
