"""DBCV: how well clusters of any shape are separated by lower density. Pure."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

Numbers = NDArray[np.float64]


def density_validity(vectors: Numbers, clusters: NDArray[np.int32]) -> float:
    """Return the density-based clustering validation index (Moulavi et al. 2014, definitions 1 to 8), in [-1, 1].

    Clusters of one row, which have no density, count as noise: 0, by their share.

    Parameters
    ----------
    vectors : float64 (n, d)
        Few dimensions: the core distance raises distances to the power d.
    clusters : int32 (n,)
    """
    names, sizes = np.unique(clusters, return_counts=True)
    kept = names[sizes > 1]
    if len(kept) < 2:
        return 0.0
    groups = [vectors[clusters == name] for name in kept]
    cores = [_core_distances(group) for group in groups]
    trees = [_inner(group, core) for group, core in zip(groups, cores, strict=True)]
    total = 0.0
    for i, (group, core, (sparseness, inside)) in enumerate(zip(groups, cores, trees, strict=True)):
        separation = min(
            float(_reach(group[inside], groups[j][other], core[inside], cores[j][other]).min())
            for j, (_, other) in enumerate(trees)
            if j != i
        )
        largest = max(separation, sparseness)
        total += len(group) * (0.0 if largest == 0 else (separation - sparseness) / largest)
    return total / len(vectors)


def _core_distances(group: Numbers) -> Numbers:
    """Return float64 (n,): all-points core distances (definition 1), the generalised mean of distances, power -d."""
    distances = cdist(group, group)
    distances[distances == 0] = np.finfo(np.float64).tiny ** (1 / (2 * group.shape[1]))  # repeats: as near as can be
    np.fill_diagonal(distances, np.inf)
    return np.power((distances ** -float(group.shape[1])).sum(axis=1) / (len(group) - 1), -1 / group.shape[1])


def _reach(first: Numbers, second: Numbers, core: Numbers, other: Numbers) -> Numbers:
    """Return mutual reachability distances (definition 2), float64 (n, m)."""
    return np.maximum(np.maximum(core[:, None], other[None, :]), cdist(first, second))


def _inner(group: Numbers, core: Numbers) -> tuple[float, NDArray[np.int64]]:
    """Return the density sparseness of a cluster and its inner rows (definitions 4 and 5).

    Inner rows have more than one edge in the minimum spanning tree of mutual reachability; where there are none, as in
    a pair, all rows and edges count.
    """
    reach = _reach(group, group, core, core)
    np.fill_diagonal(reach, 0.0)
    tree = minimum_spanning_tree(reach).tocoo()
    degree = np.bincount(np.concatenate([tree.row, tree.col]), minlength=len(group))
    inside = np.flatnonzero(degree > 1)
    inner = (degree[tree.row] > 1) & (degree[tree.col] > 1)
    edges = tree.data[inner] if inner.any() else tree.data
    return float(edges.max(initial=0.0)), inside if len(inside) else np.arange(len(group))
