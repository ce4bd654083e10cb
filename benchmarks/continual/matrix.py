"""The accuracy matrix of a stream and what is read off it. Pure."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def accuracy_matrix(by_topic: Sequence[Mapping[str, float]], asked: Sequence[Mapping[str, float]]) -> Matrix:
    """Return R, float64 (T, T): R[i, j] is accuracy after step i on what is asked at step j.

    Parameters
    ----------
    by_topic : sequence of T mappings
        Accuracy on each topic's test items after each step.
    asked : sequence of T mappings
        Shares of topics at each step, summing to 1. All topics asked have items.
    """
    return np.array([[sum(share * own[topic] for topic, share in step.items()) for step in asked] for own in by_topic])


def final_accuracy(matrix: Matrix) -> float:
    """Return ACC, the mean of the last row: all distributions, after the last step (Lopez-Paz and Ranzato 2017)."""
    return float(matrix[-1].mean())


def backward_transfer(matrix: Matrix) -> float:
    """Return BWT, the mean over j < T of R[T, j] - R[j, j] (Lopez-Paz and Ranzato 2017)."""
    return float((matrix[-1] - np.diag(matrix))[:-1].mean())


def forgetting(matrix: Matrix) -> float:
    """Return the mean over j < T of max over i < T of R[i, j], less R[T, j] (Chaudhry et al. 2018)."""
    return float((matrix[:-1].max(axis=0) - matrix[-1])[:-1].mean())
