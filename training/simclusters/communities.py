"""Communities of producers: sparse binary factorisation of the similarity by Metropolis-Hastings.

Looks for a binary V of at most one community a row with S ≈ V·Vᵀ. A vertex v judges a community
c by what belonging to it is worth to v alone, against belonging to none:

    ΔL(v, c) = α·W − w̄·(|c| − tp)

where W is the weight and tp the number of its edges into c, w̄ its mean edge weight and |c| the
size of c (v itself counted where it is a member): α for each unit of weight explained, and w̄
for each member that is no neighbour. This is sbf's L(v, {c}) − L(v, ∅), without the difference
of two numbers as large as the graph that loses it in float32.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.edge_draws import next_random, random_unit
from actors.stores.kernels import kernel, writable
from cluster.ids import Ids
from training.job import Progress, silent
from training.simclusters.similarity import Float64s, Floats, Int32s, Similarity

SEED_SHARES = (0.9, 0.5, 0.0)
"""An empty community starts around a vertex of whose neighbourhood at least this share is
unassigned; the next share is asked for once no vertex has the one before. The last takes any."""


@dataclass(frozen=True)
class Sweep:
    """One visit of every vertex."""

    accept_rate: float
    """Vertices that moved, of all."""
    reseeded: int
    """Empty communities that got members before the sweep (in a cold start's first: all)."""


@dataclass(frozen=True)
class Communities:
    """Who belongs where: `memberships` int32 (n,), −1 for none, in the rows of the similarity."""

    memberships: Int32s
    n_communities: int
    sweeps: tuple[Sweep, ...]

    def sizes(self) -> Ids:
        """Members of each community, int64 (n_communities,)."""
        return _sizes(self.memberships, self.n_communities).astype(np.int64)

    @property
    def n_empty(self) -> int:
        """Communities without members."""
        return int(np.count_nonzero(self.sizes() == 0))


def find_communities(
    similarity: Similarity,
    n_communities: int,
    *,
    rng: np.random.Generator,
    initial: Int32s | None = None,
    alpha: float = 10.0,
    max_sweeps: int = 4,
    acceptance_scale: float = 0.5,
    min_accept_rate: float = 0.01,
    threads: int = 2,
    progress: Progress = silent,
) -> Communities:
    """At most `n_communities` communities of the graph's vertices; ids 0 … n_communities − 1.

    From `initial` (n,), −1 for none, every community keeps its id (`carry_over` brings the
    memberships of another graph into these rows); without it every community is empty. Before
    each sweep the empty ones are started anew from neighbourhoods of unassigned vertices. A
    sweep visits all vertices in random order; each draws one of its neighbours' communities
    but its own, or none, with probability ∝ exp(ΔL) (the greatest ΔL after adding standard
    Gumbel noise to each has the same distribution), and moves there with probability
    min(1, exp(`acceptance_scale`·(ΔL new − ΔL old))). It ends after `max_sweeps`, or when fewer
    than `min_accept_rate` of the vertices moved. The defaults are those of the update of KnownFor
    (its comments speak of 4 sweeps, its code has 3).

    With one thread the same generator gives the same memberships. More threads share
    memberships and sizes without locks (Hogwild, as sbf): each vertex is moved by one thread
    only and draws the same random numbers, but what it sees of the others depends on timing,
    so two runs differ in a few vertices. Sizes are counted anew before each sweep, so a lost
    update lasts for one sweep at most.

    Raises `ValueError` where `initial` does not fit the graph or `n_communities`.
    """
    n = len(similarity)
    memberships = _starting(initial, n, n_communities)
    graph = _Graph.of(similarity)
    sweeps: list[Sweep] = []
    for i in range(max_sweeps):
        progress("communities", i / max_sweeps)
        reseeded = _fill_empty(graph, memberships, n_communities, rng)
        moved = _sweep(graph, memberships, n_communities, alpha, acceptance_scale, rng, threads)
        sweeps.append(Sweep(moved / max(1, n), reseeded))
        if sweeps[-1].accept_rate < min_accept_rate:
            break
    progress("communities", 1.0)
    return Communities(memberships, n_communities, tuple(sweeps))


def carry_over(producer_ids: Ids, memberships: Int32s, into_producer_ids: Ids) -> Int32s:
    """The memberships of `producer_ids` (both (m,)) for other rows; −1 for whom they lack."""
    order = np.argsort(producer_ids)
    known, carried = producer_ids[order], np.full(len(into_producer_ids), -1, np.int32)
    places = np.searchsorted(known, into_producer_ids)
    found = places < len(known)
    found[found] = known[places[found]] == into_producer_ids[found]
    carried[found] = memberships[order][places[found]]
    return carried


@kernel
def gain(weight: float, n_neighbours: int, size: int, mean_weight: float, alpha: float) -> float:
    """ΔL of one community against none, as in the module's docstring."""
    return alpha * weight - mean_weight * (size - n_neighbours)


@dataclass(frozen=True)
class _Graph:
    """The arrays of a similarity in the one form that kernels are compiled for."""

    indptr: Ids
    indices: Int32s
    weights: Floats
    mean_weights: Float64s
    """Of each vertex's edges; 0 without edges."""

    @classmethod
    def of(cls, similarity: Similarity) -> "_Graph":
        means = similarity.strengths() / np.maximum(1, similarity.degrees())
        return cls(
            writable(similarity.indptr, np.int64),
            writable(similarity.indices, np.int32),
            writable(similarity.weights, np.float32),
            means,
        )


def _starting(initial: Int32s | None, n: int, n_communities: int) -> Int32s:
    if n_communities < 1:
        raise ValueError(f"n_communities is {n_communities}: at least 1 is needed")
    if initial is None:
        return np.full(n, -1, np.int32)
    if initial.shape != (n,):
        raise ValueError(f"initial has the shape {initial.shape}, the graph {n} vertices")
    if n and (initial.min() < -1 or initial.max() >= n_communities):
        raise ValueError(
            f"initial holds communities {initial.min()} … {initial.max()}: "
            f"expected −1 (none) … {n_communities - 1}"
        )
    return initial.astype(np.int32)


def _sizes(memberships: Int32s, n_communities: int) -> Int32s:
    counts = np.bincount(memberships[memberships >= 0], minlength=n_communities)
    return counts.astype(np.int32)


def _fill_empty(
    graph: _Graph, memberships: Int32s, n_communities: int, rng: np.random.Generator
) -> int:
    """Start the empty communities anew, in place; returns how many got members."""
    empty = rng.permutation(np.flatnonzero(_sizes(memberships, n_communities) == 0))
    empty = empty.astype(np.int32)
    filled = 0
    for share in SEED_SHARES:
        unassigned = np.flatnonzero(memberships < 0)
        if filled == len(empty) or not len(unassigned):
            break
        order = rng.permutation(unassigned)
        filled += _seed(
            graph.indptr,
            graph.indices,
            graph.weights,
            graph.mean_weights,
            memberships,
            empty[filled:],
            order,
            share,
        )
    return filled


def _sweep(
    graph: _Graph,
    memberships: Int32s,
    n_communities: int,
    alpha: float,
    acceptance_scale: float,
    rng: np.random.Generator,
    threads: int,
) -> int:
    """Visit every vertex once, in place; returns how many moved."""
    order = rng.permutation(len(memberships))
    key = rng.integers(0, 2**64, dtype=np.uint64)
    sizes = _sizes(memberships, n_communities)

    def visit_part(part: Ids) -> int:
        return visit(
            graph.indptr,
            graph.indices,
            graph.weights,
            graph.mean_weights,
            memberships,
            sizes,
            part,
            alpha,
            acceptance_scale,
            key,
        )

    if threads == 1:
        return visit_part(order)
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(visit_part, (order[i::threads].copy() for i in range(threads))))


@kernel
def _seed(
    indptr: Ids,
    indices: Int32s,
    weights: Floats,
    mean_weights: Float64s,
    memberships: Int32s,
    empty: Int32s,
    order: Ids,
    share: float,
) -> int:
    """Give the empty communities a vertex and its unassigned neighbours each; returns to how many.

    Only edges of at least the vertex's mean weight count: the weaker half of a neighbourhood
    is mostly noise, which would keep the vertices of a community that is still to be started.
    """
    filled = 0
    for v in order:
        if filled == len(empty):
            break
        if memberships[v] >= 0:
            continue
        # Equal weights are their own mean but for rounding.
        strong = mean_weights[v] * (1.0 - 1e-6)
        total = 0.0
        unassigned = 0.0
        for at in range(indptr[v], indptr[v + 1]):
            if weights[at] >= strong:
                total += weights[at]
                if memberships[indices[at]] < 0:
                    unassigned += weights[at]
        if unassigned < share * total or (total == 0.0 and share > 0.0):
            continue
        memberships[v] = empty[filled]
        for at in range(indptr[v], indptr[v + 1]):
            if weights[at] >= strong and memberships[indices[at]] < 0:
                memberships[indices[at]] = empty[filled]
        filled += 1
    return filled


@kernel
def visit(
    indptr: Ids,
    indices: Int32s,
    weights: Floats,
    mean_weights: Float64s,
    memberships: Int32s,
    sizes: Int32s,
    order: Ids,
    alpha: float,
    acceptance_scale: float,
    key: np.uint64,
) -> int:
    """Propose to each vertex of `order` once, in place; returns how many moved.

    `mean_weights` (n,) of each vertex's edges; `sizes` (communities,) of the memberships (n,).
    """
    neighbours = np.zeros(len(sizes), np.int32)
    inside = np.zeros(len(sizes), np.float64)
    seen = np.empty(len(sizes), np.int32)
    gains = np.empty(len(sizes), np.float64)
    state = np.empty(1, np.uint64)
    moved = 0
    for v in order:
        n = 0
        for at in range(indptr[v], indptr[v + 1]):
            community = memberships[indices[at]]
            if community >= 0:
                if neighbours[community] == 0:
                    seen[n] = community
                    n += 1
                neighbours[community] += 1
                inside[community] += weights[at]
        current = memberships[v]
        mean_weight = mean_weights[v]
        old = 0.0
        if current >= 0:
            old = gain(inside[current], neighbours[current], sizes[current], mean_weight, alpha)
        best = 0.0
        for i in range(n):
            c = seen[i]
            gains[i] = gain(inside[c], neighbours[c], sizes[c], mean_weight, alpha)
            neighbours[c] = 0
            inside[c] = 0.0
            if c != current:
                best = max(best, gains[i])
        # A generator of its own for each vertex: what is drawn depends on no other's visit.
        state[0] = key + np.uint64(v) * np.uint64(0xD1342543DE82EF95)
        state[0] = next_random(state)
        proposed, new = _draw(seen, gains, n, current, best, state)
        if proposed == current:
            continue
        if math.log(1.0 - random_unit(state)) >= acceptance_scale * (new - old):
            continue
        memberships[v] = proposed
        if current >= 0:
            sizes[current] -= 1
        if proposed >= 0:
            sizes[proposed] += 1
        moved += 1
    return moved


@kernel
def _draw(
    seen: Int32s,
    gains: Float64s,
    n: int,
    current: int,
    best: float,
    state: npt.NDArray[np.uint64],
) -> tuple[int, float]:
    """One of the first n communities but the current, or −1, with probability ∝ exp(gain)."""
    total = math.exp(-best)
    for i in range(n):
        if seen[i] != current:
            total += _likelihood(gains[i] - best)
    left = random_unit(state) * total
    for i in range(n):
        if seen[i] != current:
            left -= _likelihood(gains[i] - best)
            if left < 0.0:
                return seen[i], gains[i]
    return -1, 0.0


@kernel
def _likelihood(below_best: float) -> float:
    """exp, and 0 for what a random number of 53 bits could not draw: most of them."""
    return math.exp(below_best) if below_best > -40.0 else 0.0
