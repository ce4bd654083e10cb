"""Stage evaluate: per-item results of the base and of each new adapter."""

from pathlib import Path

from compass_ops.evaluation.evaluate import EvaluateInputs, evaluate_languages
from compass_ops.evaluation.score import ScoreSettings
from compass_ops.evaluation.scorer import Scorer
from compass_ops.model_files import entry_from
from compass_ops.params import load_params
from compass_ops.storage import read_json
from pipelines._stage import MEMO, path_option, stage


@stage
@path_option("--adapters")
@path_option("--records")
@path_option("--assignments")
@path_option("--base")
@path_option("--out")
def main(adapters: Path, records: Path, assignments: Path, base: Path, out: Path) -> None:
    """Score every target language's dev and gate items."""
    params = load_params()
    settings = ScoreSettings(params.base.separator, params.base.max_tokens, params.evaluate.batch_tokens)
    scorer = Scorer(entry_from(read_json(base)["model"]), Path.cwd(), settings, MEMO)
    inputs = EvaluateInputs(adapters, records, assignments)
    evaluate_languages(inputs, params.project.languages, scorer, out, MEMO)


if __name__ == "__main__":
    main()
