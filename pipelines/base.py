"""Stage base: the frozen base model and the embedder, pinned by digest."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from compass_ops.fanout import fan_out
from compass_ops.model_files import ModelEntry, folder_entry, hub_entry
from compass_ops.params import Params, load_params
from compass_ops.sections import FolderModel, HubModel, PretrainedModel, TrainedEmbedder
from compass_ops.storage import tree_digest, value_digest, write_json
from pipelines._stage import MEMO, path_option, stage

FORMAT = 1


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
        makers["model"] = partial(_make_model, params, texts["model"])
    if isinstance(base.embedder, TrainedEmbedder):
        makers["embedder"] = partial(_make_embedder, params, texts["embedder"])
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


def _make_model(params: Params, texts: list[Path], out: Path) -> None:
    from compass_ops.training.recipe import write_base  # only a pretrained base needs the training stack

    write_base(texts, params.base, params.project.seed, out)


def _make_embedder(params: Params, texts: list[Path], out: Path) -> None:
    from compass_ops.training.recipe import write_embedder

    write_embedder(texts, params.base, params.project.seed, out)


if __name__ == "__main__":
    main()
