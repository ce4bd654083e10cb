"""Where distances come from, and what is done and said when a language is unknown."""

import numpy as np
import pytest

from compass_ops.errors import ModelError
from compass_ops.selection.distances import (
    _imputed,
    by_ngrams,
    by_uriel,
    distances_needed,
    language_distances,
    transfer_features,
)
from compass_ops.selection.langrank import FEATURES, TransferMatrix
from compass_ops.selection.problem import Pool
from tests.selection.problems import plus, pool, settings


def test_only_strategies_by_language_need_distances() -> None:
    assert distances_needed(settings("langsim")) == "uriel"
    assert distances_needed(settings("langrank")) == "langrank"
    assert distances_needed(settings("compass_plus", compass_plus=plus(affinity=1.0))) == "ngrams"
    assert [distances_needed(settings(name)) for name in ("compass", "random", "compass_plus")] == [None] * 3


def texts_in(*languages: str) -> Pool:
    return pool([0] * len(languages), languages)


def test_nearest_by_uriel_are_relatives() -> None:
    found = by_uriel("ca", ["hola"], texts_in("es", "zh", "fi"))
    assert min(found.values, key=lambda name: found.values[name]) == "es"
    assert (found.source, found.notes) == ("URIEL+", ())
    assert all(0 < value < 1 for value in found.values.values())


def test_an_unknown_language_of_the_pool_is_as_far_as_the_others_on_average() -> None:
    found = by_uriel("ca", ["hola"], texts_in("es", "fi", "qaa", "ca"))
    assert found.values["qaa"] == pytest.approx((found.values["es"] + found.values["fi"]) / 2)
    assert found.notes == ("URIEL+ does not know qaa: taken to be as far as the others on average.",)


def test_a_language_of_which_little_is_recorded_is_not_nearer_for_that() -> None:
    """Nynorsk has no genetic distance in URIEL+; left out, that drew it nearer to Swahili than Zulu."""
    there = texts_in("zu", "nn", "en", "fr", "sn", "lg")
    found = by_uriel("sw", ["habari"], there)
    assert found.values["nn"] > max(found.values[name] for name in ("zu", "sn", "lg"))
    assert found.notes == (
        "URIEL+ records less than half of the distances of nn: the other languages' mean stands in.",
    )


def test_gaps_are_filled_with_the_feature_s_mean_over_the_other_languages() -> None:
    nan = float("nan")
    table = np.array([[0.0, 0.0, nan], [0.2, nan, nan], [0.6, 0.5, nan]])
    filled = _imputed(table, np.array([False, True, True]))
    assert filled.tolist() == [[0.0, 0.0], [0.2, 0.5], [0.6, 0.5]], "the target's own row stands for nothing"


def test_for_an_unknown_target_the_texts_decide() -> None:
    there = texts_in("es", "fi")
    found = by_uriel("qaa", ["text 0 of 0"], there)
    assert found.values == by_ngrams(["text 0 of 0"], there).values
    assert found.source == "character n-grams"
    assert found.notes == ("URIEL+ does not know qaa: distances are those of the texts' character n-grams.",)


@pytest.mark.parametrize("names", [("qaa", "qab"), ("ca", "qaa"), ("ca",)])
def test_for_a_pool_of_unknown_languages_the_texts_decide(names: tuple[str, ...]) -> None:
    """The target's own rows, which the pool holds for other targets, tell nothing of the others."""
    there = texts_in(*names)
    found = by_uriel("ca", ["text 0 of 0"], there)
    assert found.values == by_ngrams(["text 0 of 0"], there).values
    assert found.source == "character n-grams"
    assert found.notes == (
        "URIEL+ has no distance of ca from another language of the pool: distances are those of the texts' character "
        "n-grams.",
    )


def test_langrank_orders_languages_and_needs_its_matrix() -> None:
    there = texts_in("es", "fi", "zh")
    with pytest.raises(ModelError, match=r"Name one in sample\.transfer_matrix"):
        language_distances("langrank", "ca", ["hola"], there)
    features = np.stack([transfer_features(target, ["hola"], there) for target in ("pt", "it", "et")])
    assert features.shape == (3, 3, len(FEATURES) + 6)
    matrix = TransferMatrix(("pt", "it", "et"), ("es", "fi", "zh"), np.random.default_rng(0).random((3, 3)), features)
    found = language_distances("langrank", "ca", ["hola"], there, matrix)
    assert sorted(found.values.values()) == [0.0, 1.0, 2.0]
    assert found.source == "LangRank, retrained on this project's transfer matrix"
    assert found.notes == ()


def test_langrank_says_which_languages_it_knows_by_their_texts_alone() -> None:
    there = texts_in("es", "fi", "qaa")
    features = np.stack([transfer_features(target, ["hola"], there) for target in ("pt", "it")])
    matrix = TransferMatrix(("pt", "it"), ("es", "fi", "qaa"), np.random.default_rng(0).random((2, 3)), features)
    found = language_distances("langrank", "qab", ["hola"], there, matrix)
    assert found.notes == ("URIEL+ does not know qaa, qab: LangRank judges there by the texts' features alone.",)
