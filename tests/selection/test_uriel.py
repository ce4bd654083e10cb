"""URIEL+ answers for BCP-47 tags, offline and in silence."""

import logging

import numpy as np
import pytest

from compass_ops.selection.uriel import FEATURES, distances, known


def test_tags_of_two_and_three_letters_scripts_and_aliases_are_known() -> None:
    assert known(["sw", "sw-Latn", "zu", "pcm", "zh-Hant", "he", "qaa"]) == [True] * 6 + [False]


def test_distances_are_symmetric_in_0_1_and_0_to_oneself() -> None:
    table = distances(["en", "de", "zu"])
    assert table.shape == (3, 3, len(FEATURES))
    assert np.allclose(table, table.transpose(1, 0, 2), atol=1e-3, equal_nan=True)
    assert (table[np.arange(3), np.arange(3)] == 0).all()
    assert ((table >= 0) & (table <= 1))[~np.isnan(table)].all()
    assert table[0, 1].mean() < table[0, 2].mean(), "English is nearer to German than to Swahili"


def test_distances_are_the_packages_own() -> None:
    """The family tree is left out: it takes the package seconds a language, in the same way."""
    from urielplus.urielplus import URIELPlus

    slow = URIELPlus()
    table = distances(["en", "de", "zu"])
    for kind, name in enumerate(FEATURES[1:], start=1):
        theirs = np.asarray(slow.new_distance(name, ["eng", "deu", "zul"]))
        assert table[:, :, kind] == pytest.approx(theirs, abs=1e-3), name


def test_scripts_of_one_language_are_one_language() -> None:
    assert (distances(["zh-Hans", "zh-Hant"]) == 0).all()
    table = distances(["zh-Hans", "zh-Hant", "en"])
    assert (table[0, 1] == 0).all()
    assert np.array_equal(table[0, 2], table[1, 2], equal_nan=True)


def test_it_is_silent_and_leaves_logging_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    level, handlers = logging.getLogger().level, logging.getLogger().handlers[:]
    distances(["fi", "et"])
    assert caplog.records == []
    assert (logging.getLogger().level, logging.getLogger().handlers) == (level, handlers)
