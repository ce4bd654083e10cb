"""Stage sample: per language the chosen training rows and the plan behind them."""

from pathlib import Path

from compass_ops.fanout import fan_out
from compass_ops.model_files import entry_from
from compass_ops.params import Params, load_params
from compass_ops.seeding import generator
from compass_ops.selection.subset import Costs, SelectionFiles, row_costs, write_subset
from compass_ops.storage import read_json, value_digest
from pipelines._stage import MEMO, path_option, stage

FORMAT = 5


@stage
@path_option("--records")
@path_option("--vectors")
@path_option("--clusters")
@path_option("--base")
@path_option("--out")
def main(records: Path, vectors: Path, clusters: Path, base: Path, out: Path) -> None:
    """Choose auxiliary rows for every target language."""
    params = load_params()
    seed, settings, pins = params.project.seed, params.sample, read_json(base)
    files = SelectionFiles(records, vectors, clusters, _costs(params, pins))

    def make(language: str, folder: Path) -> None:
        write_subset(files, language, settings, generator(seed, "sample", language), folder)

    texts = params.base.separator, params.base.max_tokens
    counted = [pins["model"]["digest"], *texts] if settings.unit == "tokens" else None
    inputs = {
        language: value_digest([files.digest(language, settings), counted, seed])
        for language in params.project.languages
    }
    fan_out(("sample", FORMAT), inputs, make, out, MEMO)


def _costs(params: Params, pins: dict[str, dict[str, str | None]]) -> Costs:
    if params.sample.unit == "rows":
        return row_costs
    from compass_ops.training.base import load_tokenizer
    from compass_ops.training.batches import token_costs  # only a budget in tokens needs the base's tokenizer

    tokenizer = load_tokenizer(entry_from(pins["model"]), Path.cwd())
    return token_costs(tokenizer, params.base.separator, params.base.max_tokens)


if __name__ == "__main__":
    main()
