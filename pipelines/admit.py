"""Stage admit: per language the decision on the newly trained adapter."""

from pathlib import Path

from compass_ops.evaluation.admit import AdmitInputs, admit_languages
from compass_ops.evaluation.evaluate import EvaluateInputs
from compass_ops.evaluation.gate import GateLimits
from compass_ops.evaluation.score import ScoreSettings
from compass_ops.evaluation.scorer import Scorer
from compass_ops.model_files import entry_from
from compass_ops.params import load_params
from compass_ops.storage import read_json
from pipelines._stage import MEMO, path_option, stage


@stage
@path_option("--evaluations")
@path_option("--adapters")
@path_option("--snapshot")
@path_option("--records")
@path_option("--assignments")
@path_option("--base")
@path_option("--out")
def main(
    *, evaluations: Path, adapters: Path, snapshot: Path, records: Path, assignments: Path, base: Path, out: Path
) -> None:
    """Judge each new adapter against Production, or against the bare base."""
    params = load_params()
    settings = ScoreSettings(params.base.separator, params.base.max_tokens, params.evaluate.batch_tokens)
    scorer = Scorer(entry_from(read_json(base)["model"]), Path.cwd(), settings, MEMO)
    inputs = AdmitInputs(evaluations, snapshot, EvaluateInputs(adapters, records, assignments))
    limits = GateLimits(**params.gate.model_dump(exclude={"most_uses"}))
    admit_languages(inputs, params.project.languages, scorer, (limits, params.gate.most_uses), out)


if __name__ == "__main__":
    main()
