"""Rows for one comparison: what is fitted on, the reference and the window, with a shift of a stated kind and size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.drift.streams import Stream
from compass_ops.monitoring.measures import Sample

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sizes:
    """Rows to fit on, of the reference and of the window."""

    fitting: int
    reference: int
    window: int

    @property
    def total(self) -> int:
        """Rows needed."""
        return self.fitting + self.reference + self.window


@dataclass(frozen=True)
class Drawn:
    """Vectors to fit on, and the two samples."""

    fitting: NDArray[np.float32]
    reference: Sample
    window: Sample


Draw = Callable[[Stream, Stream, Sizes, float, np.random.Generator], Drawn]


def no_shift(own: Stream, foreign: Stream, sizes: Sizes, share: float, rng: np.random.Generator) -> Drawn:
    """A/A: three disjoint random parts of one stream."""
    return _cut(own, rng.permutation(len(own.topics)), sizes)


def topic_mix(own: Stream, foreign: Stream, sizes: Sizes, share: float, rng: np.random.Generator) -> Drawn:
    """A share of the window's rows is taken from other topics and given to one that is known already."""
    order = rng.permutation(len(own.topics))
    drawn = _cut(own, order, sizes)
    spare = order[sizes.total :]
    topic = _topic(own.topics[spare], share * sizes.window, rng)
    spare = spare[own.topics[spare] == topic]
    return _replaced(drawn, own, order, sizes, (spare, own.topics != topic), share)


def new_topic(own: Stream, foreign: Stream, sizes: Sizes, share: float, rng: np.random.Generator) -> Drawn:
    """A share of the window's rows is of a topic that the reference does not know."""
    topic = _topic(own.topics, share * sizes.window, rng)
    known = own.topics != topic
    order = rng.permutation(np.flatnonzero(known))
    spare = rng.permutation(np.flatnonzero(~known))
    return _replaced(_cut(own, order, sizes), own, order, sizes, (spare, known), share)


def language_mix(own: Stream, foreign: Stream, sizes: Sizes, share: float, rng: np.random.Generator) -> Drawn:
    """A share of the window's rows is in another language."""
    drawn = no_shift(own, foreign, sizes, share, rng)
    count = round(share * sizes.window)
    strays = rng.choice(len(foreign.topics), count, replace=False)
    vectors, scripts = drawn.window.vectors.copy(), drawn.window.scripts.astype(object)
    vectors[:count], scripts[:count] = foreign.vectors[strays], foreign.scripts[strays]
    return Drawn(drawn.fitting, drawn.reference, Sample(vectors, scripts.astype(str), drawn.window.blocks))


def _topic(topics: NDArray[np.str_], rows: float, rng: np.random.Generator) -> str:
    """Draw one of the topics that have enough rows."""
    names, counts = np.unique(topics, return_counts=True)
    return str(rng.choice(names[counts >= rows]))


def _cut(own: Stream, order: Rows, sizes: Sizes) -> Drawn:
    fitting, reference, window = np.split(order[: sizes.total], [sizes.fitting, sizes.fitting + sizes.reference])
    return Drawn(own.vectors[fitting], _sample(own, reference), _sample(own, window))


def _replaced(
    drawn: Drawn, own: Stream, order: Rows, sizes: Sizes, taken: tuple[Rows, NDArray[np.bool_]], share: float
) -> Drawn:
    """Put ``share`` of the window's size of spare rows in the place of rows that may be given up."""
    spare, may_go = taken
    window = order[sizes.total - sizes.window : sizes.total].copy()
    places = np.flatnonzero(may_go[window])
    count = round(share * sizes.window)
    if count > min(len(places), len(spare)):
        raise ValueError(f"a shift of {count} rows is asked for; {len(spare)} can come and {len(places)} can go.")
    window[places[:count]] = spare[:count]
    return Drawn(drawn.fitting, drawn.reference, _sample(own, window))


def _sample(own: Stream, rows: Rows) -> Sample:
    return Sample(own.vectors[rows], own.scripts[rows], np.arange(len(rows)))
