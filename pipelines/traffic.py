"""Stage traffic: immutable windows of production prompts per language, up to ``traffic.until``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass_ops.corpus.languages import language_tag
from compass_ops.corpus.worldfacts import WorldfactsSettings, stream
from compass_ops.model_files import entry_from
from compass_ops.monitoring.request_log import LogSettings
from compass_ops.monitoring.traffic import (
    Phase,
    SimulationSettings,
    Traffic,
    logged_traffic,
    simulated_traffic,
    write_traffic,
)
from compass_ops.params import Params, load_params
from compass_ops.storage import read_json
from pipelines._stage import path_option, stage

if TYPE_CHECKING:
    import numpy as np

    from compass_ops.monitoring.windows import Embedding


@stage
@path_option("--embedder")
@path_option("--out")
def main(embedder: Path, out: Path) -> None:
    """Cut the request log into windows, or simulate them; keep their text, or vectors alone."""
    params = load_params()
    write_traffic(_traffic(params), out, None if params.traffic.keep_text else _embedding(params, embedder))


def _embedding(params: Params, embedder: Path) -> "Embedding":
    from compass_ops.monitoring.windows import Embedding
    from compass_ops.selection.embed import embed_texts, load_embedder

    entry, prefix, rows = entry_from(read_json(embedder)["embedder"]), params.embed.prefix, params.embed.batch_rows
    model = load_embedder(entry, Path.cwd())
    return Embedding(entry.digest, prefix, lambda texts: embed_texts(model, texts, prefix, rows))


def _traffic(params: Params) -> Traffic:
    settings, seed = params.traffic, params.project.seed
    origin = settings.origin
    if origin.kind == "none":
        return Traffic({}, [])
    if origin.kind == "log":
        log = LogSettings(**origin.settings(settings.window_rows))
        languages = [language_tag(language) for language in params.project.languages]
        return logged_traffic(log, settings.until, languages, Path.cwd())
    source = next(source for source in params.ingest.sources if source.kind == "worldfacts")
    world = WorldfactsSettings(**source.settings(params.project.languages))
    shifts = {
        language: tuple(Phase(int(phase.start), phase.topics) for phase in phases)
        for language, phases in origin.shifts.items()
    }
    simulation = SimulationSettings(origin.windows, source.usage, shifts)

    def draw(language: str, topics: Mapping[str, float], size: int, rng: "np.random.Generator") -> list[dict[str, Any]]:
        return stream(language, topics, size, world, seed, rng)

    return simulated_traffic(simulation, settings.until, settings.window_rows, draw, seed)


if __name__ == "__main__":
    main()
