"""Two-hop counts of one viewer against 1,500 candidates, beside scipy's sparse product.

Run `python -m benchmarks.two_hop` (`--quick` for a tenth of the graph); prints JSON. The 15
pairs of Home: the viewer's 512 follows, mutual follows and favoured authors against each
candidate's followers, favourers, reposters and mutual follows.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import sparse

from actors.stores.relations import Relations
from actors.ties import N_TYPES, EngagementTies
from actors.two_hop import HOME_PAIRS, EdgeType, LeftLists, TwoHop
from benchmarks.report import emit, percentiles
from cluster.ids import Ids

_CANDIDATES = 1_500
_FOLLOWS = 512
_ENGAGED = {0: EdgeType.FAVORITE, 1: EdgeType.RETWEET, 3: EdgeType.MENTION}
"""Column of `EngagementTies` → the type that it counts; those that Home asks for."""


class Graph:
    """A heavy-tailed graph as the shard holds it, and as one sparse matrix for each type."""

    def __init__(self, n_users: int, n_follows: int, n_engagements: int) -> None:
        rng = np.random.default_rng(7)
        # Who follows many follows the popular too: the power of each side sets its tail.
        actors, targets = _edges(n_users, n_follows, 1.5, 2.5, rng)
        heavy = np.arange(1, 201)
        wide = (n_users * rng.random((len(heavy), 2 * _FOLLOWS)) ** 2.5).astype(np.int64) + 1
        back = rng.random(wide.shape) < 0.2
        owners = np.repeat(heavy, wide.shape[1]).reshape(wide.shape)
        actors = np.concatenate([actors, owners.ravel(), wide[back]])
        targets = np.concatenate([targets, wide.ravel(), owners[back]])
        actors, targets = _distinct(actors, targets, n_users)
        order = rng.permutation(len(actors))
        self.actors, self.targets = actors[order], targets[order]
        engaged = _edges(n_users, n_engagements, 1.5, 2.5, rng)
        self.engaged = _distinct(*engaged, n_users)
        self.types = rng.choice(list(_ENGAGED), len(self.engaged[0]))
        self.n_users, self.heavy, self.rng = n_users, heavy, rng

    def hop(self) -> TwoHop:
        """The shard's stores, filled."""
        follows, followers = Relations(), Relations()
        engaged, engaged_by = EngagementTies(), EngagementTies()
        changes = np.zeros((len(self.types), N_TYPES), np.int32)
        changes[np.arange(len(changes)), self.types] = 1
        step = 500_000
        for begin in range(0, len(self.actors), step):
            a, b = self.actors[begin : begin + step], self.targets[begin : begin + step]
            versions = np.arange(begin, begin + len(a)) + (1 << 20)
            follows.write(a, b, versions, np.ones(len(a), bool))
            followers.write(b, a, versions, np.ones(len(a), bool))
        for begin in range(0, len(changes), step):
            a, b = (ids[begin : begin + step] for ids in self.engaged)
            engaged.add(a, b, changes[begin : begin + step])
            engaged_by.add(b, a, changes[begin : begin + step])
        return TwoHop(follows, followers, engaged, engaged_by)

    def matrices(self) -> dict[EdgeType, sparse.csr_matrix]:
        """User × user, one where there is an edge of the type; float32, CSR."""
        follow = self._matrix(self.actors, self.targets)
        found = {EdgeType.FOLLOWING: follow, EdgeType.FOLLOWED_BY: follow.T.tocsr()}
        mutual = follow.multiply(found[EdgeType.FOLLOWED_BY]).tocsr()
        found[EdgeType.MUTUAL_FOLLOW] = mutual
        for column, kind in _ENGAGED.items():
            mine = self.types == column
            found[kind] = self._matrix(*(ids[mine] for ids in self.engaged))
            found[EdgeType(kind + 1)] = found[kind].T.tocsr()
        return found

    def candidates(self) -> Ids:
        """1,500 users as candidates come: in proportion to how much they are followed."""
        drawn = self.rng.choice(self.targets, 4 * _CANDIDATES)
        return np.unique(drawn)[self.rng.permutation(len(np.unique(drawn)))][:_CANDIDATES]

    def _matrix(self, rows: Ids, columns: Ids) -> sparse.csr_matrix:
        shape = (self.n_users + 1, self.n_users + 1)
        return sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--queries", type=int, default=200)
    arguments, _ = parser.parse_known_args()
    share = 10 if arguments.quick else 1
    graph = Graph(200_000 // share, 10_000_000 // share, 3_000_000 // share)
    hop, matrices = graph.hop(), graph.matrices()
    types = tuple(dict.fromkeys(left for left, _ in HOME_PAIRS))
    requests = [(int(user), graph.candidates()) for user in graph.heavy]
    lefts = [hop.left(user, types) for user, _ in requests]

    # Of a tiny graph, so that what is measured is not the compiler.
    small = Graph(1_000, 10_000, 10_000)
    small_hop = small.hop()
    small_hop.counts(small_hop.left(1, types), small.candidates(), max_named=3)
    started = time.perf_counter()
    hop.counts(lefts[0], requests[0][1])
    cold_s = time.perf_counter() - started
    for asked_left, (_, asked) in zip(lefts, requests, strict=True):
        hop.counts(asked_left, asked)

    def left(i: int) -> None:
        hop.left(requests[i][0], types)

    def ours(i: int) -> Any:
        return hop.counts(lefts[i], requests[i][1])

    def named(i: int) -> Any:
        return hop.counts(lefts[i], requests[i][1], max_named=3)

    def theirs(i: int) -> Any:
        return _by_scipy(matrices, lefts[i], requests[i][1])

    for i in range(5):
        answer, expected = ours(i), theirs(i)
        for k, pair in enumerate(HOME_PAIRS):
            assert (answer.counts[:, k] == expected[pair]).all(), pair
    neighbours = hop.counts(lefts[0], requests[0][1]).right_degrees[:, 0]
    figures = {
        "left_lists": _measure(left, len(requests), arguments.queries),
        "first_query_that_makes_lists_ms": round(1e3 * cold_s, 1),
        "counts": _measure(ours, len(requests), arguments.queries),
        "counts_with_three_named": _measure(named, len(requests), arguments.queries),
        "scipy_sparse": _measure(theirs, len(requests), max(arguments.queries // 10, 10)),
        "memory_bytes_beside_follows": hop.memory_bytes,
    }
    emit(
        "two_hop",
        figures,
        users=graph.n_users,
        follows=len(graph.actors),
        engaged_pairs=len(graph.types),
        candidates=len(requests[0][1]),
        left_list=lefts[0].degrees[EdgeType.FOLLOWING],
        pairs=len(HOME_PAIRS),
        followers_of_candidates={
            "mean": float(neighbours.mean()),
            "median": float(np.median(neighbours)),
            "max": int(neighbours.max()),
        },
        threads=1,
        equal_counts="checked for 5 requests",
    )


def _by_scipy(
    matrices: dict[EdgeType, sparse.csr_matrix], left: LeftLists, candidates: Ids
) -> dict[Any, Any]:
    """The same lists as rows: one sparse product for each right type."""
    n = matrices[EdgeType.FOLLOWING].shape[0]
    lefts = tuple(dict.fromkeys(lhs for lhs, _ in HOME_PAIRS))
    columns = [left.ids[(left.types >> lhs) & 1 == 1] for lhs in lefts]
    indices = np.concatenate(columns)
    ends = np.cumsum([0, *map(len, columns)])
    source = sparse.csc_matrix(
        (np.ones(len(indices), np.float32), indices, ends), (n, len(lefts))
    ).tocsr()
    found = {}
    for right in dict.fromkeys(rhs for _, rhs in HOME_PAIRS):
        if right in matrices:
            counts = (matrices[right][candidates] @ source).toarray()
            for k, lhs in enumerate(lefts):
                found[lhs, right] = counts[:, k]
    return found


def _measure(ask: Callable[[int], Any], n_requests: int, queries: int) -> dict[str, float]:
    samples = []
    for query in range(queries + 10):
        started = time.perf_counter()
        ask(query % n_requests)
        samples.append(time.perf_counter() - started)
    return percentiles(samples[10:])


def _edges(
    n_users: int, n: int, out_power: float, in_power: float, rng: np.random.Generator
) -> tuple[Ids, Ids]:
    actors = 1 + (n_users * rng.random(n) ** out_power).astype(np.int64)
    targets = 1 + (n_users * rng.random(n) ** in_power).astype(np.int64)
    return actors, targets


def _distinct(actors: Ids, targets: Ids, n_users: int) -> tuple[Ids, Ids]:
    keys = np.unique((actors * (n_users + 1) + targets)[actors != targets])
    return keys // (n_users + 1), keys % (n_users + 1)


if __name__ == "__main__":
    main()
