"""Stage train: one adapter per language, with everything that is needed to serve, judge and update it."""

from pathlib import Path

from compass_ops.corpus.traits import session_numbers, text_traits
from compass_ops.errors import DataFault
from compass_ops.fanout import RECEIPT, fan_out
from compass_ops.model_files import entry_from
from compass_ops.params import load_params
from compass_ops.seeding import derived_seed
from compass_ops.selection.vectors import MEANS_FILE, read_means, read_vectors, vectors_file
from compass_ops.storage import read_array, read_json, read_table, tree_digest, value_digest, write_bytes, write_json
from pipelines._stage import MEMO, path_option, stage

FORMAT = 6


@stage
@path_option("--subsets")
@path_option("--records")
@path_option("--vectors")
@path_option("--clusters")
@path_option("--base")
@path_option("--out")
def main(subsets: Path, records: Path, vectors: Path, clusters: Path, base: Path, out: Path) -> None:
    """Train the adapters of all target languages on one loaded base model."""
    from compass_ops.registry.location import registry_location
    from compass_ops.registry.tracking import RunNotes, training_run
    from compass_ops.training.adapt import Base, Order, Reference, make_version
    from compass_ops.training.base import load_base
    from compass_ops.training.train import NonFiniteLossError
    from compass_ops.training.version import Origin

    params = load_params()
    pins, means = read_json(base), read_means(vectors)
    model, tokenizer = load_base(entry_from(pins["model"]), Path.cwd())
    loaded = Base(model, tokenizer, params.base)
    location = registry_location(params.registry.uri, params.registry.experiment)

    def make(language: str, folder: Path) -> None:
        if (subsets / language / RECEIPT).exists():
            raise DataFault(language, read_json(subsets / language / RECEIPT)["reason"])
        subset, version = subsets / language / "subset.parquet", folder / "version"
        seed = derived_seed(params.project.seed, "train", language)
        notes = RunNotes({"stage": "train", **params.train.model_dump()}, {"compass.language": language})
        asked = read_vectors(vectors, "target", language, means)
        assigned = read_array(clusters / "assignments" / "target" / f"{language}.npy")
        traits = text_traits(read_table(records / "target" / f"{language}.parquet").column("prompt").to_pylist())
        sessions = session_numbers([None] * traits.num_rows)
        centroids = read_array(clusters / "centroids.npy")
        reference = Reference(asked, assigned, centroids, means, traits, sessions)
        text = {"separator": params.base.separator, "max_tokens": params.base.max_tokens}
        embedder = pins["embedder"] | {"prefix": params.embed.prefix}
        origin = Origin(language, pins["model"], embedder, None, None, tree_digest(subset), text)
        try:
            with training_run(location, f"train {language}", notes) as run:
                rows = read_table(subset)
                order = Order(rows, params.train, seed, version, lambda at: run.log(at.step, {"loss": at.loss}))
                curve = make_version(loaded, order, reference, origin)
        except NonFiniteLossError as error:
            raise DataFault(language, str(error)) from error
        write_json(folder / "curve.json", [{"step": point.step, "loss": point.loss} for point in curve])

    shared = [pins, params.base.separator, params.base.max_tokens, params.train.model_dump(), params.project.seed]
    shared += [params.embed.prefix, tree_digest(clusters / "centroids.npy"), tree_digest(vectors / MEANS_FILE)]
    inputs = {
        language: value_digest([_private((subsets, records, vectors, clusters), language), shared])
        for language in params.project.languages
    }
    fan_out(("train", FORMAT), inputs, make, out, MEMO)
    _write_curves(out)


def _write_curves(out: Path) -> None:
    """Join the languages' loss curves in one table, for `dvc plots`."""
    curves = {file.parent.name: read_json(file) for file in sorted(out.glob("*/curve.json"))}
    lines = [f"{name},{point['step']},{point['loss']}" for name, curve in curves.items() for point in curve]
    write_bytes(out / "curves.csv", "\n".join(["language,step,loss", *lines, ""]).encode())


def _private(folders: tuple[Path, Path, Path, Path], language: str) -> list[str]:
    subsets, records, vectors, clusters = folders
    files = [subsets / language / "subset.parquet", records / "target" / f"{language}.parquet"]
    files += [vectors_file(vectors, "target", language), clusters / "assignments" / "target" / f"{language}.npy"]
    return [tree_digest(path) if path.exists() else "none" for path in files]


if __name__ == "__main__":
    main()
