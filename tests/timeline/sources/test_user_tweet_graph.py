"""The user-tweet graph against a slow model, for any number of shards."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.co_engagement import Normalisation
from actors.signal_types import SignalType
from cluster.events import Kind
from tests.timeline.sources.co_engagement_worlds import (
    NO_GATES,
    Model,
    engagement_worlds,
    listed,
    run_finding,
    world_of,
)
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import HOUR_MS, NOW_MS, POSTS, USERS, Clock, Event, author_of
from timeline.candidates import ENGINES
from timeline.query import Query
from timeline.sources.user_tweet_graph import (
    UserTweetGraph,
    related_by_consumers,
    related_by_posts,
    related_by_producers,
    similar_by_engagers,
)

POST_IDS = np.array(POSTS)
AUTHOR_IDS = np.array([author_of(post) for post in POSTS])
APPROXIMATELY = 1e-5


def alike(found: list[Any], expected: list[Any]) -> None:
    """The same rows in the same order, up to the last bit of the scores."""
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    scores = [row[2] for row in found]
    assert scores == pytest.approx([row[2] for row in expected], rel=APPROXIMATELY)


gates = st.fixed_dictionaries(
    {
        "min_result_degree": st.integers(0, 3),
        "min_cooccurrence_posts": st.integers(1, 3),
        "min_cooccurrence_consumers": st.integers(1, 3),
        "min_cooccurrence_producers": st.integers(1, 2),
        "min_score_posts": st.sampled_from([0.0, 0.7]),
        "below_user_degree": st.sampled_from([100, 6]),
    }
)


@settings(max_examples=25)
@given(engagement_worlds(), gates, st.sampled_from([1, 4]))
def test_all_forms_are_those_of_the_model(
    events: list[Event], chosen: dict[str, Any], n_shards: int
) -> None:
    query = world_of(events, n_shards, user_tweet_graph=NO_GATES | chosen)
    model = Model(events)
    shared = {
        "min_degree": chosen["min_result_degree"],
        "user_degrees": range(chosen["below_user_degree"]),
    }
    found = listed(run_finding(query, related_by_posts(query, POST_IDS, AUTHOR_IDS)))
    for post, rows in zip(POSTS, found, strict=True):
        expected = model.related(
            model.engagers(post),
            query=post,
            least=chosen["min_cooccurrence_posts"],
            min_score=chosen["min_score_posts"],
            **shared,
        )
        alike(rows, expected)
    (rows,) = listed(run_finding(query, related_by_consumers(query, np.array(USERS[2:]))))
    least = chosen["min_cooccurrence_consumers"]
    alike(rows, model.related(set(USERS[2:]), least=least, **shared))


@given(engagement_worlds())
@settings(max_examples=10)
def test_followers_need_two_engagements(events: list[Event]) -> None:
    clock = Clock(NOW_MS - HOUR_MS)
    account, followers = USERS[1], USERS[3:7]
    tied = [clock.edge(Kind.FOLLOW, u, account, event_id=900 + u) for u in followers]
    tied.append(clock.edge(Kind.UNFOLLOW, USERS[3], account, event_id=990))
    query = world_of([*events, *tied], 4, user_tweet_graph=NO_GATES)
    found = run_finding(query, related_by_producers(query, np.array([USERS[0], account])))
    nobody, rows = listed(found)
    assert nobody == []
    model = Model(events)
    alike(rows, model.related(set(USERS[4:7]), user_degrees=range(2, 100)))


def crowd(n_fans: int = 6) -> list[Event]:
    """Post 10 and 11 share all fans, 10 and 12 three of them."""
    clock = Clock()
    events = [clock.post(post, USERS[7]) for post in (10, 11, 12)]
    for k in range(n_fans):
        liked = (10, 11, 12) if k < 3 else (10, 11)
        events += [clock.on_post(Kind.FAVOURITE, USERS[k], p, USERS[7]) for p in liked]
    return events


def test_scores_by_hand() -> None:
    query = world_of(crowd())
    post = np.array([10]), np.array([USERS[7]])
    ((best, second),) = listed(run_finding(query, related_by_posts(query, *post)))
    factor = 6 / math.log(6) / 6
    assert best == (11, USERS[7], pytest.approx(factor * 6 / math.log(6)))
    assert second == (12, USERS[7], pytest.approx(factor * 3 / math.log(3)))
    ((first, *_),) = listed(run_finding(query, related_by_consumers(query, np.array(USERS[:3]))))
    assert first == (12, USERS[7], pytest.approx(1_000 / 3 * 3 / math.log(3)))


@pytest.mark.parametrize(
    ("kind", "best"),
    [
        (Normalisation.COSINE, 3 / math.sqrt(3)),
        (Normalisation.JACCARD, 3 / 6),
        (Normalisation.OVERLAP, 3.0),
        (Normalisation.INVERSE_DEGREE, 3 / 3),
        (Normalisation.SCALED, 3 * math.log(2) / math.log(3) / (math.sqrt(3) * math.sqrt(4))),
        (Normalisation.LOG_COSINE, 3 / math.log(3) / math.log(6)),
    ],
)
@pytest.mark.parametrize("n_shards", [1, 4])
def test_normalisations_by_hand(kind: Normalisation, best: float, n_shards: int) -> None:
    """Of post 12 to post 10: three users shared, each with three engagements."""
    query = world_of(crowd(), n_shards)
    finding = similar_by_engagers(query, np.array([10]), np.array([USERS[7]]), kind)
    (rows,) = listed(run_finding(query, finding))
    assert {post: score for post, _, score in rows}[12] == pytest.approx(best, rel=1e-6)


def test_engagers_are_drawn_by_the_seed_alone() -> None:
    def fans(n_shards: int, seed: int) -> Any:
        query = world_of(crowd(), n_shards, user_tweet_graph=NO_GATES | {"max_engagers": 2})
        query.seed = seed
        post = np.array([10]), np.array([USERS[7]])
        return listed(run_finding(query, related_by_posts(query, *post)))

    drawn = [fans(1, seed) for seed in range(20)]
    assert drawn == [fans(4, seed) for seed in range(20)]
    # Two of six: post 12 is found where one of the three who like it is drawn.
    assert {len(rows) for (rows,) in drawn} == {1, 2}


def test_nothing_asked_is_nothing_found() -> None:
    query, none = world_of(crowd()), np.empty(0, np.int64)
    assert listed(run_finding(query, related_by_posts(query, none, none))) == []
    assert listed(run_finding(query, related_by_producers(query, none))) == []
    assert listed(run_finding(query, related_by_consumers(query, none))) == [[]]
    unknown = np.array([77]), np.array([USERS[3]])
    assert listed(run_finding(query, related_by_posts(query, *unknown))) == [[]]


def taste(query: Query) -> Query:
    assert query.tastes.of(SignalType.TWEET_FAVORITE_90D).target_ids.tolist()
    return query


@pytest.mark.parametrize("n_shards", [1, 4])
def test_the_source_finds_what_those_like_who_like_the_same(n_shards: int) -> None:
    events = crowd()
    clock = Clock(NOW_MS - HOUR_MS // 2)
    viewer = USERS[6]
    events.append(clock.on_post(Kind.FAVOURITE, viewer, 10, USERS[7], event_id=500))
    query = taste(world_of(events, n_shards, viewer))
    found = run(UserTweetGraph(), query)
    assert found.post_ids.tolist() == [11, 12]
    assert found.author_ids.tolist() == [USERS[7]] * 2
    assert found.signal_ids.tolist() == [10, 10]
    assert found.signals.tolist() == [SignalType.TWEET_FAVORITE_90D] * 2
    assert found.engines.tolist() == [1 << ENGINES.index("user_tweet_graph")] * 2
    assert len(unanswered(UserTweetGraph(), query)) == 0
    mute = clock.edge(Kind.MUTE, viewer, USERS[7], event_id=501)
    assert len(run(UserTweetGraph(), taste(world_of([*events, mute], n_shards, viewer)))) == 0


@settings(max_examples=10)
@given(engagement_worlds(), st.integers(1, 4))
def test_the_source_keeps_the_contract(events: list[Event], most: int) -> None:
    chosen = NO_GATES | {"max_candidates": most}
    found = [
        run(UserTweetGraph(), world_of(events, n_shards, user_tweet_graph=chosen))
        for n_shards in (1, 4)
    ]
    one, four = ({name: c.tolist() for name, c in vars(f).items()} for f in found)
    assert one == four
    assert len(set(one["post_ids"])) == len(one["post_ids"]) <= most
    assert USERS[0] not in one["author_ids"]
