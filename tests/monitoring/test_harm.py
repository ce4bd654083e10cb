import numpy as np
import pytest
from numpy.typing import NDArray

from compass_ops.monitoring.drift import Histograms
from compass_ops.monitoring.harm import Harm, HarmSettings, Losses, Source, measure_harm

SETTINGS = HarmSettings(required=True, alpha=0.05, floor_nats=0.0, least_items=2, uncovered_share=0.2, cool_down=0)
HOW = (SETTINGS, 0.05)
Z = 1.6448536269514722


def losses(
    values: list[float] | NDArray[np.float64],
    clusters: list[int] | NDArray[np.int64],
    groups: list[int] | None = None,
    source: Source = "dev items",
) -> Losses:
    own = np.arange(len(values)) if groups is None else np.array(groups)
    return Losses(source, np.array(values, dtype=np.float64), np.array(clusters), own)


def histograms(reference: list[int], window: list[int]) -> Histograms:
    return Histograms(np.array(reference), np.array(window))


def measured(
    now: Losses, dev: Losses, asked: Histograms, drifted: bool = True, how: tuple[HarmSettings, float] = HOW
) -> Harm:
    harm = measure_harm(now, dev, asked, drifted, how)
    assert isinstance(harm, Harm), harm
    return harm


def test_hand_computed_on_dev_items() -> None:
    """Cluster 0 falls from 3/4 to 1/4, cluster 1 rises: what is asked more is cluster 1 alone."""
    dev = losses([1, 2, 4, 6], [0, 0, 1, 1])
    harm = measured(dev, dev, histograms([3, 1], [1, 3]))
    assert harm.after == pytest.approx(5)
    assert harm.before == pytest.approx(0.75 * 1.5 + 0.25 * 5)
    # Each item's part: new weight (loss - 5) - old weight (loss - 2.375), and 4 of 3 for four groups.
    parts = np.array([-0.375 * -1.375, -0.375 * -0.375, -0.5 - 0.125 * 1.625, 0.5 - 0.125 * 3.625])
    half = Z * np.sqrt((parts**2).sum() * 4 / 3)
    assert harm.low == pytest.approx(2.625 - half)
    assert harm.high == pytest.approx(2.625 + half)
    assert harm.n == 2
    assert harm.effective_n == pytest.approx(2.0)


def test_feedback_is_independent_of_earlier_feedback_and_sessions_count_once() -> None:
    past = losses([1.0, 1.4, 0.6, 1.0], [0, 0, 1, 1], source="feedback")
    now = losses([2.0, 2.0, 3.0, 3.0, 2.5, 2.5], [0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2], "feedback")
    harm = measured(now, past, histograms([1, 1], [1, 1]), drifted=False)
    assert harm.source == "feedback"
    assert harm.after == pytest.approx(2.5)
    assert harm.before == pytest.approx(1.0)
    own = np.array([2 / 8 * -0.5, 2 / 8 * 0.5])  # weights 1/8 in cluster 0; the third session has no residual
    other = np.array([0.25 * 0.4, 0.25 * -0.4])  # two items have no residual
    half = Z * np.sqrt((own**2).sum() * 2 + (other**2).sum() * 2)
    assert harm.high - 1.5 == pytest.approx(half)


@pytest.mark.parametrize(
    ("values", "clusters", "said"),
    [
        ([1.0, 1.0, 1.0], [0, 0, 0], "100% without a labelled item among the dev items"),
        ([1.0, 1.0, 1.0], [0, 0, 1], "only 1 effective items among the dev items"),
        ([1.0, np.nan, 1.0], [0, 1, 1], "losses that are not finite among the dev items"),
    ],
)
def test_what_cannot_be_measured_is_said(values: list[float], clusters: list[int], said: str) -> None:
    dev = losses(values, clusters)
    told = measure_harm(dev, dev, histograms([3, 1], [1, 3]), True, HOW)
    assert isinstance(told, str)
    assert said in told


def _sessions(rng: np.random.Generator, rows: int, rise: float, clusters: NDArray[np.int64]) -> Losses:
    """Feedback in sessions of two, whose losses are alike; users' answers cost 1.6 nats more than dev's."""
    shared = np.repeat(rng.gamma(0.5, 1.0, rows // 2), 2)
    values = 1.6 + rise + shared + rng.gamma(0.5, 1.0, rows)
    return losses(values, clusters, np.repeat(np.arange(rows // 2), 2).tolist(), "feedback")


@pytest.mark.parametrize("feedback", [False, True])
def test_level_and_power(feedback: bool) -> None:
    """Equal losses are called harm at most as often as stated; a rise of one standard deviation is found."""
    rng = np.random.default_rng(3)
    asked, shown = histograms([30, 30, 30, 10], [10, 10, 20, 60]), {0.0: 0, 1.0: 0}
    rounds = 1000
    for rise in shown:
        for _ in range(rounds):
            clusters = rng.permutation(np.repeat(np.arange(4), [60, 60, 60, 40]))
            if feedback:
                past, now = _sessions(rng, 220, 0.0, clusters), _sessions(rng, 60, rise, rng.integers(2, 4, 60))
            else:
                past = now = losses(rng.gamma(1.0, 1.0, 220) + rise * (clusters == 3), clusters)
            shown[rise] += measured(now, past, asked).shown
    assert shown[0.0] / rounds <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / rounds)
    assert shown[1.0] / rounds > 0.8
