"""The newest posts of groups of authors, against sorting them all."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.newest_questions import AskNewestOfGroups
from actors.router import shards_of
from actors.stores import newest_posts as module
from actors.stores.newest_posts import NewestPosts, merge_newest
from cluster.events import Kind
from cluster.ids import Ids
from tests.worlds import NOW_MS, USERS, Clock, Event, replaced_posts, states_of, worlds

SINCE_MS = NOW_MS - 15 * 3_600_000


def newest(
    events: list[Event], groups: list[list[int]], n_shards: int, limit: int, reposts: bool
) -> NewestPosts:
    """What all shards say, each of the members that live in it."""
    states = states_of(events, n_shards)
    authors = np.array([author for group in groups for author in group], np.int64)
    group_of = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    homes = shards_of(authors, n_shards)
    parts = []
    for shard, state in enumerate(states):
        mine = homes == shard
        offsets = np.searchsorted(group_of[mine], np.arange(len(groups) + 1))
        asked = AskNewestOfGroups(authors[mine], offsets, SINCE_MS, NOW_MS, limit, reposts)
        parts += state.ask([asked])
    return merge_newest(parts, limit)


def model(events: list[Event], group: list[int], limit: int, reposts: bool) -> list[int]:
    deleted = {e["post_id"] for e in events if e["kind"] == "post_delete"}
    edited = replaced_posts(events)
    found = [
        (e["time_ms"], e["post_id"])
        for e in events
        if e["kind"] == "post_create"
        and e["author_id"] in group
        and SINCE_MS <= e["time_ms"] < NOW_MS
        and not e.get("reply_to_id")
        and (reposts or not e.get("repost_of_id"))
        and e["post_id"] not in deleted | edited
    ]
    return [post_id for _, post_id in sorted(found, reverse=True)[:limit]]


@settings(max_examples=40)
@given(
    worlds(),
    st.lists(st.lists(st.sampled_from(USERS), unique=True, max_size=4), min_size=1, max_size=3),
    *(st.sampled_from([1, 4]), st.integers(1, 4), st.booleans()),
)
def test_newest_of_groups_against_model(
    events: list[Event], groups: list[list[int]], n_shards: int, limit: int, reposts: bool
) -> None:
    found = newest(events, groups, n_shards, limit, reposts)
    by_group = [found.post_ids[found.groups == k].tolist() for k in range(len(groups))]
    assert by_group == [model(events, group, limit, reposts) for group in groups]
    assert found.groups.tolist() == sorted(found.groups.tolist())


def test_of_many_posts_the_newest_are_found_whoever_wrote_them() -> None:
    clock = Clock()
    rng = np.random.default_rng(1)
    events = [clock.post(100 + k, USERS[rng.integers(0, 8)]) for k in range(300)]
    for n_shards in (1, 4):
        found = newest(events, [USERS, USERS[:3]], n_shards, 37, False)
        for k, group in enumerate((USERS, USERS[:3])):
            assert found.post_ids[found.groups == k].tolist() == model(events, group, 37, False)


def test_those_who_only_reply_cost_a_bounded_scan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SCAN", 3)
    clock = Clock()
    reply: dict[str, Any] = {"reply_to_id": 9, "reply_to_author_id": USERS[5]}
    events = [clock.post(10, USERS[1])]
    assert newest([*events, clock.post(11, USERS[1], **reply)], [USERS], 1, 5, False).post_ids == 10
    events += [clock.post(11 + k, USERS[1], **reply) for k in range(3)]
    assert len(newest(events, [USERS], 1, 5, False).post_ids) == 0


def test_nobody_has_no_posts() -> None:
    clock = Clock()
    events = [clock.post(10, USERS[0]), clock.edge(Kind.FOLLOW, USERS[0], USERS[1])]
    found = newest(events, [[], [USERS[7], 99]], 1, 5, True)
    assert [len(column) for column in vars(found).values()] == [0, 0, 0, 0]


def heads(events: list[Event], *authors: int) -> Ids:
    table = states_of(events)[0].posts.table
    rows = table.heads_of(np.array(authors, np.int64))
    return np.where(rows >= 0, table["post_ids"][rows], 0)


def test_heads_are_the_newest_posts() -> None:
    clock = Clock()
    events = [clock.post(10, USERS[0]), clock.post(11, USERS[0]), clock.post(12, USERS[1])]
    assert heads(events, USERS[1], 77, USERS[0]).tolist() == [12, 0, 11]
