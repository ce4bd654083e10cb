"""One seed for the project, one independent stream per scope (stage, language, ...)."""

import hashlib

import numpy as np


def derived_seed(seed: int, *scope: str) -> int:
    """Return an int in [0, 2**31) that depends on the seed and the scope alone.

    Adding a language changes no other language's stream, because streams are named, not counted.
    """
    named = "\x1f".join((str(seed), *scope)).encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:4], "big") >> 1


def generator(seed: int, *scope: str) -> np.random.Generator:
    """Return the random generator of a scope: same seed and scope, same draws."""
    return np.random.default_rng(derived_seed(seed, *scope))
