"""Weighted PageRank with a prior: power iteration that pulls over edges grouped by target."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel, writable

Floats = npt.NDArray[np.float64]
Nodes = npt.NDArray[np.int32]

COARSE_CHANGE = 1e-6
"""While ranks move more than this, what nodes give is kept in single precision.

The cost of an iteration is reading it at random places, and half the bytes stay in cache. Sums
and ranks are always double, and the iterations below this converge to the double fixed point.
"""
_CHUNK = 1 << 16
_MAX_CHUNKS = 64
"""Fixed by the graph alone: sums over chunks then do not depend on the number of threads."""


@dataclass(frozen=True)
class LinkGraph:
    """A directed multigraph over nodes 0 … n − 1 in pull form (CSR by target)."""

    offsets: npt.NDArray[np.int64]
    """Shape (n + 1,): where each target's edges begin."""
    sources: Nodes
    """Shape (m,), by target."""
    weights: Floats
    """Shape (m,): an edge's share of the weight of its source; (0,) where all weigh the same."""
    shares: Floats
    """Shape (n,): what a node gives to an edge per unit of its weight: 1 / out-degree, or 1 where
    edges have weights; 0 for a node that nothing leaves (dangling)."""

    @classmethod
    def of(
        cls,
        sources: npt.NDArray[Any],
        targets: npt.NDArray[Any],
        n_nodes: int,
        weights: npt.NDArray[Any] | None = None,
    ) -> "LinkGraph":
        """Group edges by target; all arrays are of shape (m,), in any order.

        Parallel edges add up and loops count. Raises `ValueError` for nodes outside 0 … n − 1,
        arrays of different lengths, and weights that are negative or not finite.
        """
        if not 0 < n_nodes < 2**31:
            raise ValueError(f"n_nodes is {n_nodes}; expected 1 … 2^31 − 1")
        if len({len(column) for column in (sources, targets, weights) if column is not None}) > 1:
            raise ValueError("sources, targets and weights must have the same length")
        for name, nodes in (("sources", sources), ("targets", targets)):
            if len(nodes) and not (nodes.min() >= 0 and nodes.max() < n_nodes):
                raise ValueError(f"{name} name nodes outside 0 … {n_nodes - 1}")
        if weights is None:
            given = np.empty(0)
        else:
            given = writable(weights, np.float64)
            with np.errstate(over="ignore"):
                finite = np.isfinite(given.sum())
            if not (finite and (given >= 0).all()):
                raise ValueError("weights must be finite, in sum too, and not negative")
        froms, tos = writable(sources, np.int32), writable(targets, np.int32)
        return cls(*_grouped(froms, tos, given, weights is not None, n_nodes))

    def __len__(self) -> int:
        return len(self.shares)


@dataclass(frozen=True)
class PageRank:
    """Ranks and how they were found."""

    ranks: Floats
    """Shape (n,), not negative, of sum 1."""
    iterations: int
    change: float
    """Summed absolute change (L1) of the last iteration."""
    converged: bool
    """Whether that is below the tolerance."""


def pagerank(
    graph: LinkGraph,
    *,
    prior: npt.NDArray[Any] | None = None,
    start: npt.NDArray[Any] | None = None,
    jump: float = 0.1,
    tolerance: float = 1e-9,
    max_iterations: int = 200,
    threads: int = 2,
) -> PageRank:
    """The walk that jumps to the prior with probability `jump` and follows an edge otherwise.

    `rank_i = jump · prior_i + (1 − jump) · (Σ_{j→i} rank_j · w_ji / Σ_k w_jk + dead)`, where
    `dead` is the mass of nodes without outgoing edges, spread evenly over all. Stops when the
    L1 change is below `tolerance`. `prior` (uniform by default) and `start` (the prior by
    default) are of shape (n,) and are normalised to sum 1. The result does not depend on
    `threads`. Raises `ValueError` for arguments outside their range.

    Page, Brin, Motwani and Winograd (1999); the form is Tweepcred's weighted PageRank.
    """
    n = len(graph)
    if not 0 < jump <= 1 or max_iterations < 1 or threads < 1:
        raise ValueError(
            f"jump {jump}, max_iterations {max_iterations}, threads {threads}: expected "
            "0 < jump ≤ 1 and at least one of the others"
        )
    base = _distribution("prior", np.ones(n) if prior is None else prior, n)
    ranks = base.copy() if start is None else _distribution("start", start, n)
    with ThreadPoolExecutor(threads) as pool:
        return _iterate(graph, base, ranks, start is None, jump, tolerance, max_iterations, pool)


def _iterate(
    graph: LinkGraph,
    prior: Floats,
    ranks: Floats,
    cold: bool,
    jump: float,
    tolerance: float,
    max_iterations: int,
    pool: ThreadPoolExecutor,
) -> PageRank:
    n = len(graph)
    bounds = _bounds(graph.offsets)
    walkers = graph.shares > 0
    dead = (1.0 - float(ranks[walkers].sum())) / n
    # A warm start may already be more exact than single precision.
    change = math.inf if cold else 0.0
    iterations = 0
    given = np.empty(0)
    taken = np.empty(0)
    while iterations < max_iterations and not (iterations and change < tolerance):
        precision = np.float32 if change > COARSE_CHANGE else np.float64
        if given.dtype != precision or not len(given):
            given = (ranks * graph.shares).astype(precision)
            taken = np.empty_like(given)
        step = _step(graph, bounds, ranks, given, taken, prior, jump, dead)
        moved, alive = np.array(list(pool.map(step, range(len(bounds) - 1)))).sum(axis=0)
        change, dead = float(moved), (1.0 - float(alive)) / n
        given, taken = taken, given
        iterations += 1
    return PageRank(ranks / ranks.sum(), iterations, change, change < tolerance)


def _step(
    graph: LinkGraph,
    bounds: npt.NDArray[np.int64],
    ranks: Floats,
    given: npt.NDArray[Any],
    taken: npt.NDArray[Any],
    prior: Floats,
    jump: float,
    dead: float,
) -> Callable[[int], tuple[float, float]]:
    """One iteration over one chunk of targets."""

    def step(chunk: int) -> tuple[float, float]:
        return _pull(
            graph.offsets,
            graph.sources,
            graph.weights,
            graph.shares,
            bounds[chunk],
            bounds[chunk + 1],
            ranks,
            given,
            taken,
            prior,
            jump,
            dead,
        )

    return step


@kernel
def _pull(
    offsets: npt.NDArray[np.int64],
    sources: Nodes,
    weights: Floats,
    shares: Floats,
    begin: int,
    end: int,
    ranks: Floats,
    given: npt.NDArray[Any],
    taken: npt.NDArray[Any],
    prior: Floats,
    jump: float,
    dead: float,
) -> tuple[float, float]:
    """Move the ranks of some targets; returns their L1 change and the mass that walks on.

    `given` is what each node gives to an edge of weight 1, `taken` gets the same for the next
    iteration. A target's old rank is read by itself only, so that ranks change in place.
    """
    weighted = len(weights) > 0
    change = 0.0
    alive = 0.0
    for node in range(begin, end):
        total = 0.0
        if weighted:
            for edge in range(offsets[node], offsets[node + 1]):
                total += given[sources[edge]] * weights[edge]
        else:
            for edge in range(offsets[node], offsets[node + 1]):
                total += given[sources[edge]]
        rank = jump * prior[node] + (1.0 - jump) * (total + dead)
        change += abs(rank - ranks[node])
        ranks[node] = rank
        taken[node] = rank * shares[node]
        if shares[node] > 0.0:
            alive += rank
    return change, alive


@kernel
def _grouped(
    sources: Nodes, targets: Nodes, weights: Floats, weighted: bool, n_nodes: int
) -> tuple[npt.NDArray[np.int64], Nodes, Floats, Floats]:
    """A counting sort of edges by target, stable: the fields of `LinkGraph`."""
    n_edges = len(sources)
    offsets = np.zeros(n_nodes + 1, np.int64)
    totals = np.zeros(n_nodes)
    for edge in range(n_edges):
        offsets[targets[edge] + 1] += 1
        totals[sources[edge]] += weights[edge] if weighted else 1.0
    for node in range(n_nodes):
        offsets[node + 1] += offsets[node]
    ends = offsets[:-1].copy()
    by_target = np.empty(n_edges, np.int32)
    their_weights = np.zeros(len(weights))  # an edge of a source of no weight passes nothing on
    for edge in range(n_edges):
        at = ends[targets[edge]]
        ends[targets[edge]] = at + 1
        by_target[at] = sources[edge]
        if weighted and totals[sources[edge]] > 0.0:
            their_weights[at] = weights[edge] / totals[sources[edge]]
    shares = np.zeros(n_nodes)
    for node in range(n_nodes):
        if totals[node] > 0.0:
            shares[node] = 1.0 if weighted else 1.0 / totals[node]
    return offsets, by_target, their_weights, shares


def _bounds(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Where chunks of targets begin and end, of about as many edges and nodes each."""
    work = offsets + np.arange(len(offsets))
    n_chunks = min(_MAX_CHUNKS, 1 + int(work[-1]) // _CHUNK)
    bounds: npt.NDArray[np.int64] = np.searchsorted(
        work, work[-1] * np.arange(n_chunks + 1) // n_chunks
    )
    return bounds


def _distribution(name: str, values: npt.NDArray[Any], n_nodes: int) -> Floats:
    given = np.array(values, np.float64)
    if given.shape != (n_nodes,):
        raise ValueError(f"{name} has shape {given.shape}; expected ({n_nodes},)")
    total = float(given.sum())
    if not (math.isfinite(total) and total > 0 and (given >= 0).all()):
        raise ValueError(f"{name} must be finite and not negative, with a sum above 0")
    return given / total
