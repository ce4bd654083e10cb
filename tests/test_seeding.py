"""Named streams of random numbers: pinned values, and independence of one another."""

import numpy as np
import pytest
from scipy import stats

from compass_ops.seeding import derived_seed, generator

# SHA-256 of "0", "0\x1fsample\x1fsw" and "7\x1fsample\x1fsw" (printf '0\037sample\037sw' | sha256sum): the first
# four bytes, big-endian, halved.
PINNED = {(0,): 0x5FECEB66 >> 1, (0, "sample", "sw"): 0x04EA772A >> 1, (7, "sample", "sw"): 0xE726434E >> 1}


@pytest.mark.parametrize(("scope", "seed"), PINNED.items())
def test_derived_seeds_never_change(scope: tuple[int, str, str], seed: int) -> None:
    assert derived_seed(*scope) == seed


def test_derived_seeds_lie_in_31_bits_and_tell_scopes_apart() -> None:
    scopes = [("a", "b"), ("ab",), ("a",), ("b", "a"), ("", "a"), ("a", "")]
    seeds = {derived_seed(seed, *scope) for seed in range(500) for scope in scopes}
    assert len(seeds) == 500 * len(scopes)
    assert min(seeds) >= 0
    assert max(seeds) < 2**31


def test_seed_and_scope_cannot_be_confused() -> None:
    assert derived_seed(1, "2", "3") != derived_seed(12, "3")
    assert derived_seed(1, "23") != derived_seed(1, "2", "3")


def test_the_same_scope_draws_the_same() -> None:
    first, second = (generator(3, "cluster").random(8) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_streams_of_two_languages_are_uncorrelated() -> None:
    ca, sw = (generator(0, "sample", language).random(2000) for language in ("ca", "sw"))
    assert abs(stats.pearsonr(ca, sw).statistic) < 0.08  # 3.6 standard errors
    assert stats.kstest(ca, "uniform").pvalue > 1e-3
