"""Pairs of models of known difference, and how often the gate passes them. Pure."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compass_ops.evaluation.gate import GateLimits, PairedItems, judge

CLUSTERS = 20
LIMITS = GateLimits(margin=0.05, alpha=0.05, power=0.8, uncovered_share=1.0, least_items=30)


@dataclass(frozen=True)
class Scenario:
    """One pair of models.

    Attributes
    ----------
    items : int
        Labelled items.
    discordance : float
        Probability that the models differ on an item.
    old, new : float
        True differences of accuracy in the clusters that were asked before, and in those asked now. Where both are
        alike, both distributions are one, over all clusters.
    forms : int
        Parallel forms of a question; two thirds of the questions have the same outcome in all of them.
    concentration : float
        Of the Dirichlet distribution of cluster shares: small is uneven.
    """

    items: int
    discordance: float
    old: float
    new: float
    forms: int
    concentration: float


def rates(scenario: Scenario, simulations: int, rng: np.random.Generator) -> Counter[str]:
    """Count in how many decisions each test passed, and in how many all did ("promote")."""
    old, new = _histograms(scenario, rng)
    passed: Counter[str] = Counter()
    for _ in range(simulations):
        judgement = judge(_items(scenario, rng), old, new, LIMITS, "production")
        for test in judgement.tests:
            passed[test.name] += test.passed
        passed["promote"] += judgement.verdict == "promote"
    return passed


def _histograms(scenario: Scenario, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    shares = [rng.multinomial(100_000, rng.dirichlet(np.full(CLUSTERS, scenario.concentration))) for _ in range(2)]
    if scenario.old == scenario.new:
        return shares[0], shares[0]
    before = np.arange(CLUSTERS) < CLUSTERS // 2
    return np.where(before, shares[0] + 1, 0), np.where(before, 0, shares[1] + 1)


def _items(scenario: Scenario, rng: np.random.Generator) -> PairedItems:
    questions = -(-scenario.items // scenario.forms)
    groups = np.repeat(np.arange(questions), scenario.forms)[: scenario.items]
    clusters = rng.integers(0, CLUSTERS, questions)[groups]
    means = np.where(clusters < CLUSTERS // 2, scenario.old, scenario.new)
    shared = (rng.random(questions) < 2 / 3)[groups]
    uniform = np.where(shared, rng.random(questions)[groups], rng.random(len(groups)))
    better = (scenario.discordance + means) / 2
    worse = (scenario.discordance - means) / 2
    differences = np.where(uniform < worse, -1.0, np.where(uniform > 1 - better, 1.0, 0.0))
    # Gold margins follow the answers, with noise of their own.
    margins = differences + rng.normal(0.0, 0.5, len(groups))
    return PairedItems(
        reference_correct=differences < 1,
        candidate_correct=differences > -1,
        reference_margin=np.zeros(len(groups)),
        candidate_margin=margins,
        clusters=clusters,
        groups=groups,
        unlabelled=0,
    )
