"""Stage update: a candidate for every language whose newest window calls for one, or a receipt that says why not."""

from pathlib import Path
from typing import TYPE_CHECKING

from compass_ops.fanout import fan_out
from compass_ops.model_files import entry_from
from compass_ops.monitoring.action import CANDIDATE
from compass_ops.params import load_params
from compass_ops.selection.vectors import vectors_file
from compass_ops.storage import fresh_folder, read_json, tree_digest, value_digest, write_json
from pipelines._stage import MEMO, path_option, stage

if TYPE_CHECKING:
    from compass_ops.monitoring.update import Updater

FORMAT = 7


@stage
@path_option("--drift")
@path_option("--windows")
@path_option("--production")
@path_option("--records")
@path_option("--vectors")
@path_option("--base")
@path_option("--out")
def main(**paths: Path) -> None:
    """Update the adapters of the languages whose window calls for it; load no model if none does."""
    params = load_params()
    summary = read_json(paths["drift"] / "summary.json")
    drifted = sorted(language for language, row in summary.items() if row["action"] == CANDIDATE)
    inputs = {language: _inputs(language, summary[language]["window"], paths) for language in drifted}
    if drifted:
        updater = _updater(paths)

        def make(language: str, folder: Path) -> None:
            from compass_ops.monitoring.update import Drifted

            window = summary[language]["window"]
            prompts = paths["windows"] / window / f"{language}.parquet"
            updater.make(Drifted(language, window, prompts, paths["production"] / language), folder)

        settings = [params.update.model_dump(), params.train.model_dump(), params.gate.margin, params.project.seed]
        settings += [params.sample.model_dump(), params.base.separator, params.base.max_tokens]
        digests = {language: value_digest([inputs[language], settings]) for language in drifted}
        fan_out(("update", FORMAT), digests, make, paths["out"], MEMO)
    else:
        with fresh_folder(paths["out"]):
            pass
    for language in sorted(set(params.project.languages) - set(drifted)):
        row = summary.get(language, {"sentence": "No traffic was looked at.", "action_sentence": ""})
        reason = f"{row['sentence']} {row['action_sentence']}".strip()
        write_json(paths["out"] / language / "receipt.json", {"status": "no update", "reason": reason})


def _inputs(language: str, window: str, paths: dict[str, Path]) -> list[str]:
    records, vectors = paths["records"], paths["vectors"]
    own = [records / half / f"{language}.parquet" for half in ("dev", "gate")]
    own += [vectors_file(vectors, half, language) for half in ("dev", "gate")]
    shared = [records / "auxiliary", vectors / "auxiliary", paths["base"]]
    rows = paths["windows"] / window / f"{language}.parquet"
    kept = [file for file in (rows, rows.with_suffix(".npy")) if file.exists()]  # vectors in place of text
    return [tree_digest(path) for path in (*own, *shared, *kept, paths["production"] / language)]


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
