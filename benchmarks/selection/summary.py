"""The comparison as numbers: per strategy and language, with intervals and tests over languages. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.selection.scores import Score
from benchmarks.selection.statistics import difference, holm, mean_interval
from compass_ops.evaluation.metrics import wilson_interval

CONTROL, OWN = "random", "compass_plus"
ABLATION = f"{OWN} with"  # or without: one part of it changed
_Z = NormalDist().inv_cdf(0.975)

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Cell:
    """One run: its score, what was known before training, and what it cost."""

    score: Score
    energy_distance: float
    duplicates: float
    tokens: int
    seconds: float


def summary(cells: Mapping[tuple[str, str], Sequence[Cell]]) -> dict[str, Any]:
    """Sum up a data set.

    Parameters
    ----------
    cells : mapping of (strategy, language) to the runs of its seeds
        Every strategy has every language.

    Returns
    -------
    dict
        Per strategy ``mean_accuracy`` with ``ci95`` and ``mean_margin`` with ``margin_ci95`` over languages,
        ``per_language``, means of distance, duplicates, tokens and seconds, and the differences ``vs_random`` and
        ``compass_plus_vs``, of accuracy and of margin (``margin_...``): the mean over languages of seed means with its
        95 % limits, exact sign-flip p, Holm's p over the rivals; d of accuracy.
    """
    strategies = sorted({name for name, _ in cells})
    languages = sorted({language for _, language in cells})
    accuracy = {name: _by_language(cells, name, languages, "accuracy") for name in strategies}
    margin = {name: _by_language(cells, name, languages, "margin") for name in strategies}
    table: dict[str, Any] = {}
    for name in strategies:
        runs = [run for language in languages for run in cells[name, language]]
        mean, low, high = mean_interval(accuracy[name])
        mean_margin, margin_low, margin_high = mean_interval(margin[name])
        table[name] = {
            "mean_accuracy": mean,
            "ci95": [low, high],
            "mean_margin": mean_margin,
            "margin_ci95": [margin_low, margin_high],
            "per_language": {language: _language(cells[name, language]) for language in languages},
            "train_tokens": round(float(np.mean([run.tokens for run in runs]))),
            "seconds": float(np.mean([run.seconds for run in runs])),
            "energy_distance": float(np.mean([run.energy_distance for run in runs])),
            "duplicates": float(np.mean([run.duplicates for run in runs])),
        }
    for key, reference in (("vs_random", CONTROL), ("compass_plus_vs", OWN)):
        if reference in strategies:
            _compare(table, key, reference, accuracy, margin)
    return table


def _by_language(
    cells: Mapping[tuple[str, str], Sequence[Cell]], name: str, languages: Sequence[str], what: str
) -> Numbers:
    """Return float64 (languages,): means over seeds."""
    return np.array([np.mean([getattr(run.score, what) for run in cells[name, language]]) for language in languages])


def _language(runs: Sequence[Cell]) -> dict[str, float]:
    """Return one language's accuracy and margin, means over seeds, with the 95 % limits of its items.

    Accuracy's are Wilson's at the effective size, the margin's its standard error's. More seeds, of the same
    items, make neither narrower.
    """
    accuracy = float(np.mean([run.score.accuracy for run in runs]))
    n = float(np.mean([run.score.n for run in runs]))
    limits = wilson_interval(accuracy * n, n)
    margin = float(np.mean([run.score.margin for run in runs]))
    half = _Z * float(np.mean([run.score.margin_error for run in runs]))
    return {
        "accuracy": accuracy,
        "low": limits.low,
        "high": limits.high,
        "margin": margin,
        "margin_low": margin - half,
        "margin_high": margin + half,
        "n": n,
    }


def _compare(
    table: dict[str, Any], key: str, reference: str, accuracy: Mapping[str, Numbers], margin: Mapping[str, Numbers]
) -> None:
    """Add a comparison with a reference to every other strategy's entry.

    ``vs_random`` is strategy minus random, ``compass_plus_vs`` is compass_plus minus strategy. Holm is over the rivals;
    ablations, which are questions of their own, are a family of theirs.
    """
    sign = 1.0 if reference == CONTROL else -1.0
    found = {
        name: (
            difference(sign * own, sign * accuracy[reference]),
            difference(sign * margin[name], sign * margin[reference]),
        )
        for name, own in accuracy.items()
        if name != reference
    }
    for family in (False, True):
        members = {name: pair for name, pair in found.items() if name.startswith(ABLATION) == family}
        adjusted = holm({name: pair[0].p for name, pair in members.items()})
        adjusted_margin = holm({name: pair[1].p for name, pair in members.items()})
        for name, (apart, beside) in members.items():
            values = {"diff" if field == "mean" else field: value for field, value in _finite(asdict(apart)).items()}
            values |= {"p_holm": adjusted[name], "margin_diff": beside.mean}
            values |= {"margin_low": beside.low, "margin_high": beside.high}
            table[name][key] = values | {"margin_p": beside.p, "margin_p_holm": adjusted_margin[name]}


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """JSON knows no infinity: an effect without any spread has no size."""
    return {name: value if np.isfinite(value) else None for name, value in values.items()}
