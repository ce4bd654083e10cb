"""Stage base: the frozen base model and the embedder, pinned by digest."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from compass_ops.errors import ParamsError
from compass_ops.fanout import fan_out
from compass_ops.model_files import ModelEntry, folder_entry, hub_entry
from compass_ops.params import load_params
from compass_ops.sections import BaseParams, FolderModel, HubModel, PretrainedModel, TrainedEmbedder
from compass_ops.storage import read_table, tree_digest, value_digest, write_json
from pipelines._stage import MEMO, path_option, stage

FORMAT = 1
_COLUMNS = ["prompt", "completion", "parallel_id"]


@stage
@path_option("--pretrain")
@path_option("--auxiliary")
@path_option("--out")
def main(pretrain: Path, auxiliary: Path, out: Path) -> None:
    """Make or pin the base model and the embedder.

    A trained embedder sees the pool's prompts besides: one from the hub would know its languages and topics too.
    """
    params = load_params()
    seed, root, base = params.project.seed, Path.cwd(), params.base
    texts = {"model": [pretrain], "embedder": [pretrain, auxiliary]}
    makers: dict[str, Callable[[Path], None]] = {}
    if isinstance(base.model, PretrainedModel):
        makers["model"] = partial(_make_model, base, base.model, texts["model"], seed)
    if isinstance(base.embedder, TrainedEmbedder):
        makers["embedder"] = partial(_make_embedder, base.embedder, texts["embedder"], seed)
    settings = {
        "model": [base.model.model_dump(), base.separator, base.max_tokens],
        "embedder": base.embedder.model_dump(),
    }
    inputs = {
        name: value_digest(
            [[tree_digest(path) if path.is_dir() else "none" for path in texts[name]], settings[name], seed]
        )
        for name in makers
    }
    fan_out(("base", FORMAT), inputs, lambda name, folder: makers[name](folder), out, MEMO)
    sources = {"model": base.model, "embedder": base.embedder}
    entries = {name: _pin(source, out / name, root).as_json() for name, source in sources.items()}
    write_json(out / "base.json", entries)


def _digests(folders: list[Path]) -> list[str]:
    return [tree_digest(folder) if folder.is_dir() else "none" for folder in folders]


def _pin(source: HubModel | FolderModel | PretrainedModel | TrainedEmbedder, made: Path, root: Path) -> ModelEntry:
    if isinstance(source, HubModel):
        return hub_entry(source.id, source.revision)
    if isinstance(source, FolderModel):
        return folder_entry(Path(source.path), root)
    return folder_entry(made, root, name=f"compass-{source.kind}")


def _rows(folders: list[Path]) -> list[dict[str, str]]:
    files = [file for folder in folders for file in sorted(folder.glob("*.parquet"))]
    rows = [row for file in files for row in read_table(file).select(_COLUMNS).to_pylist()]
    if not rows:
        raise ParamsError(
            "params.yaml: base: a pretrained model and a trained embedder need records of role pretrain; there are "
            "none. Map a source to it, or choose kind hub or folder."
        )
    return rows


def _make_model(base: BaseParams, model: PretrainedModel, folders: list[Path], seed: int, out: Path) -> None:
    from compass_ops.training.recipe import pretrain_base

    rows = [(row["prompt"], row["completion"]) for row in _rows(folders)]
    text = (base.separator, base.max_tokens)
    trained, tokenizer, curve = pretrain_base(rows, model, text, out / "checkpoints", seed)
    trained.save_pretrained(out)
    tokenizer.save_pretrained(out)
    write_json(out / "curve.json", [[point.step, point.loss] for point in curve])
    shutil.rmtree(out / "checkpoints")


def _make_embedder(params: TrainedEmbedder, folders: list[Path], seed: int, out: Path) -> None:
    from compass_ops.seeding import generator
    from compass_ops.selection.embed import train_static_embedder
    from compass_ops.training.recipe import parallel_pairs

    rows = _rows(folders)
    rng = generator(seed, "base", "pairs")
    pairs = parallel_pairs([row["prompt"] for row in rows], [row["parallel_id"] for row in rows], rng)
    train_static_embedder(pairs, params, seed).save(str(out), create_model_card=False)


if __name__ == "__main__":
    main()
