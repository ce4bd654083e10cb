"""Stage update: a candidate for every language whose newest window calls for one, or a receipt that says why not."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from compass_ops.fanout import RECEIPT, fan_out
from compass_ops.model_files import entry_from
from compass_ops.monitoring.action import CANDIDATE
from compass_ops.params import load_params
from compass_ops.selection.subset import matrix_digest
from compass_ops.selection.vectors import vectors_file
from compass_ops.storage import read_json, tree_digest, value_digest, write_json
from pipelines._stage import MEMO, path_option, stage

if TYPE_CHECKING:
    from compass_ops.monitoring.update import Updater

FORMAT = 10


@stage
@path_option("--drift")
@path_option("--windows")
@path_option("--production")
@path_option("--records")
@path_option("--vectors")
@path_option("--base")
@path_option("--out")
def main(**paths: Path) -> None:
    """Update the adapters of the languages whose window calls for it; load no model if none has to be made."""
    params = load_params()
    summary = read_json(paths["drift"] / "summary.json")
    drifted = sorted(language for language, row in summary.items() if row["action"] == CANDIDATE)
    updater = cache(lambda: _updater(paths))

    def make(language: str, folder: Path) -> None:
        from compass_ops.monitoring.update import Drifted

        window = summary[language]["window"]
        prompts = paths["windows"] / window / f"{language}.parquet"
        updater().make(Drifted(language, window, prompts, paths["production"] / language), folder)

    settings = [params.update.model_dump(), params.train.model_dump(), params.gate.margin, params.project.seed]
    settings += [params.sample.model_dump(), params.base.separator, params.base.max_tokens]
    settings += [params.ingest.near_duplicates, params.ingest.keep_translations, matrix_digest(params.sample)]
    inputs = {language: _inputs(language, summary[language]["window"], paths) for language in drifted}
    digests = {language: value_digest([own, settings]) for language, own in inputs.items()}
    fan_out(("update", FORMAT), digests, make, paths["out"], MEMO)
    for language in sorted(set(params.project.languages) - set(drifted)):
        row = summary.get(language, {"sentence": "No traffic was looked at.", "action_sentence": ""})
        reason = f"{row['sentence']} {row['action_sentence']}".strip()
        write_json(paths["out"] / language / RECEIPT, {"status": "no update", "reason": reason})


def _inputs(language: str, window: str, paths: dict[str, Path]) -> list[str]:
    records, vectors = paths["records"], paths["vectors"]
    own = [records / role / f"{language}.parquet" for role in ("target", "dev", "gate")]
    own += [vectors_file(vectors, half, language) for half in ("dev", "gate")]
    rows = paths["windows"] / window / f"{language}.parquet"
    own += [rows, rows.with_suffix(".npy")]  # vectors in place of text
    shared = [records / "auxiliary", vectors / "auxiliary", paths["base"], paths["production"] / language]
    return [*(tree_digest(path) if path.exists() else "none" for path in own), *map(tree_digest, shared)]


def _updater(paths: dict[str, Path]) -> "Updater":
    from compass_ops.evaluation.score import ScoreSettings
    from compass_ops.evaluation.scorer import Scorer
    from compass_ops.monitoring.update import Updater
    from compass_ops.monitoring.windows import Embedding
    from compass_ops.selection.embed import embed_texts, load_embedder

    params, pins, root = load_params(), read_json(paths["base"]), Path.cwd()
    score = ScoreSettings(params.base.separator, params.base.max_tokens, params.evaluate.batch_tokens)
    entry, prefix, rows = entry_from(pins["embedder"]), params.embed.prefix, params.embed.batch_rows
    embedder = load_embedder(entry, root)
    return Updater(
        params,
        pins,
        Scorer(entry_from(pins["model"]), root, score, MEMO),
        Embedding(entry.digest, prefix, lambda texts: embed_texts(embedder, texts, prefix, rows)),
        paths["records"],
        paths["vectors"],
    )


if __name__ == "__main__":
    main()
