"""Stage drift: whether what people ask has moved away from what Production was made for."""

from pathlib import Path

from compass_ops.model_files import entry_from
from compass_ops.monitoring.drift import DriftSettings
from compass_ops.params import load_params
from compass_ops.storage import read_json
from pipelines._stage import MEMO, path_option, stage


@stage
@path_option("--windows")
@path_option("--production")
@path_option("--registry")
@path_option("--alarms")
@path_option("--records")
@path_option("--vectors")
@path_option("--base")
@path_option("--out")
def main(out: Path, **paths: Path) -> None:
    """Judge the newest window of every language, all together, and measure harm where there is a shift or feedback."""
    from compass_ops.evaluation.score import ScoreSettings
    from compass_ops.evaluation.scorer import Scorer
    from compass_ops.monitoring.harm import HarmSettings
    from compass_ops.monitoring.probe import Prober
    from compass_ops.monitoring.watch import WatchSettings, watch
    from compass_ops.monitoring.windows import Embedding
    from compass_ops.selection.embed import embed_texts, load_embedder

    params, pins = load_params(), read_json(paths["base"])
    entry, prefix, rows = entry_from(pins["embedder"]), params.embed.prefix, params.embed.batch_rows
    model = load_embedder(entry, Path.cwd())
    score = ScoreSettings(params.base.separator, params.base.max_tokens, params.evaluate.batch_tokens)
    scorer = Scorer(entry_from(pins["model"]), Path.cwd(), score, MEMO)
    drift, report = DriftSettings(**params.drift.model_dump(exclude={"harm"})), params.report
    watch(
        paths,
        Embedding(entry.digest, prefix, lambda texts: embed_texts(model, texts, prefix, rows)),
        Prober(scorer, paths["records"], paths["vectors"], HarmSettings(**params.drift.harm.model_dump())),
        WatchSettings(drift, report.html_limit, report.examples, params.project.seed),
        out,
    )


if __name__ == "__main__":
    main()
