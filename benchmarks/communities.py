"""Communities of producers found again in a planted graph, beside Leiden and label propagation.

Run `python -m benchmarks.communities` (`--quick` for a tenth of the graph); prints JSON. The first
run makes the peers' environment (benchmarks/peers/README.md).
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from benchmarks.peers_environment import run_peer
from benchmarks.report import emit
from training.simclusters.communities import Communities, find_communities
from training.simclusters.quality import normalized_mutual_information, weighted_f1
from training.simclusters.similarity import Similarity, producer_similarity

Int64s = npt.NDArray[np.int64]

SIZE = 100
"""Producers of a planted community."""
SWEEPS = 4
NEEDED = {"seconds_at_most": 15, "nmi_at_least": 0.95, "empty_share_at_most": 0.02}

# Its README: 100 M nodes, 5 B edges, 500 k communities, in under two hours on 16 threads.
SBF_EDGES_PER_THREAD_S = 5_000_000_000 / (2 * 3_600 * 16)


@dataclass(frozen=True)
class Planted:
    """Communities of 100 producers with shuffled names, and noise between them.

    An edge stands once in `sources` and `targets` (m,), its weight in `weights`; both kinds of
    weights are gamma distributed (shape 4) and overlap. `truth` (n,).
    """

    sources: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    truth: Int64s

    @classmethod
    def draw(
        cls,
        n: int,
        n_edges: int,
        rng: np.random.Generator,
        *,
        within: float = 0.9,
        weight: float = 0.2,
        noise_weight: float = 0.05,
    ) -> "Planted":
        """`within` of the pairs of each community, and noise up to `n_edges`; mean weights."""
        first, second = np.triu_indices(SIZE, 1)
        starts = np.arange(0, n, SIZE)[:, None]
        inside = ((starts + first) * n + starts + second).ravel()
        inside = inside[rng.random(len(inside)) < within]
        ends = np.sort(rng.integers(0, n, (2, int((n_edges - len(inside)) * 1.2))), axis=0)
        across = np.unique((ends[0] * n + ends[1])[ends[0] // SIZE != ends[1] // SIZE])
        across = rng.choice(across, n_edges - len(inside), replace=False, shuffle=False)
        weights = np.empty(n_edges, np.float32)
        weights[: len(inside)] = rng.gamma(4, weight / 4, len(inside))
        weights[len(inside) :] = rng.gamma(4, noise_weight / 4, len(across))
        names = rng.permutation(n).astype(np.int32)
        sources, targets = np.divmod(np.concatenate([inside, across]), n)
        truth = np.empty(n, np.int64)
        truth[names] = np.arange(n) // SIZE
        return cls(names[sources], names[targets], weights, truth)

    def similarity(self) -> Similarity:
        """Both directions of every edge, in CSR form."""
        n = len(self.truth)
        once = sparse.csr_matrix((self.weights, (self.sources, self.targets)), shape=(n, n))
        both = once + once.T.tocsr()
        both.sort_indices()
        return Similarity(
            np.arange(n), both.indptr.astype(np.int64), both.indices.astype(np.int32), both.data
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 M edges instead of 20 M")
    parser.add_argument("--threads", type=int, default=2)
    arguments, _ = parser.parse_known_args()
    n, n_edges = (20_000, 2_000_000) if arguments.quick else (200_000, 20_000_000)
    small = Planted.draw(1_000, 50_000, np.random.default_rng(1))
    _find(small, small.similarity(), 1)
    planted = Planted.draw(n, n_edges, np.random.default_rng(7))
    graph = planted.similarity()
    ours = {f"threads_{t}": _find(planted, graph, t) for t in sorted({1, arguments.threads})}
    peers = {
        "leiden": _peer("leiden", planted, library="igraph"),
        "label_propagation": _peer("label-propagation", planted, threads=arguments.threads),
    }
    harder = Planted.draw(20_000, 2_000_000, np.random.default_rng(8), within=0.5, noise_weight=0.1)
    emit(
        "communities",
        {
            "murmuration": ours,
            "needed_on_2_cores": NEEDED,
            **peers,
            "sbf_as_published_edges_per_thread_s": round(SBF_EDGES_PER_THREAD_S),
            "harder": {"murmuration": _find(harder, harder.similarity(), arguments.threads)},
            "similarity": _similarity(arguments.quick, arguments.threads),
        },
        producers=n,
        edges=n_edges,
        communities=n // SIZE,
        inside_share=round(float(np.mean(_inside(planted))), 3),
        mean_weights={"inside": 0.2, "across": 0.05, "distribution": "gamma, shape 4"},
        harder="a tenth of the size, half of the pairs within, noise of half the weight",
        nmi="arithmetic mean of the entropies; producers without a community are one more class",
    )


def _find(planted: Planted, similarity: Similarity, threads: int) -> dict[str, Any]:
    """A cold start and all sweeps, whatever the accept rate."""
    n_communities = len(planted.truth) // SIZE
    rng = np.random.default_rng(0)
    began = time.perf_counter()
    found = find_communities(
        similarity,
        n_communities,
        rng=rng,
        max_sweeps=SWEEPS,
        min_accept_rate=0,
        threads=threads,
    )
    wall_s = time.perf_counter() - began
    edges = similarity.n_edges
    return {
        "seconds": round(wall_s, 2),
        "edges_per_thread_s": round(edges / wall_s / threads),
        "edges_per_thread_s_of_each_sweep": round(SWEEPS * edges / wall_s / threads),
        "graph_bytes_per_edge": round(_bytes(similarity) / edges, 1),
        **_judge(found.memberships.astype(np.int64), planted.truth),
        "empty_share": found.n_empty / n_communities,
        "unassigned_share": float(np.mean(found.memberships < 0)),
        "sweeps": _sweeps(found),
    }


def _peer(command: str, planted: Planted, **options: Any) -> dict[str, Any]:
    memberships, said = run_peer(
        command,
        planted.sources,
        planted.targets,
        len(planted.truth),
        planted.weights.astype(np.float64),
        **options,
    )
    run_s = said["seconds"]["run"]
    per_thread = round(len(planted.sources) / run_s / said["threads"])
    return {**said, "edges_per_thread_s": per_thread, **_judge(memberships, planted.truth)}


def _judge(memberships: Int64s, truth: Int64s) -> dict[str, float]:
    return {
        "nmi": round(normalized_mutual_information(memberships, truth), 4),
        "weighted_f1": round(weighted_f1(memberships, truth), 4),
    }


def _sweeps(found: Communities) -> list[dict[str, float]]:
    return [
        {"accept_rate": round(sweep.accept_rate, 4), "reseeded": sweep.reseeded}
        for sweep in found.sweeps
    ]


def _similarity(quick: bool, threads: int) -> dict[str, Any]:
    """The neighbours of all producers from follows, beside SciPy's product of the same matrix."""
    rng = np.random.default_rng(9)
    n_users, n_producers, n_edges = 50_000, 20_000, 500_000 if quick else 2_000_000
    popularity = np.cumsum(np.arange(1, n_producers + 1) ** -0.75)
    users = rng.integers(0, n_users, n_edges)
    producers = np.searchsorted(popularity / popularity[-1], rng.random(n_edges))
    nodes = np.arange(n_producers)
    producer_similarity(users[:1_000], producers[:1_000], nodes)
    began = time.perf_counter()
    found = producer_similarity(users, producers, nodes, 400, threads=threads)
    ours_s = time.perf_counter() - began
    ones = np.ones(n_edges, np.float32)
    follows = sparse.csr_matrix((ones, (users, producers)), shape=(n_users, n_producers))
    # Parallel entries have been added up; a follow is one.
    follows.data[:] = 1
    wedges = int((np.diff(follows.indptr).astype(np.int64) ** 2).sum())
    began = time.perf_counter()
    product = (follows.T @ follows).tocsr()
    scipy_s = time.perf_counter() - began
    return {
        "follows": int(follows.nnz),
        "wedges": wedges,
        "seconds": round(ours_s, 2),
        "wedges_per_thread_s": round(wedges / ours_s / threads),
        "edges_kept": found.n_edges,
        "scipy_product_seconds": round(scipy_s, 2),
        "scipy_product_bytes": int(product.data.nbytes + product.indices.nbytes),
        "scipy_does": "the counts alone, one thread: no cosines, no cut, no symmetry",
    }


def _inside(planted: Planted) -> npt.NDArray[np.bool_]:
    return np.equal(planted.truth[planted.sources], planted.truth[planted.targets])


def _bytes(similarity: Similarity) -> int:
    arrays = similarity.indptr, similarity.indices, similarity.weights
    return sum(array.nbytes for array in arrays)


if __name__ == "__main__":
    main()
