"""The mix: how much of the candidates, and of what is shown, comes from where."""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from actors.models import Models
from actors.router import LocalRouter
from actors.state import ShardState
from benchmarks.report import emit
from benchmarks.worlds import DenseWorld
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.routing import route
from cluster.settings import Settings, load
from timeline.candidates import ENGINES
from timeline.timelines import Timelines

_NOW_MS = 1_760_000_000_000
_MODELS = ("simclusters", "twhin", "real_graph", "light_ranker")
_SETTINGS: dict[str, Any] = {"training": {"twhin": {"epochs": 2}, "max_examples": 50_000}}
_GRAPHS = ("user_tweet_graph", "user_video_graph")
PUBLISHED = {"in_network_candidates": 0.5, "shown_by_graph_traversal": 0.15}
"""What the articles of 2023 say: half in-network, and 15 % of Home from GraphJet."""


def main() -> None:
    """Build a world whose viewers have enough supply, train on it, and page for many of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--viewers", type=int, default=1_000)
    arguments, _ = parser.parse_known_args()
    # Communities of several hundred, of whom viewers follow few enough that strangers are left.
    world = DenseWorld(10_000, 150, 80_000, 1_200_000, communities=15)
    if arguments.quick:
        world = DenseWorld(4_000, 150, 40_000, 300_000, communities=6)
    with tempfile.TemporaryDirectory(prefix="murmuration-mix-") as folder:
        settings = load(None, data_dir=Path(folder), **_SETTINGS)
        timelines, states = _system(settings, world)
        figures = measured(timelines, world, arguments.viewers)
        figures["shards"] = len(states)
    emit("mix", figures, world=vars(world), published=PUBLISHED)


def measured(timelines: Timelines, world: DenseWorld, viewers: int) -> dict[str, Any]:
    """Shares over the pages of viewers drawn at random."""
    users = np.random.default_rng(0).choice(world.user_ids(), viewers, replace=False)
    candidates, shares, shown_in_network, shown_by_graphs = [], [], [], []
    shown: dict[str, int] = {}
    for user in users.tolist():
        page = timelines.for_you(user, 35, now_ms=_NOW_MS + 1)
        found = page.trace.found
        candidates.append(len(found))
        shares.append(float((found.feature("is_followed") > 0).mean()))
        kept = page.shown
        shown_in_network.append(float((kept.feature("is_followed") > 0).mean()))
        graphs = sum(1 << ENGINES.index(name) for name in _GRAPHS)
        by_graph = kept.source == page.source_names.index("user_tweet_entity_graph")
        by_graph |= (kept.engines & np.uint32(graphs)) > 0
        shown_by_graphs.append(float(by_graph.mean()))
        for source in kept.source.tolist():
            name = page.source_names[source]
            shown[name] = shown.get(name, 0) + 1
    n = sum(shown.values())
    low, middle, high = np.percentile(shares, (5, 50, 95))
    return {
        "viewers": viewers,
        "candidates_mean": round(float(np.mean(candidates))),
        "in_network_candidates": {
            "mean": round(float(np.mean(shares)), 3),
            **{"p5": round(low, 3), "p50": round(middle, 3), "p95": round(high, 3)},
        },
        "shown_in_network": round(float(np.mean(shown_in_network)), 3),
        "shown_by_graph_traversal": round(float(np.mean(shown_by_graphs)), 3),
        "shown_by_source": {name: round(count / n, 3) for name, count in shown.items()},
    }


def _system(settings: Settings, world: DenseWorld) -> tuple[Timelines, list[ShardState]]:
    """Timelines over two shards in this process, with models trained on the world."""
    from cluster.commands.bulk import ingest_batches
    from cluster.commands.training import train

    ingest_batches(settings, lambda _: world.batches(_NOW_MS))
    for name in _MODELS:
        list(train(settings, name, None, True))
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    models = Models(artifacts)
    count = settings.shards.count
    states = [ShardState(settings, models, shard, count) for shard in range(count)]
    for batch in Archive(settings.archive_root).batches():
        for lane, rows in route(batch, settings.log.lanes).items():
            for state in states:
                if lane in state.lanes:
                    state.apply(rows, np.ones(rows.num_rows, np.int64), imported=True)
    for state in states:
        state.activate_as_of(artifacts, _NOW_MS + 1)
    return Timelines(settings, LocalRouter(states), models, bytes(32)), states


if __name__ == "__main__":
    main()
