"""Stage drift: whether what people ask has moved away from what Production was made for."""

from pathlib import Path

from compass_ops.model_files import entry_from
from compass_ops.monitoring.drift import DriftSettings
from compass_ops.params import load_params
from compass_ops.storage import read_json
from pipelines._stage import path_option, stage


@stage
@path_option("--windows")
@path_option("--production")
@path_option("--registry")
@path_option("--embedder")
@path_option("--out")
def main(windows: Path, production: Path, registry: Path, embedder: Path, out: Path) -> None:
    """Judge the newest window of every language, all together."""
    from compass_ops.monitoring.watch import WatchSettings, watch
    from compass_ops.monitoring.windows import Embedding
    from compass_ops.selection.embed import embed_texts, load_embedder

    params = load_params()
    entry = entry_from(read_json(embedder)["embedder"])
    model = load_embedder(entry, Path.cwd())
    embed = params.embed
    settings = WatchSettings(
        DriftSettings(**params.drift.model_dump()), params.report.html_limit, params.report.examples
    )
    watch(
        {"windows": windows, "production": production, "registry": registry},
        Embedding(entry.digest, lambda texts: embed_texts(model, texts, embed.prefix, embed.batch_rows)),
        settings,
        params.project.seed,
        out,
    )


if __name__ == "__main__":
    main()
