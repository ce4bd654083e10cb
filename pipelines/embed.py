"""Stage embed: every record's prompt as a unit vector."""

from pathlib import Path

import numpy as np

from compass_ops.model_files import entry_from
from compass_ops.params import load_params
from compass_ops.selection.centring import centred, language_means
from compass_ops.storage import fresh_folder, read_array, read_json, read_table, write_array, write_json
from pipelines._stage import path_option, stage

ROLES = ("target", "own", "auxiliary", "dev", "gate")


@stage
@path_option("--records")
@path_option("--base")
@path_option("--out")
def main(records: Path, base: Path, out: Path) -> None:
    """Embed the prompts, one array per role and language; beside them each language's mean that was taken out."""
    from compass_ops.selection.embed import embed_texts, load_embedder

    settings = load_params().embed
    entry = entry_from(read_json(base)["embedder"])
    embedder = load_embedder(entry, Path.cwd())
    rows: dict[str, dict[str, int]] = {}
    with fresh_folder(out) as aside:
        for role in ROLES:
            for file in sorted((records / role).glob("*.parquet")):
                prompts = read_table(file).column("prompt").to_pylist()
                vectors = embed_texts(embedder, prompts, settings.prefix, settings.batch_rows)
                write_array(aside / role / f"{file.stem}.npy", vectors)
                rows.setdefault(role, {})[file.stem] = len(vectors)
        _centre(aside, {language for each in rows.values() for language in each}, enabled=settings.centred)
        write_json(aside / "embed.json", {"embedder_digest": entry.digest, "rows": rows})


def _centre(vectors: Path, languages: set[str], *, enabled: bool) -> None:
    """Write ``mean.<language>.npy``, zeros unless ``enabled``, and take it out of the language's vectors."""
    pool = {file.stem: read_array(file, mapped=True) for file in sorted((vectors / "auxiliary").glob("*.npy"))}
    means = language_means(pool, sorted(languages))
    for language, mean in means.items():
        write_array(vectors / f"mean.{language}.npy", mean if enabled else np.zeros_like(mean))
    for file in sorted(vectors.glob("*/*.npy")) if enabled else ():
        write_array(file, centred(read_array(file), means[file.stem]))


if __name__ == "__main__":
    main()
