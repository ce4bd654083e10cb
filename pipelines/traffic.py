"""Stage traffic: immutable windows of production prompts per language, up to ``traffic.until``."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compass_ops.corpus.languages import language_tag
from compass_ops.corpus.worldfacts import WorldfactsSettings, stream
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
from pipelines._stage import path_option, stage

if TYPE_CHECKING:
    import numpy as np


@stage
@path_option("--out")
def main(out: Path) -> None:
    """Cut the request log into windows, or simulate them."""
    write_traffic(_traffic(load_params()), out)


def _traffic(params: Params) -> Traffic:
    settings, seed = params.traffic, params.project.seed
    origin = settings.origin
    if origin.kind == "none":
        return Traffic({}, [])
    if origin.kind == "log":
        log = LogSettings(tuple(origin.files), {str(name): field for name, field in origin.fields.items()})
        languages = [language_tag(language) for language in params.project.languages]
        return logged_traffic(log, settings.until, settings.window_rows, languages, Path.cwd())
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
