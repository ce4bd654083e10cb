"""A language's stream: which labelled rows arrive at each step. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]


def draw_stream(
    topics: Sequence[str | None],
    own: NDArray[np.bool_],
    steps: Sequence[tuple[Mapping[str, float], int]],
    own_share: float,
    rng: np.random.Generator,
) -> list[Rows]:
    """Draw the rows of every step, none twice while others are left.

    Parameters
    ----------
    topics : sequence of str, length n
        Topic of each labelled row.
    own : bool (n,)
        Whether it is in the stream's own language.
    steps : sequence of (shares of topics, rows)
    own_share : float in [0, 1]
        Of each topic's rows, those in the language itself, as far as there are some left.
    rng : numpy.random.Generator

    Returns
    -------
    list of int64 (rows,)
        Row numbers. A topic without enough rows left begins anew.

    Raises
    ------
    ValueError
        If a topic has no rows.
    """
    names, drawn = np.asarray([str(topic) for topic in topics]), []
    left: dict[tuple[str, bool], list[int]] = {}
    for shares, rows in steps:
        chosen: list[int] = []
        for topic, count in topic_counts(shares, rows).items():
            mine, others = (np.flatnonzero((names == topic) & (own == side)) for side in (True, False))
            if not len(others):
                raise ValueError(f"no labelled row of another language is about {topic!r}")
            own_left = left.setdefault((topic, True), rng.permutation(mine).tolist())
            taken = _taken(own_left, round(own_share * count))
            others_left = left.setdefault((topic, False), [])
            while len(others_left) < count - len(taken):
                others_left += rng.permutation(others).tolist()
            chosen += taken + _taken(others_left, count - len(taken))
        drawn.append(rng.permutation(np.array(chosen, np.int64)))
    return drawn


def topic_counts(shares: Mapping[str, float], rows: int) -> dict[str, int]:
    """Divide rows by shares that sum to 1, by largest remainder."""
    exact = {topic: share * rows for topic, share in shares.items()}
    counts = {topic: int(value + 1e-9) for topic, value in exact.items()}
    for topic in sorted(exact, key=lambda topic: counts[topic] - exact[topic])[: rows - sum(counts.values())]:
        counts[topic] += 1
    return counts


def _taken(queue: list[int], count: int) -> list[int]:
    taken = queue[:count]
    del queue[:count]
    return taken
