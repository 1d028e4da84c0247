"""The system itself: a history replayed, its models trained on it, and its sources asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.models import Models
from actors.router import LocalRouter
from actors.state import ShardState
from actors.stores.hnsw import HnswBase, build_base
from benchmarks.quality.affinities import NAMES, affinities
from benchmarks.quality.metrics import DEPTH
from benchmarks.quality.splits import History, Problem
from cluster.archive import Archive, Archiver
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ids import Ids
from cluster.logs import open_writer
from cluster.routing import encode, route
from cluster.settings import Settings, load
from timeline import products
from timeline.candidates import ENGINES, NONE, Candidates, concatenate, first_copies
from timeline.findings import ask_together
from timeline.pipeline import Extend, Pipeline, Prepare, Retrieve, Score
from timeline.query import Query
from training.job import Trained
from training.refresh import JOBS, refresh
from training.replay import apply, routed

MODELS = tuple(job.name for job in JOBS if job.name != "trust_and_safety")
"""Trained on the history; of the texts that safety models read the data sets have none."""
CHUNK_ROWS = 65_536
SIZES: dict[str, Any] = {
    "for_you": {"max_seeds": 300, "out_of_network_results": 800, "popular_results": 400},
    "sources": {
        "max_signals": 50,
        "signals": (
            *("tweet_favorite_90d", "retweet_90d", "reply_90d"),
            *("account_follow", "repeated_profile_visit_14d"),
        ),
        "cr_mixer": {
            "tweet_engines": (
                *("simclusters_ann", "user_video_graph", "user_tweet_graph", "twhin_ann"),
            ),
            "producer_engines": ("simclusters_ann", "user_tweet_graph"),
            "max_results": 1_000,
        },
        "user_tweet_graph": {
            "min_query_degree": 0,
            "min_result_degree": 0,
            "min_cooccurrence_posts": 1,
            "min_score_posts": 0.0,
            "below_user_degree": 1_000,
        },
        "user_tweet_entity_graph": {"walks": 10_000, "walk_results": 400},
        "follow_recommendations": {"max_posts": 200},
    },
    "training": {
        "twhin": {"holdout_share": 0.01, "in_batch_negatives": 500, "global_negatives": 500}
    },
}
"""Some 600 to 2,200 candidates, more signals than a page needs, and thresholds of small worlds."""


@dataclass(frozen=True)
class Found:
    """What the sources found for a problem's users, and the table that a blend learns from.

    Lists have shape (users, DEPTH): post ids, best first, 0 where a list has ended. The table
    has one row for each user and merged candidate that the user may be offered.
    """

    lists: Mapping[str, Ids]
    """By source, and by `source/engine` where one asks several; each in its own order."""
    n_merged: float
    """Candidates of a user, on average, before any is left out."""
    rows: npt.NDArray[np.int32]
    """(n,): rows of `Problem.users`, ascending."""
    post_ids: Ids
    author_ids: Ids
    ranks: Mapping[str, npt.NDArray[np.int32]]
    """By source, (n,): the place in its list, from 0; −1 where it did not find the post."""
    scores: Mapping[str, npt.NDArray[np.float32]]
    """By source, (n,): its own score, 0 where it did not find the post."""
    engines: npt.NDArray[np.uint32]
    features: npt.NDArray[np.float32]
    """(n, len(FEATURES)): the light ranker's."""
    light: npt.NDArray[np.float32]
    """(n,): the light ranker's score."""
    affinities: Mapping[str, npt.NDArray[np.float32]]
    """By name, (n,): see `benchmarks.quality.affinities`."""
    degraded: Mapping[str, int]
    """What was noted as missing, and for how many users."""


class World:
    """A history in an archive, and one shard that is led through it from cut to cut."""

    def __init__(self, folder: Path, history: History, given: Mapping[str, Any]) -> None:
        """`given` are settings beside the preset `research`; the folder is the world's own."""
        own = {
            "data_dir": folder,
            "preset": "research",
            "log": {"lanes": 1},
            "shards": {"count": 1, "slice_rows": CHUNK_ROWS},
        }
        self.settings = load(**{**own, **given})
        self._folder, self._history = folder, history
        self._applied = 0
        self._artifacts = ArtifactStore(folder / "artifacts")
        self.models = Models(self._artifacts)
        self.state = ShardState(self.settings, self.models)
        self._archive = _archived(self.settings, history)
        self.product = products.for_you(self.models)

    def train(self, until_ms: int, told: Callable[[str], None]) -> dict[str, str]:
        """Train every model on what happened before; returns by name its version or why not."""
        done = {}
        for one in refresh(
            *(self.settings, self._archive, self._artifacts),
            now_ms=until_ms,
            until_ms=until_ms,
            names=MODELS,
            force=True,
        ):
            done[one.name] = one.version if isinstance(one, Trained) else one.reason
            told(f"{one.name}: {done[one.name]}")
        return done

    def replay(self, until_ms: int) -> None:
        """Apply what happened before, and serve the newest models made of it."""
        times_ms = self._history.events.column("time_ms").to_numpy()
        end = int(np.searchsorted(times_ms, until_ms))
        for begin in range(self._applied, end, CHUNK_ROWS):
            part = self._history.events.slice(begin, min(CHUNK_ROWS, end - begin))
            apply(self.state, routed(part))
        self._applied = max(end, self._applied)
        self.state.activate_as_of(self._artifacts, until_ms)
        self._index_vectors()

    def _index_vectors(self) -> None:
        """Index the posts' vectors where a shard would have by then; see `actors.near_rebuild`."""
        kind = self.state.vectors
        if kind.sizes()["vectors_one_by_one"] <= self.settings.vectors.rebuild_after:
            return
        ids, vectors, mark = kind.export_near(kind.version)
        file = self._folder / "posts.hnsw"
        build_base(file, vectors)
        kind.swap_near(kind.version, HnswBase.load(file, ids, vectors.shape[1]), mark)

    def retrieve(self, problem: Problem, told: Callable[[float], None]) -> Found:
        """Ask all sources of For You for each user of a problem, at its instant."""
        table = _Table(self.product, problem)
        router = LocalRouter([self.state])
        for row, user_id in enumerate(problem.users.tolist()):
            query = Query(
                viewer_id=user_id,
                now_ms=problem.now_ms,
                limit=DEPTH,
                request_id="",
                settings=self.settings,
                router=router,
            )
            table.add(row, query)
            if row % 50 == 49:
                told((row + 1) / len(problem.users))
        return table.found()


def sources_of(product: Pipeline) -> list[str]:
    """Names of a product's sources, in the order of their numbers."""
    return product.source_names


def with_shuffled_follows(history: History, rng: np.random.Generator) -> History:
    """The same history in which the follows of everybody lead elsewhere: a control.

    Each user follows as many accounts, and each account has as many followers as before; times
    stay. Nobody follows oneself, or an account twice, unless there is no other way.
    """
    events = history.events
    rows = np.flatnonzero(events.column("kind").to_numpy() == Kind.FOLLOW)
    if not len(rows):
        return history
    actors = events.column("actor_id").to_numpy()[rows]
    column = events.schema.get_field_index("target_id")
    targets = events.column("target_id").fill_null(0).to_numpy().copy()
    targets[rows] = shuffled_targets(actors, targets[rows], rng)
    shuffled = events.set_column(column, events.schema.field(column), pa.array(targets))
    return History(history.name, shuffled, history.cuts_ms, history.timed)


def shuffled_targets(actors: Ids, targets: Ids, rng: np.random.Generator) -> Ids:
    """Targets (n,) permuted among actors so that hardly an edge is a loop or stands twice.

    A bad edge swaps its target with one drawn at random until none is bad, 100 times at most.
    """
    found = targets[rng.permutation(len(targets))]
    for _ in range(100):
        order = np.lexsort((found, actors))
        twice = np.zeros(len(found), bool)
        same = (actors[order[1:]] == actors[order[:-1]]) & (found[order[1:]] == found[order[:-1]])
        twice[order[1:]] = same
        bad = np.flatnonzero(twice | (found == actors))
        if not len(bad):
            break
        for one, other in zip(bad, rng.integers(0, len(found), len(bad)), strict=True):
            found[[one, other]] = found[[other, one]]
    return found


class _Table:
    """What was found so far."""

    def __init__(self, product: Pipeline, problem: Problem) -> None:
        self._product, self._problem = product, problem
        self._names = product.source_names
        n = len(problem.users)
        self._lists = {name: np.zeros((n, DEPTH), np.int64) for name in self._names}
        self._parts: dict[str, list[npt.NDArray[Any]]] = {}
        self._n_merged = 0
        self._degraded: dict[str, int] = {}
        order = np.argsort(problem.excluded.user_ids, kind="stable")
        self._excluded = problem.excluded.post_ids[order]
        self._bounds = np.searchsorted(
            problem.excluded.user_ids[order], [problem.users, problem.users + 1]
        )

    def add(self, row: int, query: Query) -> None:
        excluded = self._excluded[self._bounds[0, row] : self._bounds[1, row]]
        found, merged, light = _asked(self._product, query)
        for what in query.degraded:
            self._degraded[what] = self._degraded.get(what, 0) + 1
        self._n_merged += len(merged)
        offered = {
            name: part.take(~np.isin(part.post_ids, excluded)) for name, part in found.items()
        }
        for name, part in offered.items():
            self._list(name, row, part.post_ids)
            for i in np.flatnonzero(_bits(part.engines)).tolist():
                mine = part.post_ids[part.engines >> np.uint32(i) & 1 > 0]
                self._list(f"{name}/{ENGINES[i]}", row, mine)
        kept = np.flatnonzero(~np.isin(merged.post_ids, excluded))
        kept = kept[np.argsort(merged.post_ids[kept])]
        merged, light = merged.take(kept), light[kept]
        close = affinities(query, merged)
        columns: dict[str, npt.NDArray[Any]] = {
            "rows": np.full(len(merged), row, np.int32),
            "post_ids": merged.post_ids,
            "author_ids": merged.author_ids,
            "engines": merged.engines,
            "features": merged.features,
            "light": light.astype(np.float32),
        }
        for name in self._names:
            ranks = np.full(len(merged), -1, np.int32)
            scores = np.zeros(len(merged), np.float32)
            if name in offered:
                part = offered[name]
                at = np.searchsorted(merged.post_ids, part.post_ids)
                at[at == len(merged)] = 0
                there = np.flatnonzero(merged.post_ids[at] == part.post_ids) if len(merged) else at
                ranks[at[there]] = there
                scores[at[there]] = part.scores[there]
            columns[f"ranks {name}"], columns[f"scores {name}"] = ranks, scores
        columns |= {f"affinities {name}": column for name, column in close.items()}
        for name, column in columns.items():
            self._parts.setdefault(name, []).append(column)

    def found(self) -> Found:
        columns: dict[str, Any] = {n: np.concatenate(p) for n, p in self._parts.items()}
        by_source: dict[str, Any] = {
            kind: {name: columns.pop(f"{kind} {name}") for name in self._names}
            for kind in ("ranks", "scores")
        }
        by_source["affinities"] = {name: columns.pop(f"affinities {name}") for name in NAMES}
        n_merged = self._n_merged / len(self._problem.users)
        return Found(
            lists=self._lists, n_merged=n_merged, degraded=self._degraded, **by_source, **columns
        )

    def _list(self, name: str, row: int, post_ids: Ids) -> None:
        if name not in self._lists:
            self._lists[name] = np.zeros((len(self._problem.users), DEPTH), np.int64)
        first = post_ids[:DEPTH]
        self._lists[name][row, : len(first)] = first


def _asked(
    product: Pipeline, query: Query
) -> tuple[dict[str, Candidates], Candidates, npt.NDArray[np.float32]]:
    """By source what it found; all of it merged and completed; the light ranker's scores.

    The product's own stages up to the score, but for its filters: what a user may be offered
    is the same for all who are compared.
    """
    found: dict[str, Candidates] = {}
    merged = NONE
    for stage in product.stages:
        match stage:
            case Prepare():
                if not stage.run(query):
                    return found, merged, np.empty(0, np.float32)
            case Retrieve():
                named = {source.name: source.find(query) for source in stage.sources}
                numbers = {source.name: i for i, source in enumerate(stage.sources)}
                for name, part in ask_together(query, named, stage.share).items():
                    found[name] = (part or NONE).of_source(numbers[name])
                merged = first_copies(concatenate(list(found.values())))
            case Extend():
                merged = stage.run(query, merged)
            case Score():
                return found, merged, stage.run(query, merged)
    raise ValueError(f"{product.name} scores nothing")


def _bits(engines: npt.NDArray[np.uint32]) -> npt.NDArray[np.bool_]:
    """Which engines found anything, (32,)."""
    found = np.bitwise_or.reduce(engines) if len(engines) else np.uint32(0)
    return (found >> np.arange(len(ENGINES), dtype=np.uint32) & 1).astype(bool)


def _archived(settings: Settings, history: History) -> Archive:
    with open_writer(settings) as log:
        for begin in range(0, history.events.num_rows, CHUNK_ROWS):
            lanes = route(history.events.slice(begin, CHUNK_ROWS), settings.log.lanes)
            log.append({lane: encode(rows, imported=True) for lane, rows in lanes.items()})
        archiver = Archiver(log, settings.archive_root, range(settings.log.lanes))
        while archiver.step():
            pass
    return Archive(settings.archive_root)
