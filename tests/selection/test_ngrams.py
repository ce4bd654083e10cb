"""Hashed n-grams: every n-gram counted once, none across texts, all scripts alike; distances of profiles."""

import numpy as np
import pytest

from compass_ops.selection import ngrams
from compass_ops.selection.ngrams import BUCKETS, SIZES, bucket_counts, profile_distance, text_scores
from tests.selection.oracles import bucketed_ngrams

TEXTS = ["Habari ya asubuhi", "สวัสดีตอนเช้า", "ab", "", "🙂🙂🙂🙂"]


def test_every_ngram_is_counted_and_none_crosses_texts() -> None:
    expected = sum(len(bucketed_ngrams(text, SIZES)) for text in TEXTS)
    assert bucket_counts(TEXTS).sum() == expected
    assert text_scores(TEXTS, np.ones(BUCKETS)).tolist() == [len(bucketed_ngrams(text, SIZES)) for text in TEXTS]


def test_a_bucket_depends_on_the_ngram_alone() -> None:
    alone = bucket_counts(["abc"]).nonzero()[0]
    assert len(alone) == 1
    assert bucket_counts(["xx abc xx"])[alone[0]] >= 1
    assert np.array_equal(bucket_counts(["ABC"]), bucket_counts(["abc"]))


def test_ngrams_spread_over_the_buckets() -> None:
    texts = [f"{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij"]
    assert (bucket_counts(texts) > 0).sum() > 900, "1,000 n-grams in 10,000 buckets: some 950 differ"


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(0).random(BUCKETS)
    whole = bucket_counts(TEXTS), text_scores(TEXTS, weights)
    monkeypatch.setattr(ngrams, "_TEXTS_AT_ONCE", 2)
    assert np.array_equal(bucket_counts(TEXTS), whole[0])
    assert text_scores(TEXTS, weights) == pytest.approx(whole[1])


def test_no_texts_no_counts() -> None:
    assert bucket_counts([]).sum() == 0
    assert text_scores([], np.ones(BUCKETS)).shape == (0,)


def test_profiles_of_like_texts_are_near() -> None:
    first, second, other = (bucket_counts([text]) for text in ("una casa blanca", "una casa bonita", "дом на холме"))
    assert profile_distance(first, first) == pytest.approx(0.0)
    assert profile_distance(first, second) < profile_distance(first, other) <= 1.0
    assert profile_distance(first, np.zeros(BUCKETS)) == 1.0
