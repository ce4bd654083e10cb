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
        "model": [base.model.model_dump(exclude_none=True), base.separator, base.max_tokens],
        "embedder": base.embedder.model_dump(),
    }
    inputs = {name: value_digest([_digests(texts[name]), settings[name], seed]) for name in makers}
    sources = {"model": base.model, "embedder": base.embedder}
    # Before anything is replaced: what is given may be missing or unfit.
    pins = {
        name: _pin(source, root)
        for name, source in sources.items()
        if not isinstance(source, PretrainedModel | TrainedEmbedder)
    }
    fan_out(("base", FORMAT), inputs, lambda name, folder: makers[name](folder), out, MEMO)
    pins |= {name: folder_entry(out / name, root, name=f"compass-{sources[name].kind}") for name in makers}
    write_json(out / "base.json", {name: pin.as_json() for name, pin in pins.items()})


def _digests(folders: list[Path]) -> list[str]:
    return [tree_digest(folder) if folder.is_dir() else "none" for folder in folders]


def _pin(source: HubModel | FolderModel, root: Path) -> ModelEntry:
    if isinstance(source, HubModel):
        return hub_entry(source.id, source.revision)
    return folder_entry(Path(source.path), root)


def _make_model(params: Params, texts: list[Path], out: Path) -> None:
    from compass_ops.training.recipe import write_base  # only a pretrained base needs the training stack

    write_base(texts, params.base, params.project.seed, out)


def _make_embedder(params: Params, texts: list[Path], out: Path) -> None:
    from compass_ops.training.recipe import write_embedder

    write_embedder(texts, params.base, params.project.seed, out)


if __name__ == "__main__":
    main()
