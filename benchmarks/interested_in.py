"""InterestedIn over a million consumers, beside SciPy's sparse products of the same matrices.

Run `python -m benchmarks.interested_in` (`--quick` for a tenth of the consumers); prints JSON.
"""

import argparse
import time
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from actors.stores.sparse_embeddings import SparseEmbeddings
from benchmarks.report import emit
from training.simclusters.consumers import ConsumerGraph, inverse, log_favourites
from training.simclusters.embeddings import Cut, embed, producer_audiences
from training.simclusters.interested_in import InterestedIn, interested_in

FOLLOWS = 100
"""Producers drawn for a consumer; some are drawn twice and count once."""
PER_COMMUNITY = 138
"""Producers in a community (published: 20 M in 145,000)."""
INTERESTS = 5
"""Communities from which a consumer follows `FOCUS` of its producers; the rest are anybody."""
FOCUS = 0.7
FAVOURED = 0.3
"""Share of the followed whom the consumer also favours."""
THREADS = 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 consumers instead of 1 M")
    arguments, _ = parser.parse_known_args()
    n_users = 100_000 if arguments.quick else 1_000_000
    n_producers = n_users // 5
    n_communities = n_producers // PER_COMMUNITY
    rng = np.random.default_rng(7)
    graph, communities, memberships = _draw(n_users, n_producers, n_communities, rng)
    v = communities, memberships, n_communities
    _compile()
    figures: dict[str, Any] = {}
    for threads in (1, THREADS):
        watch = _Watch()
        found = interested_in(graph, *v, threads=threads)
        figures[f"interested_in_threads_{threads}"] = watch.read()
    figures["entries_before_the_cut"] = int(found.interested.sum())
    figures["entries"] = len(found.matrix.scores)
    figures["scipy"] = _with_scipy(graph, communities, memberships, n_communities, found)
    watch = _Watch()
    embedded = _producers(graph, found.matrix)
    figures[f"producer_embeddings_threads_{THREADS}"] = watch.read()
    figures["producer_embedding_entries"] = len(embedded.scores)
    emit(
        "interested_in",
        figures,
        consumers=n_users,
        edges=len(graph.producers),
        favoured_edges=int(np.count_nonzero(graph.favourites)),
        producers=n_producers,
        communities=n_communities,
        communities_of_a_consumer=INTERESTS,
        follows_in_these=FOCUS,
        min_proofs=2,
        max_communities=50,
        memory_bytes_of_the_graph=sum(
            array.nbytes for array in vars(graph).values() if isinstance(array, np.ndarray)
        ),
    )


def _draw(
    n_users: int, n_producers: int, n_communities: int, rng: np.random.Generator
) -> tuple[ConsumerGraph, npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Consumers who follow within a few communities; producers of a community are scattered."""
    communities = rng.permutation(n_producers) % n_communities
    members = np.argsort(communities, kind="stable")
    begins = np.searchsorted(communities[members], np.arange(n_communities + 1))
    rows = []
    for first in range(0, n_users, 50_000):
        n = min(50_000, n_users - first)
        chosen = rng.integers(0, n_communities, (n, INTERESTS))
        each = chosen[np.arange(n)[:, None], rng.integers(0, INTERESTS, (n, FOLLOWS))]
        sizes = begins[each + 1] - begins[each]
        mine = members[begins[each] + (rng.random(each.shape) * sizes).astype(np.int64)]
        anybody = rng.integers(0, n_producers, each.shape)
        producers = np.sort(np.where(rng.random(each.shape) < FOCUS, mine, anybody), axis=1)
        rows.append(producers.astype(np.int32))
    producers = np.concatenate(rows)
    new = np.ones(producers.shape, np.bool_)
    new[:, 1:] = producers[:, 1:] != producers[:, :-1]
    indptr = np.concatenate([[0], np.cumsum(new.sum(axis=1))]).astype(np.int64)
    edges = producers[new]
    favourites = np.zeros(len(edges), np.float32)
    favoured = rng.random(len(edges), np.float32) < FAVOURED
    favourites[favoured] = rng.exponential(3.0, int(favoured.sum()))
    norms = [
        np.sqrt(np.bincount(edges, weights=x.astype(np.float64) ** 2, minlength=n_producers))
        for x in (favourites, log_favourites(favourites))
    ]
    graph = ConsumerGraph(
        np.arange(1, n_users + 1),
        np.arange(1, n_producers + 1),
        indptr,
        edges,
        np.ones(len(edges), np.bool_),
        favourites,
        np.bincount(edges, minlength=n_producers),
        np.bincount(edges[favoured], minlength=n_producers),
        *norms,
    )
    return graph, communities.astype(np.int32), rng.random(n_producers, np.float32)


def _compile() -> None:
    small = _draw(500, 300, 5, np.random.default_rng(0))
    found = interested_in(*small, 5, max_communities=2)
    _producers(small[0], found.matrix)


def _producers(graph: ConsumerGraph, interests: SparseEmbeddings) -> SparseEmbeddings:
    audiences = producer_audiences(graph, interests)
    values = interests.columns["fav_normalized"]
    return embed(audiences, interests, values, Cut(101, 0.01, 60, 300), threads=THREADS)


def _with_scipy(
    graph: ConsumerGraph,
    communities: npt.NDArray[np.int32],
    memberships: npt.NDArray[np.float32],
    n_communities: int,
    found: InterestedIn,
) -> dict[str, dict[str, float]]:
    """A·V alone, one product for each sum and one for the proofs, in one thread.

    What `interested_in` does besides is left out: the threshold, the norms, the cut, the order.
    Raises `RuntimeError` where the sums differ.
    """
    shape = (len(graph), len(communities))
    producers = np.arange(len(communities))
    fits = np.int32 if len(graph.producers) < 2**31 else np.int64
    indptr, indices = graph.indptr.astype(fits), graph.producers.astype(fits)
    plain = graph.followed.astype(np.float32)
    strengths = graph.follow_norms.astype(np.float32)[graph.producers]
    faver_norms = inverse(graph.faver_norms).astype(np.float32)[graph.producers]
    parts = {
        "proofs": plain,
        "follow_score": plain,
        "follow_producer_normalized": strengths,
        "fav_score": graph.favourites,
        "fav_producer_normalized": graph.favourites * faver_norms,
        "log_fav_score": graph.log_favourites,
    }
    taken = {}
    totals = found.matrix.columns
    for name, part in parts.items():
        scores = np.ones_like(memberships) if name == "proofs" else memberships
        v = sparse.csr_matrix((scores, (producers, communities)), (shape[1], n_communities))
        a = sparse.csr_matrix((part, indices, indptr), shape)
        watch = _Watch()
        product = a @ v
        taken[name] = watch.read()
        if name != "proofs":
            _check(product[:1_000], found, totals[name])
        del product, a
    together = {
        unit: round(sum(one[unit] for one in taken.values()), 2) for unit in ("wall_s", "cpu_s")
    }
    return taken | {"together": together}


class _Watch:
    """Time since it was made: on the wall, and of all of the process's threads."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        wall, cpu = self._began
        return {
            "wall_s": round(time.perf_counter() - wall, 2),
            "cpu_s": round(time.process_time() - cpu, 2),
        }


def _check(product: sparse.csr_matrix, found: InterestedIn, sums: npt.NDArray[np.float32]) -> None:
    rows = int(np.searchsorted(found.matrix.ids, product.shape[0], side="right"))
    end = int(found.matrix.offsets[rows])
    users = np.repeat(found.matrix.ids[:rows] - 1, np.diff(found.matrix.offsets[: rows + 1]))
    expected = np.asarray(product[users, found.matrix.communities[:end]]).ravel()
    if not np.allclose(sums[:end], expected, rtol=1e-3, atol=1e-6):
        raise RuntimeError("SciPy's product differs from interested_in")


if __name__ == "__main__":
    main()
