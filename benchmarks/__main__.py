"""Runs the benchmarks named on the command line, or all of them, one after the other."""

import subprocess
import sys

NAMES = (
    *("interactions", "graph_through_shards", "log", "for_you", "ingest", "restore"),
    *("tweepcred", "real_graph", "communities", "interested_in", "twhin", "safety"),
    *("nearest", "cluster_search", "two_hop", "candidates", "mix", "quality"),
    *("aggregates", "hydration", "heavy_ranker_training", "heavy_ranker_scoring"),
    *("heavy_ranker_quality", "after_scoring", "overload", "calls"),
)


def main() -> int:
    """Run each in a process of its own; returns how many failed."""
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    names = [argument for argument in sys.argv[1:] if not argument.startswith("-")] or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"no benchmark is called {unknown[0]}; there are {', '.join(NAMES)}")
        return 1
    failed = 0
    for name in names:
        command = [sys.executable, "-m", f"benchmarks.{name}", *options]
        failed += subprocess.run(command, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
