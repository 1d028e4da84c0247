"""Compiles every kernel once and keeps the result on disk: run when the project is installed."""

import gc
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from actors import snapshot
from actors.models import Models
from actors.questions import AskContext, AskInNetwork, AskPopular, AskPosts, AskUris
from actors.social_proof import SocialProof
from actors.state import Failed, Question, ShardState
from actors.stores.proof_ranking import merge_proofs, rank_proofs
from actors.stores.random_walks import salsa
from actors.stores.score_bounds import score_floor
from actors.two_hop import LeftLists
from actors.viewer_state import AskViewerState
from actors.warm_models import (
    question_of_lists,
    questions_of_models,
    serve_tiny_models,
    warm_tables,
)
from actors.warm_ranker import warm_inputs
from actors.warm_sources import questions_of_sources, questions_of_vector_sources
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.routing import route
from cluster.settings import GraphSettings, Settings
from cluster.validation import check_objects

_NOW_MS = 1_700_000_000_000
_SINCE_MS = _NOW_MS - 86_400_000
_GARBAGE_BEFORE_COLLECTION = 20_000


def main() -> None:
    """Warm up, and say how long it took."""
    started = time.perf_counter()
    warm()
    print(f"kernels compiled in {time.perf_counter() - started:.1f} s")


def prefer_short_waits() -> None:
    """Have a thread wait for the interpreter half a millisecond at most.

    By default a query would wait behind a thread that applies events for 5 ms. Threads that all
    make pages are better off with that: to take turns more often costs a twentieth of them.
    """
    sys.setswitchinterval(0.0005)


def pass_over_what_stays() -> None:
    """Have the collector of cycles look no more at what a process has loaded, as it does to
    answer requests: half a million objects that stay until the end."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE_BEFORE_COLLECTION)


def warm() -> None:
    """Run a tiny shard through everything that has kernels.

    A process that answers requests calls this before it says that it is ready: reading
    compiled kernels from the cache takes about a second, which no request should wait for.
    """
    settings = Settings(graph=GraphSettings(edges_per_segment=8))
    with tempfile.TemporaryDirectory() as folder:
        models = Models(ArtifactStore(Path(folder) / "artifacts"))
        state = ShardState(settings, models)
        batch = _events()
        for offset, part in enumerate(route(batch, settings.log.lanes).values(), 1):
            state.apply(part, np.full(part.num_rows, offset), imported=False)
        _ask(state)
        _rank(state)
        _warm_models(batch, settings, models)
        written = snapshot.write(snapshot.capture(state, {}), Path(folder) / "snapshots")
        snapshot.restore(ShardState(settings, models), written.parent)


def _events() -> pa.RecordBatch:
    events = [
        {"kind": "user_create", "actor_id": 1, "language": "en", "name": "Ada"},
        {"kind": "follow", "actor_id": 1, "target_id": 2},
        *(
            {"kind": "post_create", "post_id": 10 + i, "author_id": 2 + i % 3, "text": f"Post {i}"}
            | ({"video_duration_ms": 10_000} if i < 3 else {})
            for i in range(12)
        ),
        *(
            {"kind": "video_watch", "actor_id": 2, "post_id": 10 + i, "author_id": 2 + i % 3}
            | {"value": 9_000}
            for i in range(3)
        ),
        *(
            {"kind": "favourite", "actor_id": 2, "post_id": 10 + i, "author_id": 2 + i % 3}
            for i in range(12)
        ),
        {"kind": "impression", "actor_id": 1, "post_id": 10, "author_id": 2},
    ]
    timed = [{**event, "time_ms": _NOW_MS - 1000 + i} for i, event in enumerate(events)]
    return check_objects(timed, now_ms=_NOW_MS).batch


def _ask(state: ShardState) -> None:
    authors = np.array([2, 3, 4], np.int64)
    posts = np.array([10, 11, 99], np.int64)
    affinities = np.ones(3, np.float32)

    _answered(
        state,
        [
            AskContext(1, _NOW_MS, 100, 100),
            AskInNetwork(
                1, authors, affinities, "en", _SINCE_MS, _NOW_MS, _NOW_MS, 100, 5, "untrained"
            ),
            AskPopular("en", _SINCE_MS, _NOW_MS, 5),
            AskViewerState(1, _NOW_MS),
            AskPosts(posts, "en", _NOW_MS),
            AskUris(posts),
            *questions_of_sources(1, authors, posts, _NOW_MS),
        ],
    )


def _answered(state: ShardState, questions: Sequence[Question]) -> list[Any]:
    answers = state.ask(questions)
    failed = [answer for answer in answers if isinstance(answer, Failed)]
    if failed:
        raise RuntimeError(f"a question failed while compiling: {failed[0].reason}")
    return answers


def _warm_models(batch: pa.RecordBatch, settings: Settings, models: Models) -> None:
    """The same world once more, where trained models are active."""
    state = ShardState(settings, models)
    users, posts = np.array([1, 2, 3, 4], np.int64), np.arange(10, 22)
    version = serve_tiny_models(state, users.tolist(), posts.tolist(), _NOW_MS)
    for offset, part in enumerate(route(batch, settings.log.lanes).values(), 1):
        state.apply(part, np.full(part.num_rows, offset), imported=False)
    dimension = state.vectors.models(version).dimension
    asked = questions_of_models(version, 1, users, posts, _NOW_MS)
    asked += questions_of_vector_sources(version, dimension, users, posts, _NOW_MS)
    answers = _answered(state, asked)
    [left] = [answer for answer in answers if isinstance(answer, LeftLists)]
    _answered(state, [question_of_lists(left, users)])
    warm_tables(users)
    warm_inputs(state, 1, posts, _NOW_MS)
    state.expire(_NOW_MS + 10 * 86_400_000)


def _rank(state: ShardState) -> None:
    seeds = np.array([2, 3], np.int64)
    places = np.arange(2, dtype=np.int32)
    proofs = state.graph.second_degree(seeds, places, _SINCE_MS, (Kind.FAVOURITE,), 500)
    rank_proofs([merge_proofs([proofs, proofs])], seeds, np.ones(2), k=5)
    # Asked for only where there are many posts.
    score_floor(np.ones(4), 2)
    SocialProof(proofs, np.ones(2)).features(np.array([10, 11], np.int64))
    warm_inputs(state, 1, np.array([10, 11], np.int64), _NOW_MS)
    salsa(state.graph.engagements, 1, seeds, np.ones(2), rng=np.random.default_rng(0))


if __name__ == "__main__":
    main()
