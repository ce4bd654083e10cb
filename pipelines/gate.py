"""Stage gate: per language the decision on the updated adapter."""

from pathlib import Path

from compass_ops.evaluation.gate import GateLimits
from compass_ops.evaluation.update_gate import gate_updates
from compass_ops.params import load_params
from compass_ops.storage import read_json
from pipelines._stage import path_option, stage


@stage
@path_option("--candidates")
@path_option("--production")
@path_option("--registry")
@path_option("--drift")
@path_option("--base")
@path_option("--out")
def main(candidates: Path, production: Path, registry: Path, drift: Path, base: Path, out: Path) -> None:
    """Judge each candidate against the Production version that it updates."""
    params = load_params()
    inputs = {"candidates": candidates, "production": production, "registry": registry, "drift": drift}
    limits = GateLimits(**params.gate.model_dump(exclude={"most_uses"}))
    gate_updates(inputs, read_json(base)["model"]["digest"], (limits, params.gate.most_uses), out)


if __name__ == "__main__":
    main()
