"""The heavy ranker's inputs of 1,500 candidates, fetched from two shard actors.

Run `python -m benchmarks.hydration` (`--quick` for a tenth of the world, `--selection laptop`
for the smaller model); prints JSON. Inputs are those of `twitter`: 2,117 continuous, 59 binary
and three vectors of 200.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.report import emit, percentiles
from benchmarks.system import RunningSystem, cpu_seconds, running_system
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS

_BATCH = 50_000
_FIRST_POST = 10**12
_COMMUNITIES, _TOPICS = 2_000, 300
_ENGAGED = (
    *[Kind.IMPRESSION] * 4,
    *(Kind.FAVOURITE, Kind.FAVOURITE, Kind.CLICK, Kind.DWELL, Kind.REPLY, Kind.REPOST),
)
_MEASURED = (Kind.CLICK, Kind.DWELL)


@dataclass(frozen=True)
class World:
    """Sizes; posts and what is done to them fill the last day."""

    users: int = 10_000
    follows: int = 80
    posts: int = 200_000
    pairs: int = 1_000_000
    """Of a user and an author with whose posts the user did something, once or more."""
    seed: int = 0

    def batches(self, now_ms: int) -> Iterator[pa.RecordBatch]:
        """Events by kind."""
        rng = np.random.default_rng(self.seed)
        users = np.arange(1, self.users + 1)
        yield from _sliced(
            *(Kind.USER_CREATE, np.full(self.users, now_ms - 40 * DAY_MS)),
            actor_id=users,
            language=np.array(["en", "de", "ja"])[users % 3],
            country=np.array(["US", "DE", "JP", "BR"])[users % 4],
        )
        actors = np.repeat(users, self.follows)
        targets = 1 + (self.users * rng.random(len(actors)) ** 2).astype(np.int64)
        apart = actors != targets
        times_ms = np.full(int(apart.sum()), now_ms - DAY_MS)
        yield from _sliced(Kind.FOLLOW, times_ms, actor_id=actors[apart], target_id=targets[apart])
        authors = self.authors()
        created_ms = now_ms - DAY_MS + np.sort(rng.integers(1, DAY_MS - 60_000, self.posts))
        yield from _sliced(Kind.POST_CREATE, created_ms, **self._posts(authors, rng))
        n = int(1.5 * self.pairs)
        # A pair at random is new most of the time.
        posts = (self.posts * rng.random(n) ** 1.2).astype(np.int64)
        ages_ms = (now_ms - created_ms[posts]) * rng.random(n)
        for kind, rows in zip(_ENGAGED, np.array_split(np.arange(n), len(_ENGAGED)), strict=True):
            measured: dict[str, Any] = {}
            if kind in _MEASURED:
                measured["value"] = rng.uniform(500, 60_000, len(rows)).astype(np.float32)
            yield from _sliced(
                *(kind, (now_ms - ages_ms[rows]).astype(np.int64)),
                actor_id=1 + (self.users * rng.random(len(rows)) ** 1.2).astype(np.int64),
                post_id=_FIRST_POST + posts[rows],
                author_id=authors[posts[rows]],
                **measured,
            )

    def authors(self) -> Ids:
        """Of all posts."""
        rng = np.random.default_rng(self.seed + 1)
        return 1 + (self.users * rng.random(self.posts) ** 1.3).astype(np.int64)

    def _posts(self, authors: Ids, rng: np.random.Generator) -> dict[str, Any]:
        """A quarter are replies, and an eighth quotes or reposts, of earlier posts."""
        at = np.arange(self.posts)
        linked = (at * rng.random(self.posts)).astype(np.int64)
        columns: dict[str, Any] = {
            "post_id": _FIRST_POST + at,
            "author_id": authors,
            "language": np.array(["en", "de", "ja"])[at % 3],
            "image_count": (at % 4 == 0).astype(np.int16),
            "topics": pa.array([[topic] for topic in (1 + at % _TOPICS).tolist()]),
        }
        for link, chosen in (
            ("reply_to", at % 4 == 1),
            ("quote_of", at % 16 == 2),
            ("repost_of", at % 16 == 3),
        ):
            chosen = chosen & (at > 0)
            columns[f"{link}_id"] = pa.array(_FIRST_POST + linked, mask=~chosen)
            columns[f"{link}_author_id"] = pa.array(authors[linked], mask=~chosen)
        return columns


def main() -> None:
    """Fill a running system, give it models at random and counted aggregates, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--selection", choices=["laptop", "twitter"], default="twitter")
    parser.add_argument("--candidates", type=int, default=1_500)
    parser.add_argument("--requests", type=int, default=200)
    arguments, _ = parser.parse_known_args()
    world = World(1_000, 80, 20_000, 100_000) if arguments.quick else World()
    dimensions = 200 if arguments.selection == "twitter" else 64
    overrides: dict[str, Any] = {
        "heavy_ranker": {"features": arguments.selection},
        "training": {"twhin": {"dimensions": dimensions}},
        "aggregates": {"bytes": 2**30},
    }
    with running_system(**overrides) as system:
        counted = _fill(system, world, dimensions)
        figures = _measured(system, world, arguments.candidates, arguments.requests)
    emit("hydration", figures, world=vars(world), selection=arguments.selection, counted=counted)


def write_models(store: ArtifactStore, world: World, dimensions: int) -> dict[str, str]:
    """One version of each of the other artifacts, of numbers at random; names → versions."""
    from actors.stores.sparse_embeddings import SparseEmbeddings

    rng = np.random.default_rng(world.seed)
    users, versions = np.arange(1, world.users + 1), {}

    def sparse(ids: Ids, width: int) -> SparseEmbeddings:
        communities = np.repeat(ids * 37, width) + np.tile(np.arange(width) * 13, len(ids))
        scores = rng.uniform(0.3, 1, len(communities)).astype(np.float32)
        columns = {"fav_score": scores, "log_fav_normalized": scores}
        chosen = (communities % _COMMUNITIES).astype(np.int32)
        return SparseEmbeddings.from_entries(np.repeat(ids, width), chosen, scores, columns)

    with store.writing("simclusters", schema_version=1) as draft:
        for name, width in (("interested_in", 10), ("producers", 10), ("known_for", 1)):
            sparse(users, width).write(draft, name)
        sparse(np.arange(1, _TOPICS + 1), 10).write(draft, "topics")
    versions["simclusters"] = str(draft.version)
    with store.writing("twhin", schema_version=1) as draft:
        for name in ("user_engagement", "user_follow", "author_follow"):
            flat = rng.normal(size=world.users * dimensions).astype(np.float32)
            lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), dimensions)
            draft.write_table(f"{name}.arrow", pa.table({"id": users, "vector": lists}))
    versions["twhin"] = str(draft.version)
    with store.writing("tweepcred", schema_version=1) as draft:
        scores = rng.uniform(0, 100, world.users).astype(np.float32)
        columns = {"user_id": users, "reputation": scores, "pagerank": scores}
        draft.write_table("reputations.arrow", pa.table(columns))
    versions["tweepcred"] = str(draft.version)
    with store.writing("real_graph", schema_version=1) as draft:
        n = min(100, world.users)
        authors = (users[:, None] * 7 + np.arange(n)) % world.users + 1
        scores = np.sort(rng.random((world.users, n)), axis=1)[:, ::-1].astype(np.float32)
        columns = {
            "viewer_id": np.repeat(users, n),
            "author_id": authors.ravel(),
            "score": scores.ravel(),
            "followed": np.zeros(authors.size, bool),
        }
        draft.write_table("scores.arrow", pa.table(columns))
    versions["real_graph"] = str(draft.version)
    return versions


def _fill(system: RunningSystem, world: World, dimensions: int) -> dict[str, Any]:
    from cluster.commands.bulk import ingest_batches
    from cluster.commands.training import activate, train

    store = ArtifactStore(Path(system.settings.data_dir) / "artifacts")
    for name, version in write_models(store, world, dimensions).items():
        activate(system.settings, name, version)
    ingest_batches(system.settings, world.batches)
    [counted] = train(system.settings, "aggregates", None, True)
    return {name: counted.get(name) for name in ("version", "seconds", "metrics")}


def _measured(
    system: RunningSystem, world: World, n_candidates: int, requests: int
) -> dict[str, Any]:
    run = requests_of(system.settings, _router(system), world, n_candidates)
    users = np.random.default_rng(3).integers(1, world.users, requests + 30).tolist()
    for user in users[:30]:
        run(user)
    samples: dict[str, list[float]] = {"viewer": [], "candidates": []}
    shapes: list[Any] = []
    cpu = cpu_seconds()
    for user in users[30:]:
        viewer_s, inputs_s, inputs = run(user)
        samples["viewer"].append(viewer_s)
        samples["candidates"].append(inputs_s)
        shapes.append([list(values.shape) for values in inputs.values])
    cpu_ms = (cpu_seconds() - cpu) / requests * 1000
    return {
        "inputs_of_the_candidates": percentiles(samples["candidates"]),
        "inputs_of_the_viewer": percentiles(samples["viewer"]),
        "cpu_ms_per_request_with_making_candidates": round(cpu_ms, 1),
        "shapes_of_levels": shapes[-1],
    }


def _router(system: RunningSystem) -> Any:
    from actors.ray_router import connect_router
    from cluster import ray_head

    ray_head.connect(system.settings, start=False)
    return connect_router(system.settings)


def requests_of(
    settings: Any, router: Any, world: World, n_candidates: int
) -> Callable[[int], tuple[float, float, Any]]:
    """Runs a request up to the ranker's inputs: seconds for those of the viewer, and for those
    of candidates drawn from all posts, which are known before."""
    from actors.features.real_graph import REAL_GRAPH
    from timeline.candidates import unhydrated
    from timeline.findings import ask_together
    from timeline.hydration import complete, fetch_viewer
    from timeline.query import Query
    from timeline.ranker_inputs import fetch_inputs, viewer_question
    from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph

    rng, authors = np.random.default_rng(5), world.authors()

    def run(user_id: int) -> tuple[float, float, Any]:
        now_ms = time.time_ns() // 1_000_000
        query = Query(
            *(user_id, now_ms, 35, "", settings, router), deadline_s=time.monotonic() + 10.0
        )
        fetch_viewer(query, beside=())
        assert REAL_GRAPH in query.tastes.versions, "the models are not active"
        ask_together(query, {"proof": UserTweetEntityGraph().find(query)}, 1.0)
        posts = rng.choice(world.posts, n_candidates, replace=False)
        found = unhydrated(_FIRST_POST + posts, authors[posts], np.zeros(n_candidates))
        candidates = complete(query, found.of_source(1))
        began_s = time.perf_counter()
        question = viewer_question(query)
        [answer] = query.ask({query.viewer_shard: [question]}, 0.5).answers(0).values()
        query.told = {type(question): (question, answer)}
        asked_s = time.perf_counter()
        inputs = fetch_inputs(query, candidates)
        done_s = time.perf_counter()
        assert not query.degraded, query.degraded
        return asked_s - began_s, done_s - asked_s, inputs

    return run


def _sliced(kind: Kind, times_ms: Ids, **columns: Any) -> Iterator[pa.RecordBatch]:
    """Events of one kind from their columns, a batch at a time."""
    for start in range(0, len(times_ms), _BATCH):
        part = slice(start, start + _BATCH)
        given = {name: values[part] for name, values in columns.items()}
        kinds = np.full(len(times_ms[part]), kind, np.uint8)
        yield pa.RecordBatch.from_pydict({"kind": kinds, "time_ms": times_ms[part], **given})


if __name__ == "__main__":
    main()
