"""LangRank's features by hand; the ranker learns what there is to learn, and never from the target's own row."""

import sys
from typing import Any

import numpy as np
import pytest

from compass_ops.errors import ModelError
from compass_ops.selection.langrank import TransferMatrix, matrix_as_json, matrix_from_json, pair_features, rank


def test_features_by_hand() -> None:
    """Target: 4 words of 3 types; transfer: 4 words of 2 types, one of them shared."""
    found = pair_features(["a b", "B c"], ["b x", "x x"])
    assert found == [1 / 5, 2.0, 2.0, 1.0, 2 / 4, 3 / 4, pytest.approx((1 - (2 / 4) / (3 / 4)) ** 2)]
    assert pair_features([], ["a"]) == [0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0]


def matrix() -> TransferMatrix:
    """Transfer is the better, the smaller the last feature."""
    rng = np.random.default_rng(0)
    features = rng.random((6, 12, 3))
    names = tuple(f"t{n}" for n in range(6)), tuple(f"l{n}" for n in range(12))
    return TransferMatrix(*names, -features[:, :, 2], features)


def test_it_learns_which_languages_serve() -> None:
    features = np.random.default_rng(1).random((12, 3))
    scores = rank(matrix(), "new", features, seed=0)
    order = np.argsort(-scores)
    assert features[order[:3], 2].mean() < features[order[-3:], 2].mean() - 0.3


def test_the_targets_own_row_is_left_out() -> None:
    features = np.random.default_rng(1).random((12, 3))
    told = matrix()
    told.scores[2] = 99 * np.random.default_rng(3).random(12)
    assert rank(told, "t2", features, seed=0).tolist() == rank(matrix(), "t2", features, seed=0).tolist()
    assert rank(told, "t1", features, seed=0).tolist() != rank(matrix(), "t1", features, seed=0).tolist()


def test_without_its_optional_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ModelError, match=r"pip install 'compass_ops\[baselines\]'"):
        rank(matrix(), "new", np.ones((12, 3)), seed=0)


def test_nothing_to_learn_from_is_said() -> None:
    alone = TransferMatrix(("sw",), ("id",), np.ones((1, 1)), np.ones((1, 1, 3)))
    with pytest.raises(ModelError, match="holds no target but sw"):
        rank(alone, "sw", np.ones((1, 3)), seed=0)


def test_a_matrix_is_read_back_as_it_was_written() -> None:
    told = matrix()
    told.features[0, 0, 0] = np.nan
    again = matrix_from_json(matrix_as_json(told), 3)
    assert (again.targets, again.transfers) == (told.targets, told.transfers)
    assert np.array_equal(again.features, told.features, equal_nan=True)
    assert np.array_equal(again.scores, told.scores)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"targets": None}, "expected an object with the lists targets, transfers, scores, features, got an object"),
        ({"targets": ["t0"]}, r"expected scores of shape \(1, 12\), by targets and transfers, got \(6, 12\)"),
        ({"scores": [[0.0], [0.0, 1.0]]}, r"expected scores in numbers of shape \(6, 12\), got something else"),
        ({"scores": ["good", "bad"]}, r"expected scores in numbers of shape \(6, 12\), got something else"),
        ({"features": [[[0.0] * 4] * 12] * 6}, r"expected features of shape \(6, 12, 3\), .* got \(6, 12, 4\)"),
    ],
    ids=["no targets", "fewer targets", "unequal rows", "words", "more features"],
)
def test_what_is_no_matrix_is_told_with_what_was_expected(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        matrix_from_json(matrix_as_json(matrix()) | changed, 3)
    with pytest.raises(ValueError, match=r"expected an object .* got \[1, 2\]"):
        matrix_from_json([1, 2], 3)
