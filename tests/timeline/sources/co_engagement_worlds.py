"""Random engagements of few users with few posts, and a slow model of what is related."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from actors.router import LocalRouter
from actors.state import ShardState
from cluster.events import UNDONE_BY, Kind
from cluster.settings import Settings
from tests.worlds import HOUR_MS, NOW_MS, POSTS, USERS, Event, author_of, states_of
from timeline.findings import Finding, ask_together
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.sources.co_engagement import Related

DONE = (Kind.FAVOURITE, Kind.REPOST)
SINCE_MS = NOW_MS - 48 * HOUR_MS
NO_GATES = {
    "min_query_degree": 0,
    "min_result_degree": 0,
    "min_cooccurrence_posts": 1,
    "min_cooccurrence_consumers": 1,
    "min_cooccurrence_producers": 1,
    "min_score_posts": 0.0,
    "min_score_producers": 0.0,
}


@st.composite
def engagement_worlds(draw: st.DrawFn) -> list[Event]:
    """Posts of the last days, some deleted, favourited, reposted and not any more."""
    events: list[Event] = []
    for post in POSTS:
        age_ms = draw(st.sampled_from([1, 1, 1, 47, 49])) * HOUR_MS
        ids = {"post_id": post, "author_id": author_of(post)}
        events.append({"kind": "post_create", "time_ms": NOW_MS - age_ms, **ids})
        if draw(st.integers(0, 9)) == 0:
            events.append({"kind": "post_delete", "time_ms": NOW_MS - HOUR_MS, **ids})
    kinds = [*DONE, *DONE, Kind.UNFAVOURITE, Kind.UNREPOST, Kind.REPLY]
    for _ in range(draw(st.integers(0, 90))):
        post = draw(st.sampled_from(POSTS))
        hours = draw(st.sampled_from([0, 1, 1, 2, 3, 50]))
        events.append(
            {
                "kind": draw(st.sampled_from(kinds)).label,
                "time_ms": NOW_MS - hours * HOUR_MS,
                # Nobody is proof of their own posts: such events make no edges.
                "actor_id": draw(st.sampled_from([u for u in USERS if u != author_of(post)])),
                "post_id": post,
                "author_id": author_of(post),
            }
        )
    for event_id, event in enumerate(events, 1):
        event["event_id"] = event_id
    return sorted(events, key=lambda event: (event["time_ms"], event["event_id"]))


def query_of(
    states: Sequence[ShardState], viewer: int = USERS[0], seed: int = 0, **asked: Any
) -> Query:
    return Query(
        viewer, NOW_MS, 10, "request", states[0].settings, LocalRouter(states), seed, **asked
    )


def world_of(
    events: Sequence[Event], n_shards: int = 1, viewer: int = USERS[0], **groups: Any
) -> Query:
    chosen = Settings.model_validate({"sources": groups})
    query = query_of(states_of(events, n_shards, chosen), viewer)
    assert fetch_viewer(query)
    return query


def run_finding(query: Query, finding: Finding[Any]) -> Any:
    found = ask_together(query, {"finding": finding}, 1.0)["finding"]
    assert query.degraded == []
    return found


def listed(found: Related) -> list[list[Any]]:
    """For each key what is related to it: (post, author, score)."""
    return [list(zip(*(column.tolist() for column in related), strict=True)) for related in found]


@dataclass
class Model:
    """Sets and dictionaries of what stands, and what follows from them."""

    events: list[Event]

    def __post_init__(self) -> None:
        last: dict[tuple[int, int, Kind], tuple[int, bool]] = {}
        self.counted: Counter[int] = Counter()
        self.edges: Counter[int] = Counter()
        self.created: dict[int, int] = {}
        for event in self.events:
            kind = Kind[event["kind"].upper()]
            if kind is Kind.POST_CREATE:
                self.created[event["post_id"]] = event["time_ms"]
            done = UNDONE_BY.get(kind, kind)
            if done in (*DONE, Kind.REPLY) and event["time_ms"] >= SINCE_MS:
                self.edges[event["actor_id"]] += 1
            if done not in DONE:
                continue
            undone = kind is not done
            self.counted[event["post_id"]] += -1 if undone else 1
            if event["time_ms"] >= SINCE_MS:
                key = (event["actor_id"], event["post_id"], done)
                last[key] = max(last.get(key, (0, False)), (event["time_ms"], undone))
        for event in self.events:
            if event["kind"] == "post_delete":
                self.created.pop(event["post_id"], None)
        self.stands = [key for key, (_, undone) in last.items() if not undone]

    def engaged(self, user: int) -> set[int]:
        return {post for u, post, _ in self.stands if u == user}

    def engagers(self, post: int) -> set[int]:
        return {user for user, p, _ in self.stands if p == post}

    def degree(self, post: int) -> int:
        return sum(p == post for _, p, _ in self.stands)

    def user_degree(self, user: int) -> int:
        return sum(u == user for u, _, _ in self.stands)

    def related(
        self,
        users: set[int],
        *,
        query: int = 0,
        least: int = 1,
        min_score: float = 0.0,
        min_degree: int = 0,
        user_degrees: range = range(100),
    ) -> list[tuple[int, int, float]]:
        """By the definition, for a post (`query`) or a list of users."""
        # Of who did more than twice as much, whatever it was, the rest is not read.
        busy = {user for user in users if self.edges[user] >= 2 * user_degrees.stop}
        users = {user for user in users - busy if self.user_degree(user) in user_degrees}
        if not users or (query and self.degree(query) < 2):
            return []
        factor = 1_000.0
        if query:
            factor = self.degree(query) / math.log(self.degree(query))
        factor /= len(users)
        found = []
        for post, shared in Counter(p for user in users for p in self.engaged(user)).items():
            young = self.created.get(post, 0) >= SINCE_MS
            counted = self.counted[post]
            if post == query or not young or shared < least or counted <= max(min_degree, 1):
                continue
            score = float(np.float32(factor * shared / math.log(counted)))
            if score > np.float32(min_score):
                found.append((post, author_of(post), score))
        return sorted(found, key=lambda row: (-row[2], row[0]))
