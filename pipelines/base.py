"""Stage base: the frozen base model and the embedder, pinned by digest."""

import shutil
from pathlib import Path

from compass_ops.fanout import fan_out
from compass_ops.model_files import ModelEntry, folder_entry, hub_entry
from compass_ops.params import load_params
from compass_ops.sections import BaseParams, FolderModel, HubModel, PretrainedModel, TrainedEmbedder
from compass_ops.storage import read_table, tree_digest, value_digest, write_json
from pipelines._stage import MEMO, path_option, stage

FORMAT = 1


@stage
@path_option("--pretrain")
@path_option("--out")
def main(pretrain: Path, out: Path) -> None:
    """Make or pin the base model and the embedder."""
    params = load_params()
    seed, root = params.project.seed, Path.cwd()
    sources = {"model": params.base.model, "embedder": params.base.embedder}
    made = {name: source for name, source in sources.items() if source.kind in ("pretrained", "trained")}
    texts = tree_digest(pretrain) if pretrain.is_dir() else "none"
    limits = [params.base.separator, params.base.max_tokens]
    inputs = {name: value_digest([texts, source.model_dump(), limits, seed]) for name, source in made.items()}

    def make(name: str, folder: Path) -> None:
        (_make_model if name == "model" else _make_embedder)(pretrain, params.base, folder, seed)

    fan_out(("base", FORMAT), inputs, make, out, MEMO)
    entries = {name: _pin(source, out / name, root).as_json() for name, source in sources.items()}
    write_json(out / "base.json", entries)


def _pin(source: HubModel | FolderModel | PretrainedModel | TrainedEmbedder, made: Path, root: Path) -> ModelEntry:
    if isinstance(source, HubModel):
        return hub_entry(source.id, source.revision)
    if isinstance(source, FolderModel):
        return folder_entry(Path(source.path), root)
    return folder_entry(made, root, name=f"compass-{source.kind}")


def _rows(pretrain: Path) -> list[dict[str, str]]:
    columns = ["prompt", "completion", "parallel_id"]
    return [row for file in sorted(pretrain.glob("*.parquet")) for row in read_table(file).select(columns).to_pylist()]


def _make_model(pretrain: Path, base: BaseParams, folder: Path, seed: int) -> None:
    from compass_ops.training.recipe import pretrain_base

    rows = [(row["prompt"], row["completion"]) for row in _rows(pretrain)]
    text = (base.separator, base.max_tokens)
    model, tokenizer, curve = pretrain_base(rows, base.model, text, folder / "checkpoints", seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    write_json(folder / "curve.json", [[point.step, point.loss] for point in curve])
    shutil.rmtree(folder / "checkpoints")


def _make_embedder(pretrain: Path, base: BaseParams, folder: Path, seed: int) -> None:
    from compass_ops.seeding import generator
    from compass_ops.selection.embed import train_static_embedder
    from compass_ops.training.recipe import parallel_pairs

    rows = _rows(pretrain)
    rng = generator(seed, "base", "pairs")
    pairs = parallel_pairs([row["prompt"] for row in rows], [row["parallel_id"] for row in rows], rng)
    train_static_embedder(pairs, base.embedder, seed).save(str(folder), create_model_card=False)


if __name__ == "__main__":
    main()
