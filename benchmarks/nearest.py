"""Nearest neighbours: recall and latency of the HNSW base over `ef`, beside exact search.

Run `python -m benchmarks.nearest` (`--quick` for a tenth of the vectors); prints JSON. The
vectors are like TwHIN's: users and posts around communities of very different sizes, which lie
around topics. The base is built by another process, as a shard has it done.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.stores.hnsw import (
    DEGREE,
    EF_CONSTRUCTION,
    HnswBase,
    Neighbours,
    unit_rows,
)
from actors.stores.nearest import NearestIndex
from benchmarks.report import emit, percentiles

Float32s = npt.NDArray[np.float32]

DIMENSION = 64
K = 10
EFS = (20, 50, 100, 200, 400, 800)
FRESH = (10_000, 50_000)
TARGET_RECALL, TARGET_MS = 0.95, 1.0

_BUILD = """
import sys, time
from pathlib import Path
import numpy as np
from actors.stores.hnsw import build_base
vectors, path, degree, ef, threads = sys.argv[1:]
build_base(
    Path(path), np.load(vectors), degree=int(degree), ef_construction=int(ef), threads=int(threads)
)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="100,000 vectors instead of 1 M")
    parser.add_argument("--degree", type=int, default=DEGREE)
    parser.add_argument("--ef-construction", type=int, default=EF_CONSTRUCTION)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--queries", type=int, default=500)
    given, _ = parser.parse_known_args()
    n = 100_000 if given.quick else 1_000_000
    vectors, queries = draw(n, given.queries, np.random.default_rng(11))
    ids = np.random.default_rng(12).permutation(n) + 1
    with tempfile.TemporaryDirectory() as folder:
        path, took_s = _built(vectors, Path(folder), given)
        size_bytes = path.stat().st_size
        exact_rows, exact = _exactly(vectors, queries)
        began = time.perf_counter()
        base = HnswBase.load(path, ids, DIMENSION)
        load_s = time.perf_counter() - began
    found = {}
    for ef in EFS:
        base.set_ef(ef)
        found[f"ef_{ef}"] = _measured(base, queries, ids[exact_rows])
    good = [
        name
        for name, figures in found.items()
        if figures["recall_at_10"] >= TARGET_RECALL and figures["p50_ms"] <= TARGET_MS
    ]
    emit(
        "nearest",
        {
            "build_s": round(took_s, 1),
            "load_s": round(load_s, 2),
            "file_mib": round(size_bytes / 2**20, 1),
            "hnsw": found,
            "exact_numpy": exact,
            "with_fresh_vectors": _fresh(base, queries, ids),
            "target": f"recall@10 >= {TARGET_RECALL} at p50 <= {TARGET_MS} ms; build <= 300 s",
            "reach_the_target": good,
        },
        vectors=n,
        dimension=DIMENSION,
        queries=len(queries),
        communities=n // 200,
        degree=given.degree,
        ef_construction=given.ef_construction,
        build_threads=given.threads,
        query_threads=1,
    )


def draw(n: int, n_queries: int, rng: np.random.Generator) -> tuple[Float32s, Float32s]:
    """Unit vectors around communities around topics, and queries that are drawn alike."""
    n_communities = n // 200
    topics = rng.normal(size=(max(n_communities // 50, 1), DIMENSION))
    topic = rng.integers(0, len(topics), n_communities)
    communities = topics[topic] + 0.7 * rng.normal(size=(n_communities, DIMENSION))
    sizes = 1 / np.arange(1, n_communities + 1) ** 0.8
    which = rng.choice(n_communities, n + n_queries, p=sizes / sizes.sum())
    drawn = np.empty((n + n_queries, DIMENSION), np.float32)
    for begin in range(0, len(drawn), 100_000):
        part = communities[which[begin : begin + 100_000]]
        drawn[begin : begin + 100_000] = unit_rows(
            part + 0.6 * rng.normal(size=part.shape), DIMENSION
        )
    return drawn[:n], drawn[n:]


def _built(vectors: Float32s, folder: Path, given: argparse.Namespace) -> tuple[Path, float]:
    np.save(folder / "vectors.npy", vectors)
    path = folder / "base.hnsw"
    arguments = [folder / "vectors.npy", path, given.degree, given.ef_construction, given.threads]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", _BUILD, *map(str, arguments)], check=True)
    return path, time.perf_counter() - began


def _exactly(vectors: Float32s, queries: Float32s) -> tuple[npt.NDArray[np.int64], dict[str, Any]]:
    """Rows of the 10 nearest of every query, and what one such search costs."""
    rows = np.empty((len(queries), K), np.int64)
    taken = []
    for i, query in enumerate(queries):
        began = time.perf_counter()
        scores = vectors @ query
        rows[i] = np.argpartition(scores, -K)[-K:]
        taken.append(time.perf_counter() - began)
    return rows, {"recall_at_10": 1.0, **percentiles(taken)}


def _measured(
    base: HnswBase, queries: Float32s, expected: npt.NDArray[np.int64]
) -> dict[str, float]:
    index = NearestIndex(base)
    answers: list[Neighbours] = []
    taken = []
    for query in queries:
        began = time.perf_counter()
        answers.append(index.search(query, K))
        taken.append(time.perf_counter() - began)
    hits = [
        np.isin(answer.ids, wanted).sum() for answer, wanted in zip(answers, expected, strict=True)
    ]
    return {"recall_at_10": round(float(np.sum(hits)) / expected.size, 4), **percentiles(taken)}


def _fresh(base: HnswBase, queries: Float32s, ids: npt.NDArray[np.int64]) -> dict[str, Any]:
    """The same search over base and fresh vectors, 200 results of which half are filtered."""
    base.set_ef(200)
    rng = np.random.default_rng(13)
    figures: dict[str, Any] = {}
    for n_fresh in FRESH:
        index = NearestIndex(base)
        fresh = rng.permutation(ids)[:n_fresh]
        index.put(fresh, rng.normal(size=(n_fresh, DIMENSION)))
        plain, filtered, put = [], [], []
        for query in queries[:200]:
            began = time.perf_counter()
            index.search(query, 200)
            plain.append(time.perf_counter() - began)
            began = time.perf_counter()
            index.search(query, 200, lambda found: found % 2 == 0)
            filtered.append(time.perf_counter() - began)
        for begin in range(0, 20_000, 1_000):
            changed = np.arange(begin, begin + 1_000) % n_fresh
            moved = rng.normal(size=(1_000, DIMENSION))
            began = time.perf_counter()
            index.put(fresh[changed], moved)
            put.append(time.perf_counter() - began)
        figures[f"fresh_{n_fresh}"] = {
            "ef": 200,
            "k_200": percentiles(plain),
            "k_200_half_filtered": percentiles(filtered),
            "put_1000_vectors": percentiles(put),
        }
    return figures


if __name__ == "__main__":
    main()
