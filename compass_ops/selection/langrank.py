"""The only door to lightgbm: LangRank's ranker of transfer languages, trained on the project's own transfer matrix."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from compass_ops.errors import ModelError

# Of a (target, transfer) pair, before the six distances of URIEL+. Those of LangRank's POS model: no subwords.
FEATURES = ("word_overlap", "transfer_rows", "target_rows", "rows_ratio", "ttr_transfer", "ttr_target", "ttr_distance")
_LISTS = ("targets", "transfers", "scores", "features")
_TOP = 10  # LangRank tells the ten best transfer languages apart; the others are alike


@dataclass(frozen=True)
class TransferMatrix:
    """How well adapters trained on one language serve another: what the ranker learns from.

    Attributes
    ----------
    targets, transfers : tuple of str
    scores : float64 (T, L)
        The higher, the better ``transfers[j]`` served ``targets[i]``, measured on dev.
    features : float64 (T, L, F)
        ``pair_features`` and URIEL+'s distances; NaN where unknown.
    """

    targets: tuple[str, ...]
    transfers: tuple[str, ...]
    scores: NDArray[np.float64]
    features: NDArray[np.float64]


def matrix_as_json(matrix: TransferMatrix) -> dict[str, object]:
    """Return the matrix as a JSON object; null stands for NaN."""
    features = [[[None if np.isnan(x) else float(x) for x in pair] for pair in row] for row in matrix.features]
    return {
        "targets": list(matrix.targets),
        "transfers": list(matrix.transfers),
        "scores": matrix.scores.tolist(),
        "features": features,
    }


def matrix_from_json(value: object, columns: int) -> TransferMatrix:
    """Read a matrix back; ``columns`` are the features that are known of each pair.

    Raises
    ------
    ValueError
        If it has another form, with what was expected and what came.
    """
    if not isinstance(value, Mapping) or not all(isinstance(value.get(name), list) for name in _LISTS):
        came = f"an object with {sorted(value)}" if isinstance(value, Mapping) else f"{json.dumps(value):.60}"
        raise ValueError(f"expected an object with the lists {', '.join(_LISTS)}, got {came}")
    targets, transfers = (tuple(map(str, value[name])) for name in _LISTS[:2])
    shapes = {"scores": (len(targets), len(transfers)), "features": (len(targets), len(transfers), columns)}
    return TransferMatrix(targets, transfers, *(_numbers(value, name, shape) for name, shape in shapes.items()))


def _numbers(value: Mapping[str, list[object]], name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        numbers = np.array(value[name], np.float64)
    except (TypeError, ValueError) as error:  # words, or lists of unequal lengths
        raise ValueError(f"expected {name} in numbers of shape {shape}, got something else ({error})") from error
    if numbers.shape != shape:
        raise ValueError(f"expected {name} of shape {shape}, by targets and transfers, got {numbers.shape}")
    return numbers


def pair_features(target: Sequence[str], transfer: Sequence[str]) -> list[float]:
    """Return LangRank's features of two data sets (arXiv 1905.12688, section 3), by ``FEATURES``.

    Words are what blanks separate, lower case; for scripts without blanks overlap and type-token ratio are coarse.
    """
    words = [[word for text in texts for word in text.lower().split()] for texts in (target, transfer)]
    types = [set(own) for own in words]
    ratios = [len(own) / max(1, len(all_)) for own, all_ in zip(types, words, strict=True)]
    overlap = len(types[0] & types[1]) / max(1, len(types[0]) + len(types[1]))
    sizes = len(transfer), len(target)
    distance = (1 - ratios[1] / ratios[0]) ** 2 if ratios[0] else 0.0
    return [overlap, *map(float, sizes), sizes[0] / max(1, sizes[1]), ratios[1], ratios[0], distance]


def rank(matrix: TransferMatrix, language: str, features: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Return float64 (n,): the ranker's score of each candidate language for a target; higher is better.

    LambdaRank with LangRank's settings (100 trees of 16 leaves, rate 0.1, at least 5 rows a leaf), trained on the
    matrix without the target's own row: what was measured for a language does not choose for it.

    Parameters
    ----------
    matrix : TransferMatrix
    language : str
        The target.
    features : float64 (n, F)
        Of the target with each candidate, as in the matrix.
    seed : int

    Raises
    ------
    ModelError
        If lightgbm is not installed, or the matrix has no other target.
    """
    try:
        from lightgbm import LGBMRanker
    except ModuleNotFoundError as error:
        raise ModelError("langrank needs lightgbm. Run `pip install 'compass_ops[baselines]'`.") from error
    others = [place for place, name in enumerate(matrix.targets) if name != language]
    if not others:
        raise ModelError(f"The transfer matrix holds no target but {language}: nothing is left to learn from.")
    rows, labels, groups = [], [], []
    for place in others:
        valid = [i for i, name in enumerate(matrix.transfers) if name != matrix.targets[place]]
        order = np.argsort(np.argsort(-matrix.scores[place, valid], kind="stable"))
        rows.append(matrix.features[place, valid])
        labels.append(np.maximum(0, _TOP - order))
        groups.append(len(valid))
    ranker = LGBMRanker(
        objective="lambdarank",
        num_leaves=16,
        learning_rate=0.1,
        n_estimators=100,
        min_child_samples=5,
        random_state=seed,
        deterministic=True,
        force_row_wise=True,
        n_jobs=1,
        verbose=-1,
    )
    ranker.fit(np.concatenate(rows), np.concatenate(labels), group=groups)
    return np.asarray(ranker.predict(features), np.float64)
