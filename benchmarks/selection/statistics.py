"""Tests of differences between strategies over languages: exact, and small enough to be checked by enumeration."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

Numbers = NDArray[np.float64]
MOST = 20  # languages: 2^20 sign patterns are a second


@dataclass(frozen=True)
class Difference:
    """A paired difference over languages: mean with its 95 % limits, exact two-sided p, and effect size."""

    mean: float
    low: float
    high: float
    p: float
    d: float


def sign_flip_p(differences: Numbers) -> float:
    """Return the exact two-sided p of a mean difference under independent sign flips.

    Under "no difference" a language's difference, averaged over seeds, is as likely as its negative. All 2^n sign
    patterns are counted, the observed one too, so p is at least 2 / 2^n.

    Parameters
    ----------
    differences : float64 (n,), n <= 20
        One per language.
    """
    n = len(differences)
    if n > MOST:
        raise ValueError(f"{n} languages are too many for all sign patterns; at most {MOST}.")
    sums = np.zeros(1)
    for value in np.abs(differences):
        sums = np.concatenate([sums + value, sums - value])
    observed = abs(float(differences.sum()))
    return float((np.abs(sums) >= observed - 1e-12 * max(1.0, observed)).mean())


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return Holm's step-down adjusted p-values (Holm 1979)."""
    ranked = sorted(p_values, key=lambda name: p_values[name])
    adjusted, largest = {}, 0.0
    for place, name in enumerate(ranked):
        largest = max(largest, min(1.0, (len(ranked) - place) * p_values[name]))
        adjusted[name] = largest
    return adjusted


def effect_size(differences: Numbers) -> float:
    """Return Cohen's d of paired differences: mean over standard deviation (n - 1); 0 for none, inf for a constant."""
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    if deviation < 1e-12:
        return 0.0 if abs(mean) < 1e-12 else float(np.copysign(np.inf, mean))
    return mean / deviation


def mean_interval(values: Numbers) -> tuple[float, float, float]:
    """Return mean and 95 % limits by Student's t over languages; n >= 2."""
    half = float(student.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / np.sqrt(len(values))
    mean = float(values.mean())
    return mean, mean - half, mean + half


def difference(first: Numbers, second: Numbers) -> Difference:
    """Compare two strategies' scores over the same languages, (n,) each, averaged over seeds."""
    apart = first - second
    mean, low, high = mean_interval(apart)
    return Difference(mean, low, high, sign_flip_p(apart), effect_size(apart))
