"""Stage embed: every record's prompt as a unit vector, and the means to see languages without."""

from functools import cache
from pathlib import Path
from typing import Any

from compass_ops.errors import DataFault, NoVectorError
from compass_ops.fanout import fan_out
from compass_ops.model_files import entry_from
from compass_ops.params import load_params
from compass_ops.selection.centring import language_means
from compass_ops.selection.vectors import vectors_file, write_means
from compass_ops.storage import read_array, read_json, read_table, tree_digest, value_digest, write_array
from pipelines._stage import MEMO, path_option, stage

FORMAT = 2
ROLES = ("target", "own", "auxiliary", "dev", "gate")


@stage
@path_option("--records")
@path_option("--base")
@path_option("--out")
def main(records: Path, base: Path, out: Path) -> None:
    """Embed the prompts, one array per role and language; what was embedded before is not embedded again."""
    settings, entry = load_params().embed, entry_from(read_json(base)["embedder"])

    @cache
    def embedder() -> Any:
        from compass_ops.selection.embed import load_embedder

        return load_embedder(entry, Path.cwd())

    def make(cell: str, folder: Path) -> None:
        from compass_ops.selection.embed import embed_texts

        prompts, model = read_table(records / f"{cell}.parquet").column("prompt").to_pylist(), embedder()
        try:
            vectors = embed_texts(model, prompts, settings.prefix, settings.batch_rows)
        except NoVectorError as error:
            role, language = cell.split("/")
            told = f"records of role {role}: {error}"
            if role == "auxiliary":  # all languages choose from it
                raise NoVectorError(f"{language}: {told}", error.vectors) from error
            raise DataFault(language, told) from error
        write_array(folder / "vectors.npy", vectors)

    files = [file for role in ROLES for file in sorted((records / role).glob("*.parquet"))]
    shared = [entry.digest, settings.prefix]
    inputs = {f"{file.parent.name}/{file.stem}": value_digest([tree_digest(file), shared]) for file in files}
    fan_out(("embed", FORMAT), inputs, make, out, MEMO)
    names = sorted(file.stem for file in (records / "auxiliary").glob("*.parquet")) if settings.centred else []
    pool = {name: read_array(vectors_file(out, "auxiliary", name), mapped=True) for name in names}
    write_means(out, language_means(pool))


if __name__ == "__main__":
    main()
