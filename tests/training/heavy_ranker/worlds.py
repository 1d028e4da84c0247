"""A small world of requests, and inputs of a small schema as of any instant of it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from actors.features.inputs import Embedding, Input, Level, RankerInputs, Schema, Sort
from actors.features.light import FEATURES
from actors.features.logged import LoggedPage
from actors.state import ShardState
from cluster.events import Kind
from cluster.ids import Ids
from tests.worlds import HOUR_MS, Clock, Event

AUTHORS = (1, 2)
N_POSTS = 4
POSTS = [100 + k for k in range(N_POSTS)]

SCHEMA = Schema(
    (
        Input("viewer.follows", Sort.CONTINUOUS, Level.VIEWER, "g", "m"),
        Input("viewer_id", Sort.DISCRETE, Level.VIEWER, "g", "m", buckets=1_000, dimensions=4),
        Input("author_id", Sort.DISCRETE, Level.AUTHOR, "g", "m", buckets=1_000, dimensions=4),
        Input("author.odd", Sort.BINARY, Level.AUTHOR, "g", "m"),
        Input("post.favourites", Sort.CONTINUOUS, Level.POST, "g", "m"),
        Input("post.found", Sort.BINARY, Level.POST, "g", "m"),
    ),
    (Embedding("author_vector", Level.AUTHOR, 2, "m"),),
)


def author_of(post_id: int) -> int:
    return AUTHORS[post_id % len(AUTHORS)]


def requests(
    n: int,
    *,
    favoured: int = 0,
    apart_ms: int = 60_000,
    clock: Clock | None = None,
    first: int = 0,
) -> list[Event]:
    """Requests of as many viewers, all shown `POSTS`, who favour one; the last at 6 h ago."""
    clock = clock or Clock()
    clock.now_ms -= 5 * HOUR_MS + n * apart_ms
    events = [clock.post(post, author_of(post)) for post in POSTS]
    for request in range(first, first + n):
        clock.now_ms += apart_ms - 3 * N_POSTS - 2
        viewer, named = viewer_of(request), {"request_id": f"r{request}"}
        asked_ms = clock.now_ms
        for place, post in enumerate(POSTS):
            served = clock.on_post(
                Kind.SERVED,
                *(viewer, post, author_of(post)),
                position=place,
                source=f"source{post % 2}",
                **named,
            )
            events.append(served | {"time_ms": asked_ms})
        events += [
            clock.on_post(Kind.IMPRESSION, viewer, post, author_of(post), **named) for post in POSTS
        ]
        post = POSTS[favoured]
        events.append(clock.on_post(Kind.FAVOURITE, viewer, post, author_of(post)))
    return events


def viewer_of(request: int) -> int:
    return 1_000 + request


def asked_ms_of(events: Sequence[Event], request: int) -> int:
    return next(int(e["time_ms"]) for e in events if e.get("request_id") == f"r{request}")


def inputs_as_of(
    state: ShardState, viewer_id: int, post_ids: Ids, sources: Sequence[str | None], now_ms: int
) -> RankerInputs:
    """What the state says then: favourites of the post, and who is who."""
    found = state.posts.hydrate(post_ids, "", now_ms)
    follows = len(state.graph.context(viewer_id, now_ms, 100, 1).follows)
    authors, author_rows = np.unique(found.author_ids, return_inverse=True)
    favourites = np.expm1(found.features[:, FEATURES.index("favourites")])
    told = np.array([source is not None for source in sources], np.float32)
    return made(viewer_id, authors, author_rows, follows, np.stack([favourites, told], 1))


def made(
    viewer_id: int,
    authors: Ids,
    author_rows: npt.NDArray[np.int64],
    follows: float,
    of_posts: npt.NDArray[np.floating],
) -> RankerInputs:
    viewer, author = np.array([[viewer_id]]), authors[:, None]
    return RankerInputs(
        SCHEMA,
        (
            np.array([[follows]], np.float32),
            (author % 2).astype(np.float32),
            of_posts.astype(np.float32),
        ),
        (viewer, author, np.zeros((len(of_posts), 0), np.int64)),
        {"author_vector": np.stack([authors, -authors], 1).astype(np.float32)},
        author_rows,
    )


def page(
    request: int, time_ms: int, favourites: Sequence[float], posts: Sequence[int] = POSTS
) -> LoggedPage:
    """What was logged of a request: as if each post had had so many favourites."""
    post_ids = np.array(posts, np.int64)
    author_ids = np.array([author_of(post) for post in posts], np.int64)
    authors, author_rows = np.unique(author_ids, return_inverse=True)
    of_posts = np.stack([np.asarray(favourites, np.float32), np.ones(len(posts))], 1)
    return LoggedPage(
        *(f"r{request}", viewer_of(request), time_ms, "v", "s", {}, post_ids, author_ids),
        np.arange(len(posts), dtype=np.int16),
        tuple(f"source{post % 2}" for post in posts),
        made(viewer_of(request), authors, author_rows, 0, of_posts),
    )
