"""PageRank's speed beside igraph's and NetworKit's, on one graph and to the same tolerance.

Run `python -m benchmarks.tweepcred` (`--quick` for a tenth of the edges); prints JSON. The first
run makes the peers' environment (benchmarks/peers/README.md).
"""

import argparse
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.peers_environment import run_peer
from benchmarks.report import emit
from training.pagerank import LinkGraph, PageRank, pagerank

JUMP = 0.1
"""Tweepcred's; the peers' damping factor is 0.9."""
TOLERANCE = 1e-10
"""igraph's, which is fixed; the others can be told."""
STRICTER = 1e-12
"""What igraph's solver reaches where it sweeps once more than its tolerance needs."""
ITERATIONS = 10

Nodes = npt.NDArray[np.int32]


@dataclass(frozen=True)
class FollowData:
    """Follows with power-law degrees, names shuffled, each pair once."""

    sources: Nodes
    targets: Nodes
    n_nodes: int

    @classmethod
    def draw(cls, n_edges: int, n_nodes: int, rng: np.random.Generator) -> "FollowData":
        """Zipf followers (s = 0.75) of Zipf producers (s = 0.9); half of both within a circle.

        A circle is a run of 1,000 users of neighbouring names, as communities make one: ranks
        then take longer to settle than in a graph without any.
        """
        n_drawn = int(n_edges * 1.25)
        sources, targets = (
            rng.permutation(n_nodes)[_zipf(n_drawn, n_nodes, exponent, rng)]
            for exponent in (0.75, 0.9)
        )
        within = rng.random(n_drawn) < 0.5
        circles = sources // 1_000 * 1_000
        there = circles + targets % np.minimum(1_000, n_nodes - circles)
        targets = np.where(within, there, targets)
        pairs = np.unique(sources * n_nodes + targets)
        pairs = pairs[pairs // n_nodes != pairs % n_nodes]
        pairs = np.sort(rng.choice(pairs, min(n_edges, len(pairs)), replace=False))
        return cls((pairs // n_nodes).astype(np.int32), (pairs % n_nodes).astype(np.int32), n_nodes)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 M edges instead of 10 M")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each; the best counts")
    parser.add_argument("--threads", type=int, default=2)
    arguments, _ = parser.parse_known_args()
    n_edges, n_nodes = (1_000_000, 100_000) if arguments.quick else (10_000_000, 1_000_000)
    data = FollowData.draw(n_edges, n_nodes, np.random.default_rng(7))
    _compile()

    graph, build_s = _build(data, arguments.repeats)
    exact = pagerank(graph, jump=JUMP, tolerance=1e-14, max_iterations=2_000).ranks
    ours: dict[str, Any] = {"seconds": {"build": build_s}}
    for threads in sorted({1, arguments.threads}):
        iterated, ten_s = _rank(graph, arguments.repeats, threads, 0.0, ITERATIONS)
        measured: dict[str, Any] = {
            f"seconds_of_{ITERATIONS}_iterations": ten_s,
            "edges_per_s": round(iterated.iterations * len(data.sources) / ten_s),
        }
        for tolerance in (TOLERANCE, STRICTER):
            found, run_s = _rank(graph, arguments.repeats, threads, tolerance, 2_000)
            measured[f"to_{tolerance:g}"] = {
                "seconds": run_s,
                "iterations": found.iterations,
                "l1_error": _l1(found.ranks, exact),
            }
        ours[f"threads_{threads}"] = measured
    peers = {}
    options = {"damping": 1 - JUMP, "tolerance": TOLERANCE, "repeats": arguments.repeats}
    for name in ("igraph", "networkit"):
        ranks, said = run_peer(
            f"pagerank-{name}",
            data.sources,
            data.targets,
            n_nodes,
            threads=arguments.threads,
            **options,
        )
        peers[name] = {**said, "l1_error": _l1(ranks, exact)}
    best_s = ours[f"threads_{arguments.threads}"][f"to_{TOLERANCE:g}"]["seconds"]
    emit(
        "tweepcred",
        {
            "murmuration": ours,
            **peers,
            "times_faster_than": {
                name: round(said["seconds"]["run"] / best_s, 2) for name, said in peers.items()
            },
        },
        edges=len(data.sources),
        users=n_nodes,
        dangling=int((graph.shares == 0).sum()),
        largest_audience=int(np.diff(graph.offsets).max()),
        jump=JUMP,
        tolerance=TOLERANCE,
        prior="uniform: NetworKit knows no other",
        l1_error="against the same equations solved to 1e-14",
    )


def _zipf(n: int, n_items: int, exponent: float, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    weights = np.cumsum(np.arange(1, n_items + 1) ** -exponent)
    return np.searchsorted(weights / weights[-1], rng.random(n)).astype(np.int64)


def _compile() -> None:
    ends = np.arange(3, dtype=np.int32)
    pagerank(LinkGraph.of(ends, ends[::-1].copy(), 3), tolerance=0.0, max_iterations=100)


def _build(data: FollowData, repeats: int) -> tuple[LinkGraph, float]:
    took_s = []
    for _ in range(repeats):
        began = time.perf_counter()
        graph = LinkGraph.of(data.sources, data.targets, data.n_nodes)
        took_s.append(time.perf_counter() - began)
    return graph, min(took_s)


def _rank(
    graph: LinkGraph, repeats: int, threads: int, tolerance: float, max_iterations: int
) -> tuple[PageRank, float]:
    took_s = []
    for _ in range(repeats):
        began = time.perf_counter()
        found = pagerank(
            graph, jump=JUMP, tolerance=tolerance, max_iterations=max_iterations, threads=threads
        )
        took_s.append(time.perf_counter() - began)
    return found, min(took_s)


def _l1(ranks: npt.NDArray[Any], exact: npt.NDArray[Any]) -> float:
    return float(np.abs(ranks - exact).sum())


if __name__ == "__main__":
    main()
