"""Expiry in slices: what is applied between them is lost neither in the old nor the new."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores import post_embeddings, post_vectors, recent_engagements
from actors.stores.cluster_search import ClusterSearch
from actors.vectors import VectorsKind
from cluster.events import Kind
from tests.actors.test_vectors import ALL, LIMITS, NEW, OLD, apply, embedding, like
from tests.worlds import DAY_MS, HOUR_MS, NOW_MS, POSTS, USERS, Clock, Event, author_of

# (what, user, post, hours ago): posts are created and deleted, favoured and favoured no more.
Action = tuple[str, int, int, int]
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["create", "like", "like", "like", "unlike", "delete"]),
        st.integers(0, len(USERS) - 1),
        st.integers(0, len(POSTS) - 1),
        st.integers(0, 90),
    ),
    max_size=30,
)


def possible(*parts: Sequence[Action]) -> list[list[Action]]:
    """The actions, each post created once, for ids are never given twice, and no post engaged
    with before the hour of its creation, though what is heard of it may be heard before."""
    created: dict[int, int] = {}
    for what, _, post, hours in chain(*parts):
        if what == "create":
            created.setdefault(post, hours)
    waiting = set(created)
    kept: list[list[Action]] = []
    for part in parts:
        kept.append([])
        for what, user, post, hours in part:
            if what != "create":
                kept[-1].append((what, user, post, min(hours, created.get(post, hours))))
            elif post in waiting:
                waiting.remove(post)
                kept[-1].append((what, user, post, hours))
    return kept


def event_of(clock: Clock, action: Action) -> Event:
    what, user, post, hours = action
    clock.now_ms = NOW_MS - hours * HOUR_MS + clock._last_id
    if what == "create":
        return clock.post(POSTS[post], author_of(POSTS[post]))
    if what == "delete":
        return clock.event(Kind.POST_DELETE, post_id=POSTS[post], author_id=author_of(POSTS[post]))
    kind = Kind.FAVOURITE if what == "like" else Kind.UNFAVOURITE
    return like(clock, USERS[user], POSTS[post], kind)


def told(kind: VectorsKind, version: str) -> list[object]:
    """What a kind answers, rounded: sums in another order differ in the last digits."""
    communities, weights = OLD.interested_in.of(int(np.sort(USERS)[0]))
    search = ClusterSearch(max_results=50, max_age_ms=3 * DAY_MS)
    similar = kind.similar(version, communities, weights, search, NOW_MS)
    vectors, known = kind.vectors(version, ALL, NOW_MS)
    near = kind.near(version, np.array([1, 1, 0], np.float32), 50, NOW_MS, 3 * DAY_MS)
    return [
        [
            {c: round(x, 5) for c, x in embedding(kind, post, NOW_MS, version).items()}
            for post in POSTS
        ],
        np.round(vectors, 3).tolist(),
        known.tolist(),
        sorted(near.ids.tolist()),
        sorted(zip(similar.post_ids.tolist(), np.round(similar.scores, 4).tolist(), strict=True)),
    ]


@pytest.fixture(scope="module", autouse=True)
def _small_slices() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(post_embeddings, "_MOVED_AT_ONCE", 7)
        patch.setattr(post_vectors, "_MOVED_AT_ONCE", 6)
        patch.setattr(recent_engagements, "_MOVED_AT_ONCE", 2)
        patch.setattr("actors.vectors._LOOKED_AT_ONCE", 2)
        yield


def run(early: Sequence[Action], between: Sequence[Action], late: Sequence[Action]) -> None:
    clock = Clock()
    first, second, third = (
        [event_of(clock, action) for action in some] for some in possible(early, between, late)
    )
    # Who engages again after the window counts twice, whenever it was that the first was forgotten.
    limits = replace(LIMITS, recent_ms=4 * DAY_MS)
    kind, model = VectorsKind(limits, OLD), VectorsKind(limits, OLD)
    for one in (kind, model):
        apply([one], first)
    waiting = list(second)
    for k, _ in enumerate(kind.expiring(NOW_MS)):
        apply([kind], waiting[:1])
        apply([model], waiting[:1])
        del waiting[:1]
        if k % 5 == 0:
            assert told(kind, "old") == told(model, "old")
    for one in (kind, model):
        apply([one], [*waiting, *third])
    assert told(kind, "old") == told(model, "old")
    for one in (kind, model):
        one.prepare(NEW, NOW_MS)
    assert told(kind, "new") == told(model, "new")


@settings(max_examples=40)
@given(ACTIONS, ACTIONS, ACTIONS)
def test_answers_are_those_of_a_store_that_forgets_nothing(
    early: list[Action], between: list[Action], late: list[Action]
) -> None:
    run(early, between, late)


def test_old_rows_do_go() -> None:
    clock = Clock()
    actions: list[Action] = [("create", 0, k, 80 if k < 8 else 5) for k in range(len(POSTS))]
    likes: list[Action] = [("like", 5, k, 79 if k < 8 else 4) for k in range(len(POSTS))]
    kind = VectorsKind(LIMITS, OLD)
    apply([kind], [event_of(clock, action) for action in [*actions, *likes]])
    slices = sum(1 for _ in kind.expiring(NOW_MS))
    assert slices > 10
    assert kind.sizes()["embedded_posts"] == 4
    assert kind.sizes()["vectors"] == 4


def test_a_second_expiry_leaves_the_first_alone() -> None:
    kind = VectorsKind(LIMITS, OLD)
    clock = Clock()
    old: list[Action] = [("create", 0, k, 80) for k in range(len(POSTS))]
    apply([kind], [event_of(clock, action) for action in old])
    first = kind.expiring(NOW_MS)
    next(first)
    kind.expire(NOW_MS)
    assert kind.sizes()["embedded_posts"] == len(POSTS)
    for _ in first:
        pass
    assert kind.sizes()["embedded_posts"] == 0
