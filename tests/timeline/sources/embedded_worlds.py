"""Favourites of a few posts under hand-made models, and what they add up to by the plainest means.

Every user has the same row in every matrix and the same vector in every table.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from actors.router import LocalRouter
from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline.trained_worlds import Entries, trained_states, write_rows
from tests.worlds import HOUR_MS, NOW_MS, POSTS, USERS, Clock, Event, author_of
from timeline.hydration import fetch_viewer
from timeline.query import Query

ROWS: Entries = {
    USERS[0]: {0: 0.9, 1: 0.4},
    USERS[1]: {0: 0.5, 2: 0.8},
    USERS[2]: {1: 0.9, 2: 0.35, 3: 0.6},
    USERS[3]: {3: 0.95},
    USERS[4]: {0: 0.31, 1: 0.2, 2: 0.7},
    USERS[5]: {2: 0.6, 3: 0.45},
    USERS[6]: {0: 1.0, 3: 0.1},
}
"""The last of the users is not in any model."""
VECTORS: dict[int, tuple[float, ...]] = {
    user: (math.cos(angle), math.sin(angle), 0.3)
    for user, angle in zip(USERS[:7], (0.1, 0.4, 0.8, 1.3, 1.9, 2.6, 3.0), strict=True)
}

World = tuple[Path, dict[str, str]]
"""Where the artifacts are, and which versions of them serve."""
Likes = Mapping[tuple[int, int], int]
"""(user, post) → minutes before now."""
LIKES: st.SearchStrategy[Likes] = st.dictionaries(
    st.tuples(st.sampled_from(USERS), st.sampled_from(POSTS)),
    st.integers(1, 30 * 60),
    max_size=30,
)


def created_ms(post_id: int) -> int:
    """Four hours apart, the oldest two older than a day and a half."""
    return NOW_MS - (POSTS.index(post_id) * 4 + 1) * HOUR_MS


def write_world(folder: Path) -> dict[str, str]:
    return write_rows(folder, ROWS, VECTORS)


def events_of(likes: Likes, further: Sequence[Event] = ()) -> list[Event]:
    clock = Clock(NOW_MS - 60 * HOUR_MS)
    events = [clock.post(post, author_of(post), time_ms=created_ms(post)) for post in POSTS]
    for (user, post), minutes in likes.items():
        at = {"time_ms": NOW_MS - minutes * 60_000}
        events.append(clock.on_post(Kind.FAVOURITE, user, post, author_of(post), **at))
    events += [event | {"event_id": 10_000 + n} for n, event in enumerate(further)]
    return sorted(events, key=lambda event: (event["time_ms"], event["event_id"]))


def asked(
    world: World,
    events: Sequence[Event],
    n_shards: int = 1,
    viewer: int = USERS[0],
    **sources: Any,
) -> Query:
    states = trained_states(world[0], events, n_shards, world[1])
    chosen = Settings(sources=sources)  # type: ignore[arg-type]
    query = Query(viewer, NOW_MS, 10, "request", chosen, LocalRouter(states))
    fetch_viewer(query)
    assert query.context is not None
    return query


def embeddings(likes: Likes) -> dict[int, dict[int, float]]:
    """By post and community, the sums of what favourites add, where the gate lets them."""
    found: dict[int, dict[int, float]] = {}
    for (user, post), minutes in likes.items():
        if user == author_of(post):
            continue
        for community, score in ROWS.get(user, {}).items():
            if score >= 0.3:
                row = found.setdefault(post, {})
                row[community] = row.get(community, 0.0) + score * 2 ** (-minutes / 480)
    return found


def like_source(likes: Likes, source: Mapping[int, float], least: float) -> dict[int, float]:
    """Posts of the last day and their partial cosines, greater than the least."""
    found = {}
    norm = math.hypot(*source.values())
    for post, row in embeddings(likes).items():
        scanned = {c: score for c, score in row.items() if c in source and score >= 0.001}
        if not scanned or created_ms(post) < NOW_MS - 24 * HOUR_MS:
            continue
        dot = sum(source[c] * score for c, score in scanned.items())
        cosine = dot / (norm * math.hypot(*scanned.values()))
        if cosine > least:
            found[post] = cosine
    return found
