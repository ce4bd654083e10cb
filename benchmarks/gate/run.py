"""Level and power of the promotion gate, simulated, against what is stated (METHOD.md 5).

python -m benchmarks.gate.run   # results.json, some minutes

Every decision is made by ``evaluation.gate.judge`` itself. Questions are asked in several parallel forms, of which
one model's answers agree in part; clusters have uneven shares.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.gate.simulate import LIMITS, Scenario, rates

RESULTS = Path(__file__).parent / "results.json"
SIMULATIONS = 2000

# Where a hypothesis is just true, at most alpha may pass: the loss is the margin, or the gain is 0.
LEVEL = {
    f"{name}, {clusters} clusters, {forms} forms": Scenario(
        items=items, discordance=discordance, old=old, new=new, forms=forms, concentration=concentration
    )
    for name, old, new in (("loss of the margin on old", -0.05, 0.06), ("no gain on new", 0.0, 0.0))
    for items, discordance in ((750, 0.15),)
    for clusters, concentration in (("even", 100.0), ("uneven", 0.5))
    for forms in (1, 3)
}
# METHOD.md 5 plans items for a power of 0.8 by itself; the gate asks for all of its tests at once.
POWER = {
    "non-inferiority, 371 items, discordance .15, margin .05": Scenario(371, 0.15, 0.0, 0.0, 1, 1e6),
    "superiority, 365 items, discordance .15, gain .05": Scenario(365, 0.15, 0.05, 0.05, 1, 1e6),
    "superiority, 1025 items, discordance .15, gain .03": Scenario(1025, 0.15, 0.03, 0.03, 1, 1e6),
    "whole gate, 750 items, gain .10 on new, none on old": Scenario(750, 0.15, 0.0, 0.10, 1, 1.0),
    "whole gate, 750 items, gain .06 on new, none on old": Scenario(750, 0.15, 0.0, 0.06, 1, 1.0),
}


def main() -> None:
    """Simulate every scenario and write shares of passed tests and of promotions with 95 % intervals."""
    found: dict[str, dict[str, Any]] = {}
    for kind, scenarios in (("level", LEVEL), ("power", POWER)):
        found[kind] = {}
        for number, (name, scenario) in enumerate(scenarios.items()):
            counts = rates(scenario, SIMULATIONS, np.random.default_rng([number, len(kind)]))
            shares = {test: _share(count) for test, count in counts.items()}
            found[kind][name] = {"scenario": dataclasses.asdict(scenario), "passed": shares}
            print(f"{kind}: {name}: " + ", ".join(f"{test} {own['rate']:.3f}" for test, own in shares.items()))
    told = {"simulations": SIMULATIONS, "limits": dataclasses.asdict(LIMITS), **found}
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", "utf-8")


def _share(passed: int) -> dict[str, float | list[float]]:
    """Return a rate with its two-sided 95 % Clopper-Pearson interval."""
    ends: NDArray[np.float64] = np.nan_to_num(
        [
            beta.ppf(0.025, passed, SIMULATIONS - passed + 1),
            beta.ppf(0.975, passed + 1, SIMULATIONS - passed),
        ],
        nan=1.0 if passed else 0.0,
    )
    return {"rate": passed / SIMULATIONS, "ci95": [round(float(end), 4) for end in ends]}


if __name__ == "__main__":
    main()
