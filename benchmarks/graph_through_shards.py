"""Top second degree through shard actors: weighted seeds, proofs and filters, merged."""

import argparse
import time
from typing import Any

import numpy as np

from actors.graph import PUBLIC_CODES
from benchmarks.interactions import EdgeData
from benchmarks.report import emit, percentiles
from benchmarks.system import RunningSystem, running_system
from benchmarks.worlds import sliced
from cluster.events import Kind
from cluster.ids import Ids

_EDGES, _NODES = 10_000_000, 1_000_000
_SEEDS, _RESULTS = 100, 800


def main() -> None:
    """The graph of the published measurement, spread over two shards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    arguments, _ = parser.parse_known_args()
    edges = _EDGES // 20 if arguments.quick else _EDGES
    graph = {"segments": 8, "edges_per_segment": edges}
    with running_system(graph=graph) as system:
        users, heavy = _fill(system, edges)
        figures = {
            "heavy_seeds": _measure(system, heavy, 300),
            "uniform_seeds": _measure(system, users, 300),
        }
    emit(
        "graph_through_shards",
        figures,
        edges=edges,
        users_and_posts=_NODES,
        seeds=_SEEDS,
        results=_RESULTS,
        shards=2,
    )


def _fill(system: RunningSystem, edges: int) -> tuple[Ids, Ids]:
    """Zipf favourites of the last day; returns all users and those with 500 edges or more."""
    from cluster.commands.bulk import ingest_batches

    data = EdgeData.draw(edges, _NODES, np.random.default_rng(0))
    users, posts = data.user_ids, data.post_ids

    def batches(now_ms: int) -> Any:
        times_ms = now_ms - 80_000_000 + np.arange(edges) * 70_000_000 // edges
        return sliced(
            Kind.FAVOURITE, times_ms, actor_id=users, post_id=posts, author_id=data.author_ids
        )

    ingest_batches(system.settings, batches)
    found, counts = np.unique(users, return_counts=True)
    return found, found[counts >= 500]


def _measure(system: RunningSystem, pool: Ids, queries: int) -> dict[str, Any]:
    from actors.questions import AskSecondDegree
    from actors.ray_router import connect_router
    from actors.router import shards_of
    from actors.stores.proof_ranking import PostFilter, ProofGate, rank_proofs

    router = connect_router(system.settings)
    rng = np.random.default_rng(1)
    since_ms = time.time_ns() // 1_000_000 - 86_400_000
    samples, results, missing = [], 0, 0
    for query in range(queries + 30):
        seeds = np.sort(rng.choice(pool, min(_SEEDS, len(pool)), replace=False))
        weights = rng.random(len(seeds)) + 0.1
        excluded = rng.integers(1, 2**62, 100)
        started = time.perf_counter()
        homes = shards_of(seeds, router.n_shards)
        wave = {
            shard: [
                AskSecondDegree(
                    seeds[homes == shard],
                    np.flatnonzero(homes == shard).astype(np.int32),
                    since_ms,
                    (Kind.FAVOURITE,),
                    500,
                )
            ]
            for shard in np.unique(homes).tolist()
        }
        gathered = router.ask(wave, 5.0)
        ranked = rank_proofs(
            list(gathered.answers(0).values()),
            seeds,
            weights,
            k=_RESULTS,
            gate=ProofGate(1, 1 << PUBLIC_CODES[Kind.FAVOURITE]),
            post_filter=PostFilter(excluded, excluded[:10]),
        )
        if query >= 30:
            samples.append(time.perf_counter() - started)
            results += len(ranked.post_ids)
            missing += len(gathered.missing)
    return {**percentiles(samples), "results_per_query": results / queries, "missing": missing}


if __name__ == "__main__":
    main()
