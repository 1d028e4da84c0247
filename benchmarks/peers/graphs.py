"""Graph libraries run on an edge list in a file: PageRank, Leiden, label propagation.

Runs in the peers' own environment and imports nothing of the project; README.md says what the
files hold.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Run one command and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("edges", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--damping", type=float, default=0.9)
    parser.add_argument("--tolerance", type=float, default=1e-10)
    parser.add_argument("--repeats", type=int, default=1, help="runs; every time is reported")
    parser.add_argument("--library", choices=("igraph", "leidenalg"), default="igraph")
    parser.add_argument("--objective", choices=("modularity", "CPM"), default="modularity")
    parser.add_argument("--resolution", type=float, default=1.0)
    parser.add_argument("--iterations", type=int, default=2, help="Leiden's; negative: all")
    arguments = parser.parse_args()
    with np.load(arguments.edges, allow_pickle=False) as edges:
        values, said = COMMANDS[arguments.command](dict(edges), arguments)
    np.save(arguments.out, values)
    print(json.dumps({"command": arguments.command, **said}))


def _pagerank_igraph(
    edges: dict[str, np.ndarray], arguments: argparse.Namespace
) -> tuple[np.ndarray, dict[str, Any]]:
    import igraph

    graph, build_s = _timed(lambda: _igraph_graph(edges, directed=True))
    weights = edges["weights"].tolist() if "weights" in edges else None
    runs_s = []
    for _ in range(arguments.repeats):
        ranks, run_s = _timed(
            lambda: graph.pagerank(
                damping=arguments.damping, weights=weights, implementation="prpack"
            )
        )
        runs_s.append(run_s)
    return np.array(ranks), {
        "version": igraph.__version__,
        "threads": 1,
        "tolerance": 1e-10,
        "seconds": {"build": build_s, "run": min(runs_s), "runs": runs_s},
    }


def _pagerank_networkit(
    edges: dict[str, np.ndarray], arguments: argparse.Namespace
) -> tuple[np.ndarray, dict[str, Any]]:
    import networkit

    networkit.setNumberOfThreads(arguments.threads)
    graph, build_s = _timed(lambda: _networkit_graph(networkit, edges, directed=True))
    centrality = networkit.centrality
    runs_s = []
    for _ in range(arguments.repeats):
        algorithm = centrality.PageRank(
            graph,
            damp=arguments.damping,
            tol=arguments.tolerance,
            distributeSinks=centrality.SinkHandling.DistributeSinks,
        )
        algorithm.norm = centrality.Norm.L1_NORM
        _, run_s = _timed(algorithm.run)
        runs_s.append(run_s)
    return np.array(algorithm.scores()), {
        "version": networkit.__version__,
        "threads": arguments.threads,
        "tolerance": arguments.tolerance,
        "iterations": algorithm.numberOfIterations(),
        "seconds": {"build": build_s, "run": min(runs_s), "runs": runs_s},
    }


def _leiden(
    edges: dict[str, np.ndarray], arguments: argparse.Namespace
) -> tuple[np.ndarray, dict[str, Any]]:
    import random

    import igraph

    graph, build_s = _timed(lambda: _igraph_graph(edges, directed=False))
    weights = edges["weights"].tolist() if "weights" in edges else None
    if arguments.library == "igraph":
        random.seed(arguments.seed)
        igraph.set_random_number_generator(random)
        version = igraph.__version__
        found, run_s = _timed(
            lambda: graph.community_leiden(
                objective_function=arguments.objective,
                weights=weights,
                resolution=arguments.resolution,
                n_iterations=arguments.iterations,
            )
        )
    else:
        import leidenalg

        version = leidenalg.version
        partition = {
            "modularity": leidenalg.RBConfigurationVertexPartition,
            "CPM": leidenalg.CPMVertexPartition,
        }[arguments.objective]
        found, run_s = _timed(
            lambda: leidenalg.find_partition(
                graph,
                partition,
                weights=weights,
                n_iterations=arguments.iterations,
                seed=arguments.seed,
                resolution_parameter=arguments.resolution,
            )
        )
    return np.array(found.membership, np.int64), {
        "library": arguments.library,
        "version": version,
        "threads": 1,
        "objective": arguments.objective,
        "resolution": arguments.resolution,
        "communities": len(found),
        "modularity": graph.modularity(found.membership, weights=weights),
        "seconds": {"build": build_s, "run": run_s},
    }


def _label_propagation(
    edges: dict[str, np.ndarray], arguments: argparse.Namespace
) -> tuple[np.ndarray, dict[str, Any]]:
    import networkit

    networkit.setNumberOfThreads(arguments.threads)
    networkit.setSeed(arguments.seed, True)
    graph, build_s = _timed(lambda: _networkit_graph(networkit, edges, directed=False))
    algorithm = networkit.community.PLP(graph)
    _, run_s = _timed(algorithm.run)
    found = algorithm.getPartition()
    return np.array(found.getVector(), np.int64), {
        "version": networkit.__version__,
        "threads": arguments.threads,
        "communities": found.numberOfSubsets(),
        "modularity": networkit.community.Modularity().getQuality(found, graph),
        "iterations": algorithm.numberOfIterations(),
        "seconds": {"build": build_s, "run": run_s},
    }


COMMANDS: dict[str, Callable[..., tuple[np.ndarray, dict[str, Any]]]] = {
    "pagerank-igraph": _pagerank_igraph,
    "pagerank-networkit": _pagerank_networkit,
    "leiden": _leiden,
    "label-propagation": _label_propagation,
}


def _igraph_graph(edges: dict[str, np.ndarray], *, directed: bool) -> Any:
    import igraph

    pairs = np.stack([edges["sources"], edges["targets"]], axis=1)
    return igraph.Graph(n=int(edges["nodes"]), edges=pairs, directed=directed)


def _networkit_graph(networkit: Any, edges: dict[str, np.ndarray], *, directed: bool) -> Any:
    ends = tuple(edges[name].astype(np.uint64) for name in ("sources", "targets"))
    weighted = "weights" in edges
    return networkit.GraphFromCoo(
        (edges["weights"], ends) if weighted else ends,
        n=int(edges["nodes"]),
        weighted=weighted,
        directed=directed,
    )


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    result = run()
    return result, time.perf_counter() - began


if __name__ == "__main__":
    main()
