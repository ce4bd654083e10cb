"""The comparison as numbers: per method and language, with intervals and tests over languages. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.continual.matrix import Matrix, backward_transfer, final_accuracy, forgetting
from benchmarks.selection.statistics import difference, mean_interval

OWN, COSTLY = "ecda", "full_retrain"
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Chain:
    """One method along one stream under one seed.

    Attributes
    ----------
    matrix : float64 (T, T)
        R, see ``matrix.accuracy_matrix``.
    tokens : sequence of T int
        Tokens seen forward and backward at each step: the task's, the anchors', and those of the Fisher diagonal.
    teacher_tokens : int
        Tokens seen forward alone, by the parent, over all steps.
    seconds : float
        Training, choice of the candidate and memory, over all steps, without the scoring of the matrix.
    """

    matrix: Matrix
    tokens: Sequence[int]
    teacher_tokens: int
    seconds: float


def summary(chains: Mapping[tuple[str, str], Sequence[Chain]]) -> dict[str, Any]:
    """Sum up a data set.

    Parameters
    ----------
    chains : mapping of (method, language) to the chains of its seeds
        Every method has every language.

    Returns
    -------
    dict
        Per method ``acc`` with ``ci95`` over languages, ``bwt``, ``forgetting``, ``worst_language``,
        ``train_tokens`` (means of a chain's sum), ``last_tokens``, ``seconds``, ``matrix`` (mean R) and
        ``per_language``; for all but ``ecda`` also ``ecda_vs``: the difference of ACC, ecda minus it, over languages.
    """
    methods = sorted({name for name, _ in chains})
    languages = sorted({language for _, language in chains})
    table = {name: _method({tag: chains[name, tag] for tag in languages}) for name in methods}
    if OWN in methods:
        for name in methods:
            if name != OWN:
                table[name]["ecda_vs"] = _compared(table[OWN], table[name], languages)
    if COSTLY in methods:
        for name in methods:
            for what in ("train_tokens", "last_tokens"):
                table[name][f"{what}_share"] = table[name][what] / table[COSTLY][what]
    return table


def _method(chains: Mapping[str, Sequence[Chain]]) -> dict[str, Any]:
    every = [chain for own in chains.values() for chain in own]
    per_language = {tag: _language(own) for tag, own in chains.items()}
    acc, low, high = mean_interval(np.array([own["acc"] for own in per_language.values()]))
    worst = min(per_language, key=lambda tag: per_language[tag]["acc"])
    return {
        "acc": acc,
        "ci95": [low, high],
        "bwt": _mean([own["bwt"] for own in per_language.values()]),
        "forgetting": _mean([own["forgetting"] for own in per_language.values()]),
        "worst_language": {"language": worst, "acc": per_language[worst]["acc"]},
        "train_tokens": round(_mean([sum(chain.tokens) for chain in every])),
        "last_tokens": round(_mean([chain.tokens[-1] for chain in every])),
        "teacher_tokens": round(_mean([chain.teacher_tokens for chain in every])),
        "seconds": _mean([chain.seconds for chain in every]),
        "matrix": np.mean([chain.matrix for chain in every], axis=0).round(4).tolist(),
        "per_language": per_language,
    }


def _language(chains: Sequence[Chain]) -> dict[str, float]:
    """Return one language's figures, means over its seeds."""
    return {
        "acc": _mean([final_accuracy(chain.matrix) for chain in chains]),
        "bwt": _mean([backward_transfer(chain.matrix) for chain in chains]),
        "forgetting": _mean([forgetting(chain.matrix) for chain in chains]),
    }


def _compared(own: Mapping[str, Any], other: Mapping[str, Any], languages: Sequence[str]) -> dict[str, float]:
    first, second = (np.array([entry["per_language"][tag]["acc"] for tag in languages]) for entry in (own, other))
    apart = difference(first, second)
    return {"diff": apart.mean, "low": apart.low, "high": apart.high, "p": apart.p}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
