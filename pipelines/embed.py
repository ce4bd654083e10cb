"""Stage embed: every record's prompt as a unit vector, and the means to see languages without."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from compass_ops.fanout import fan_out
from compass_ops.model_files import ModelEntry, entry_from
from compass_ops.params import load_params
from compass_ops.selection.centring import language_means
from compass_ops.selection.vectors import vectors_file, write_means
from compass_ops.selection_sections import EmbedParams
from compass_ops.storage import read_array, read_json, read_table, tree_digest, value_digest, write_array
from pipelines._stage import MEMO, path_option, stage

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

FORMAT = 1
ROLES = ("target", "own", "auxiliary", "dev", "gate")


class _Embedding:
    """The embedder, loaded for the first records that were not embedded before."""

    def __init__(self, records: Path, entry: ModelEntry, settings: EmbedParams) -> None:
        self._records, self._entry, self._settings = records, entry, settings

    @cached_property
    def _embedder(self) -> "SentenceTransformer":
        from compass_ops.selection.embed import load_embedder

        return load_embedder(self._entry, Path.cwd())

    def digests(self) -> dict[str, str]:
        """Digest what the vectors of each role and language depend on."""
        shared = [self._entry.digest, self._settings.prefix]
        files = [file for role in ROLES for file in sorted((self._records / role).glob("*.parquet"))]
        return {f"{file.parent.name}/{file.stem}": value_digest([tree_digest(file), shared]) for file in files}

    def make(self, cell: str, folder: Path) -> None:
        """Write the vectors of a role and language."""
        from compass_ops.selection.embed import embed_texts

        prompts = read_table(self._records / f"{cell}.parquet").column("prompt").to_pylist()
        settings = self._settings
        write_array(folder / "vectors.npy", embed_texts(self._embedder, prompts, settings.prefix, settings.batch_rows))


@stage
@path_option("--records")
@path_option("--base")
@path_option("--out")
def main(records: Path, base: Path, out: Path) -> None:
    """Embed the prompts, one array per role and language; what was embedded before is not embedded again."""
    settings = load_params().embed
    embedding = _Embedding(records, entry_from(read_json(base)["embedder"]), settings)
    fan_out(("embed", FORMAT), embedding.digests(), embedding.make, out, MEMO)
    names = sorted(file.stem for file in (records / "auxiliary").glob("*.parquet")) if settings.centred else []
    pool = {name: read_array(vectors_file(out, "auxiliary", name), mapped=True) for name in names}
    write_means(out, language_means(pool))


if __name__ == "__main__":
    main()
