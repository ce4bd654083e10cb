"""The gate's stated error rates, in few simulations; ``benchmarks.gate`` has 2,000 of each kind."""

import dataclasses

import numpy as np
import pytest

from benchmarks.gate.run import LEVEL, POWER
from benchmarks.gate.simulate import LIMITS, Scenario, rates
from benchmarks.gate.table import README, RESULTS, tables
from benchmarks.reporting import with_tables
from compass_ops.evaluation.gate import BETTER, NOT_WORSE
from compass_ops.storage import read_json

FEW = 300


@pytest.mark.parametrize("name", sorted(LEVEL))
def test_level(name: str) -> None:
    """At the edge of a hypothesis at most alpha pass, and three standard errors more."""
    counts = rates(LEVEL[name], FEW, np.random.default_rng(1))
    edge = NOT_WORSE if LEVEL[name].old < 0 else BETTER
    assert counts[edge] / FEW <= LIMITS.alpha + 3 * np.sqrt(LIMITS.alpha * (1 - LIMITS.alpha) / FEW)
    assert counts["promote"] <= counts[edge]


@pytest.mark.parametrize(("name", "test"), [(sorted(POWER)[0], NOT_WORSE), (sorted(POWER)[2], BETTER)])
def test_power(name: str, test: str) -> None:
    assert rates(POWER[name], FEW, np.random.default_rng(1))[test] / FEW == pytest.approx(LIMITS.power, abs=0.12)


def test_items_have_the_stated_differences() -> None:
    """With one outcome per question an error of this test would be one of the simulation."""
    even = Scenario(items=750, discordance=0.15, old=0.0, new=0.1, forms=3, concentration=1.0)
    assert rates(even, 50, np.random.default_rng(1))["promote"] > 0
    hopeless = dataclasses.replace(even, new=-0.1)
    assert rates(hopeless, 50, np.random.default_rng(1))["promote"] == 0


def test_the_readme_holds_the_tables_of_the_results() -> None:
    text = README.read_text("utf-8")
    assert with_tables(text, tables(read_json(RESULTS))) == text, "run `python -m benchmarks.gate.table`"


def test_the_results_keep_the_level() -> None:
    """The lower 95 % bound of a level in the results is at most alpha."""
    results = read_json(RESULTS)
    assert results["simulations"] >= 2000
    for name, row in results["level"].items():
        edge = NOT_WORSE if row["scenario"]["old"] < 0 else BETTER
        assert row["passed"][edge]["ci95"][0] <= LIMITS.alpha, name
