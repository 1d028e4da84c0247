"""Random edges of a node: all its edges over all segments equally likely, with replacement.

GraphJet draws a segment from an alias table rebuilt per call, with integer weights that bias
small degrees; here one number in 0 … degree − 1 picks segment and position exactly.
"""

import numpy as np
import numpy.typing as npt

from actors.stores.adjacency import degree_of, edge_at, locate
from actors.stores.id_map import Ids
from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int
from actors.stores.segment_row import KIND_MASK, TARGET_SHIFT, keys_of

Rows = npt.NDArray[np.int64]


@kernel
def next_random(state: npt.NDArray[np.uint64]) -> Int:
    """The next 64 random bits of a splitmix64 generator, `state` uint64[1] (Steele 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    mixed = state[0]
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


@kernel
def random_below(state: npt.NDArray[np.uint64], bound: Int) -> Int:
    """A number in 0 … bound − 1, for bounds below 2^32 (bias below 2^-31)."""
    return np.int64(((next_random(state) >> np.uint64(32)) * np.uint64(bound)) >> np.uint64(32))


@kernel
def random_unit(state: npt.NDArray[np.uint64]) -> float:
    """A number in [0, 1)."""
    return np.int64(next_random(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def draw_edges(
    rows: Rows,
    side: Int,
    ids: Ids,
    draws: Int,
    state: npt.NDArray[np.uint64],
    targets: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.uint8],
    times_ms: npt.NDArray[np.int64],
) -> None:
    """`draws` edges of each node into targets, kinds, times [n, draws]; as they are if none."""
    n_segments = len(rows)
    nodes = np.empty((n_segments, len(ids)), np.int32)
    locate(rows, side, ids, nodes)
    degrees = np.empty(n_segments, np.int64)
    for i in range(len(ids)):
        total = np.int64(0)
        for s in range(n_segments):
            degrees[s] = degree_of(rows[s], side, nodes[s, i])
            total += degrees[s]
        if total == 0:
            continue
        for j in range(draws):
            position = random_below(state, total)
            s = 0
            while position >= degrees[s]:
                position -= degrees[s]
                s += 1
            time_ms, word = edge_at(rows[s], side, nodes[s, i], position)
            targets[i, j] = keys_of(rows[s], 1 - side)[word >> TARGET_SHIFT]
            kinds[i, j] = word & KIND_MASK
            times_ms[i, j] = time_ms
