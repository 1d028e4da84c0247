"""The interaction graph's speed and size, beside GraphJet's as its specification measured them.

Run `python -m benchmarks.interactions` (`--quick` for a tenth of the edges); prints JSON.
"""

import argparse
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.stores.interactions import InteractionGraph
from actors.stores.proof_ranking import PostFilter
from actors.stores.random_walks import salsa
from actors.stores.traversal import top_second_degree
from benchmarks.report import emit

Int64s = npt.NDArray[np.int64]

SEGMENTS = 8
DAY_MS = 86_400_000
START_MS = 1_700_000_000_000

# 2 vCPU, JDK 17, one thread, the same distribution of edges (the clean-room specification).
GRAPHJET = {
    "insert_edges_per_s": [650_000, 1_020_000],
    "bytes_per_edge_compacted": 84.0,
    "top_second_degree_queries_per_s": [50, 61],
    "top_second_degree_p50_ms": [15, 17],
    "salsa_queries_per_s": [185, 227],
    "salsa_p50_ms": [4.2, 4.4],
}


@dataclass(frozen=True)
class EdgeData:
    """Zipf edges in time order: users s = 0.75, posts s = 0.9, all ids random 63-bit numbers."""

    user_ids: Int64s
    post_ids: Int64s
    author_ids: Int64s
    kinds: npt.NDArray[np.uint8]
    times_ms: Int64s

    @classmethod
    def draw(cls, n_edges: int, n_nodes: int, rng: np.random.Generator) -> "EdgeData":
        """`n_edges` over two days, between `n_nodes` users and as many posts."""
        users = _zipf(n_edges, n_nodes, 0.75, rng)
        posts = _zipf(n_edges, n_nodes, 0.9, rng)
        user_ids, post_ids, author_ids = rng.integers(1, 2**63 - 1, (3, n_nodes))
        return cls(
            user_ids[users],
            post_ids[posts],
            author_ids[posts],
            rng.choice(np.array([1, 2, 3, 7], np.uint8), n_edges),
            START_MS + np.sort(rng.integers(0, 2 * DAY_MS, n_edges)),
        )

    def insert_into(self, graph: InteractionGraph, batch: int) -> None:
        """Insert every edge, `batch` at a time."""
        for begin in range(0, len(self.user_ids), batch):
            cut = slice(begin, begin + batch)
            graph.insert(
                self.user_ids[cut],
                self.post_ids[cut],
                self.author_ids[cut],
                self.kinds[cut],
                self.times_ms[cut],
            )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 M edges instead of 10 M")
    parser.add_argument("--seconds", type=float, default=4.0, help="per query measurement")
    arguments, _ = parser.parse_known_args()
    n_edges, n_nodes = (1_000_000, 100_000) if arguments.quick else (10_000_000, 1_000_000)
    rng = np.random.default_rng(7)
    data = EdgeData.draw(n_edges, n_nodes, rng)
    _compile(data)
    inserted, graph = _measure_inserts(data, n_edges // SEGMENTS)
    figures = {
        "insert": inserted,
        "bytes_per_edge": round(graph.memory_bytes() / graph.n_edges, 2),
        **_measure_queries(graph, data, arguments.seconds, rng),
        "graphjet_as_published_by_the_specification": GRAPHJET,
    }
    emit(
        "interactions",
        figures,
        edges=n_edges,
        users=n_nodes,
        posts=n_nodes,
        zipf_users=0.75,
        zipf_posts=0.9,
        segments=SEGMENTS,
        ids="random, 63 bits",
        indexes="both",
    )


def _zipf(n: int, n_items: int, exponent: float, rng: np.random.Generator) -> Int64s:
    weights = np.cumsum(np.arange(1, n_items + 1) ** -exponent)
    return np.searchsorted(weights / weights[-1], rng.random(n)).astype(np.int64)


def _compile(data: EdgeData) -> None:
    """Run every kernel once, live and closed, before anything is timed."""
    graph = InteractionGraph(2, 5_000)
    small = EdgeData(*(getattr(data, name)[:8_000] for name in EdgeData.__dataclass_fields__))
    small.insert_into(graph, 3_000)
    seeds = small.user_ids[:5]
    top_second_degree(graph, seeds, np.ones(5), k=5, post_filter=_filters(small))
    salsa(graph, 1, seeds, np.ones(5), rng=np.random.default_rng(0))


def _measure_inserts(data: EdgeData, size: int) -> tuple[dict[str, Any], InteractionGraph]:
    measured: dict[str, Any] = {}
    graph = InteractionGraph(SEGMENTS, size)
    for batch in (10_000, 100_000, size):
        graph = InteractionGraph(SEGMENTS, size)
        began, began_cpu = time.perf_counter(), time.thread_time()
        data.insert_into(graph, batch)
        wall_s, cpu_s = time.perf_counter() - began, time.thread_time() - began_cpu
        measured[f"batches_of_{batch}"] = {
            "edges_per_s": round(len(data.user_ids) / wall_s),
            "edges_per_cpu_s": round(len(data.user_ids) / cpu_s),
        }
    return measured, graph


def _filters(data: EdgeData) -> PostFilter:
    return PostFilter(
        excluded_post_ids=data.post_ids[:1_000],
        excluded_author_ids=data.author_ids[-200:],
        min_post_id=2**50,
    )


def _measure_queries(
    graph: InteractionGraph, data: EdgeData, seconds: float, rng: np.random.Generator
) -> dict[str, Any]:
    user_ids, degrees = np.unique(data.user_ids, return_counts=True)
    heavy = user_ids[degrees >= 500]
    if len(heavy) < 200:
        heavy = user_ids[np.argsort(-degrees)[:200]]
    draws = {
        "seeds_with_500_edges": heavy,
        "seeds_drawn_by_edge": data.user_ids,
        "seeds_drawn_by_user": user_ids,
    }
    post_filter = _filters(data)
    second: dict[str, Any] = {
        "query": "100 weighted seeds, 500 edges a seed, 800 results, 10 proofs each, 3 filters"
    }
    for name, population in draws.items():
        queries = [
            (rng.choice(population, 100, replace=name == "seeds_drawn_by_edge"), rng.random(100))
            for _ in range(200)
        ]
        queries = [(np.unique(seeds), weights) for seeds, weights in queries]

        def ask(i: int, queries: list[Any] = queries) -> None:
            seeds, weights = queries[i % len(queries)]
            top_second_degree(
                graph, seeds, weights[: len(seeds)], k=800, max_proofs=10, post_filter=post_filter
            )

        second[name] = {f"threads_{n}": _rate(ask, n, seconds) for n in (1, 2)}
    none, no_weights = np.zeros(0, np.int64), np.zeros(0)
    starts = {
        "from_100_seeds_with_500_edges": [
            (int(heavy[0]), rng.choice(heavy, 100, replace=False), rng.random(100))
            for _ in range(50)
        ],
        "from_a_user_drawn_by_edge": [
            (int(user), none, no_weights) for user in rng.choice(data.user_ids, 200)
        ],
    }
    walked: dict[str, Any] = {"query": "1,000 walks, length 5, reset 0.3, top 100, with proofs"}
    generators = [np.random.default_rng(i) for i in range(2)]
    for name, requests in starts.items():

        def walk(i: int, requests: list[Any] = requests) -> None:
            query_id, seeds, weights = requests[i % len(requests)]
            salsa(graph, query_id, seeds, weights, rng=generators[i % 2])

        walked[name] = {f"threads_{n}": _rate(walk, n, seconds) for n in (1, 2)}
    return {"top_second_degree": second, "salsa": walked}


def _rate(ask: Callable[[int], None], n_threads: int, seconds: float) -> dict[str, float]:
    """Queries per second of all threads together, and latency percentiles."""
    for i in range(4):
        ask(i)
    taken: list[list[float]] = [[] for _ in range(n_threads)]
    cpu_s = [0.0] * n_threads

    def run(thread: int) -> None:
        began_cpu = time.thread_time()
        # Of two threads one asks the even queries and one the odd.
        i = thread
        until = time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            ask(i)
            taken[thread].append(time.perf_counter() - began)
            i += n_threads
        cpu_s[thread] = time.thread_time() - began_cpu

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(n_threads)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall_s = time.perf_counter() - began
    every = np.concatenate([np.array(one) for one in taken]) * 1_000
    p50, p90, p99 = np.percentile(every, [50, 90, 99])
    return {
        "queries_per_s": round(len(every) / wall_s, 1),
        "queries_per_cpu_s": round(len(every) / sum(cpu_s), 1),
        "p50_ms": round(float(p50), 2),
        "p90_ms": round(float(p90), 2),
        "p99_ms": round(float(p99), 2),
    }


if __name__ == "__main__":
    main()
