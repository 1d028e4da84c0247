from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from actors.questions import AskGone, AskPosts
from actors.router import Gathered, LocalRouter, Wave, shards_of
from actors.state import Question, ShardState
from cluster.events import Kind
from cluster.ids import Ids
from tests.timeline.candidate_rows import context
from tests.worlds import NOW_MS, POSTS, USERS, Clock, Event, author_of, states_of, worlds
from timeline.candidates import NONE, Candidates, concatenate, from_found, unhydrated
from timeline.findings import Finding
from timeline.hydration import complete
from timeline.pipeline import Extend, Pipeline, Retrieve
from timeline.query import Query

NOTHING: Ids = np.empty(0, np.int64)


class Counting(LocalRouter):
    """Counts waves, and what they ask."""

    def __init__(self, states: Sequence[ShardState]) -> None:
        super().__init__(states)
        self.waves: list[list[Question]] = []

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        self.waves.append([question for asked in wave.values() for question in asked])
        return super().ask(wave, timeout_s)


class Finds:
    """A source that finds posts after some waves, and may hold the facts of some of them."""

    gated = False

    def __init__(
        self, name: str, pairs: Sequence[tuple[int, int]], waves: int = 1, held: Candidates = NONE
    ) -> None:
        self.name = name
        self._pairs = np.array(pairs, np.int64).reshape(-1, 2)
        self._waves = waves
        self._held = held

    def find(self, query: Query) -> Finding[Candidates]:
        for _ in range(self._waves):
            yield {0: [AskGone(NOTHING, NOTHING)]}
        posts, authors = self._pairs.T
        return concatenate([self._held, unhydrated(posts, authors, np.ones(len(posts)))])


def asked_of(states: Sequence[ShardState]) -> tuple[Query, Counting]:
    router = Counting(states)
    query = Query(USERS[0], NOW_MS, 10, "request", states[0].settings, router)
    return replace(query, context=context()), router


def held_by(states: Sequence[ShardState], posts: Sequence[int]) -> Candidates:
    """What the posts' own shards know of them, of those that were created."""
    parts = [NONE]
    for post in posts:
        shard = int(shards_of(np.array([author_of(post)]), len(states))[0])
        found = states[shard].posts.hydrate(np.array([post], np.int64), "", NOW_MS)
        if found.created_ms[0] > 0:
            parts.append(from_found(found))
    return concatenate(parts)


def plain(candidates: Candidates) -> dict[str, list[object]]:
    return {name: column.tolist() for name, column in vars(candidates).items()}


PAIRS = st.lists(
    st.sampled_from(POSTS).flatmap(
        lambda post: st.tuples(st.just(post), st.sampled_from([author_of(post), USERS[-1]]))
    ),
    max_size=8,
)


@given(
    worlds(), PAIRS, PAIRS, st.lists(st.sampled_from(POSTS), max_size=4), st.sampled_from([1, 4])
)
def test_facts_that_came_ahead_are_those_that_are_fetched_else(
    events: list[Event],
    early: list[tuple[int, int]],
    late: list[tuple[int, int]],
    held: list[int],
    n_shards: int,
) -> None:
    states = states_of(events, n_shards)
    holder = Finds("holder", [], held=held_by(states, held))
    retrieve = Retrieve("candidates", [Finds("early", early), holder, Finds("late", late, waves=3)])
    query, _ = asked_of(states)
    found, _ = Pipeline("test", [retrieve, Extend("hydration", complete)]).run(query)
    other, _ = asked_of(states)
    merged, _ = Pipeline("test", [retrieve]).run(other)
    other.ahead = None
    assert plain(found) == plain(complete(other, merged))


def test_facts_travel_with_what_others_ask() -> None:
    clock = Clock()
    first, second, third = POSTS[:3]
    reposted = {"repost_of_id": first, "repost_of_author_id": author_of(first)}
    states = states_of(
        [
            clock.post(first, author_of(first)),
            clock.post(second, author_of(second), **reposted),
            clock.post(third, author_of(third)),
            clock.event(Kind.POST_DELETE, post_id=first, author_id=author_of(first)),
        ],
        2,
    )
    early, pairs = Finds("early", [(second, author_of(second))]), [(third, author_of(third))]
    query, router = asked_of(states)
    stages = [Retrieve("candidates", [early, Finds("late", [], 3)]), Extend("facts", complete)]
    found, _ = Pipeline("test", stages).run(query)
    # The post with the second wave, what it reposts with the third, and nothing afterwards.
    assert [sum(isinstance(q, AskPosts) for q in wave) for wave in router.waves] == [0, 1, 0]
    assert found.repost_of_ids.tolist() == [first]
    assert found.deleted.tolist() == [True]
    query, router = asked_of(states)
    stages[0] = Retrieve("candidates", [early, Finds("late", pairs, 2)])
    found, _ = Pipeline("test", stages).run(query)
    assert len(router.waves) == 3
    assert (found.created_ms > 0).all()
    assert found.deleted.tolist() == [True, False]


def test_facts_wait_for_a_source_that_will_foresee() -> None:
    clock = Clock()
    pairs = [(post, author_of(post)) for post in POSTS[:4]]
    states = states_of([clock.post(post, author) for post, author in pairs], 1)

    class Foresees(Finds):
        def find(self, query: Query) -> Finding[Candidates]:
            assert query.ahead is not None
            query.ahead.held_back.add(self.name)
            yield {0: [AskGone(NOTHING, NOTHING)]}
            yield {0: [AskGone(NOTHING, NOTHING)]}
            posts, authors = self._pairs.T
            query.want_facts(posts, authors)
            query.ahead.held_back.discard(self.name)
            return (yield from super().find(query))

    query, router = asked_of(states)
    sources = [Finds("early", pairs[:2]), Foresees("late", pairs[1:])]
    stages = [Retrieve("candidates", sources), Extend("facts", complete)]
    found, _ = Pipeline("test", stages).run(query)
    assert [sum(isinstance(q, AskPosts) for q in wave) for wave in router.waves] == [0, 0, 1]
    assert sorted(found.post_ids.tolist()) == POSTS[:4]
    assert (found.created_ms > 0).all()
