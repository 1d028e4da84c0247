"""Equal proofs go by favourites, and walks find what needs no followed account."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.graph import PUBLIC_CODES
from actors.router import LocalRouter
from actors.social_proof import proof_gate
from actors.viewer_questions import AskEngaged
from cluster.events import UNDONE_BY, Kind
from cluster.settings import Settings, load
from tests.timeline.sources.finding import run
from tests.worlds import NOW_MS, PUBLIC, USERS, Clock, Event, states_of, worlds
from timeline.candidates import Candidates
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.sources.user_tweet_entity_graph import UserTweetEntityGraph

VIEWER, FRIEND, ALIKE, FAN, STRANGER, HIDDEN = USERS[:6]
SHARDS = pytest.mark.parametrize("n_shards", [1, 4])


def found(events: list[Event], n_shards: int, results: int = 10, **settings: Any) -> Candidates:
    chosen = Settings(
        for_you={"out_of_network_results": results},
        sources={"user_tweet_entity_graph": settings},
    )
    asked = Query(
        VIEWER, NOW_MS, 10, "request", chosen, LocalRouter(states_of(events, n_shards, chosen))
    )
    fetch_viewer(asked)
    return run(UserTweetEntityGraph(), asked)


def proven_world() -> list[Event]:
    """A friend likes posts 31 … 36, in that order; 33 has two fans more, and 31 one."""
    clock = Clock()
    posts = range(31, 37)
    return [
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        *(clock.post(post, STRANGER) for post in posts),
        *(clock.on_post(Kind.FAVOURITE, FRIEND, post, STRANGER) for post in posts),
        *(clock.on_post(Kind.FAVOURITE, fan, 33, STRANGER) for fan in (ALIKE, FAN)),
        clock.on_post(Kind.FAVOURITE, FAN, 31, STRANGER),
    ]


@SHARDS
def test_equal_proofs_go_by_favourites_and_then_by_time(n_shards: int) -> None:
    ranked = found(proven_world(), n_shards)
    assert ranked.post_ids.tolist() == [33, 31, 36, 35, 34, 32]
    newest_first = found(proven_world(), n_shards, popular_first=False)
    assert newest_first.post_ids.tolist() == [36, 35, 34, 33, 32, 31]


@SHARDS
def test_the_most_favoured_enter_the_list_too(n_shards: int) -> None:
    assert found(proven_world(), n_shards, results=2).post_ids.tolist() == [33, 31]


@SHARDS
def test_more_weight_is_better_than_more_favourites(n_shards: int) -> None:
    clock = Clock(NOW_MS - 1)
    second = [
        clock.edge(Kind.FOLLOW, VIEWER, ALIKE),
        clock.on_post(Kind.FAVOURITE, ALIKE, 35, STRANGER, event_id=900),
    ]
    # Two of them like 33 and 35; 33 has more favourites in all.
    assert found([*proven_world(), *second], n_shards).post_ids.tolist()[:3] == [33, 35, 31]


@SHARDS
@pytest.mark.parametrize("kind", [Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE])
def test_what_the_viewer_engaged_with_is_not_found_again(kind: Kind, n_shards: int) -> None:
    clock = Clock(NOW_MS - 1)
    engaged = [
        clock.on_post(kind, VIEWER, 33, STRANGER, event_id=900),
        # What was taken back stands in the graph too.
        clock.on_post(Kind.FAVOURITE, VIEWER, 36, STRANGER, event_id=901),
        clock.on_post(Kind.UNFAVOURITE, VIEWER, 36, STRANGER, event_id=902),
        # No public engagement.
        clock.on_post(Kind.BOOKMARK, VIEWER, 31, STRANGER, event_id=903),
    ]
    assert found([*proven_world(), *engaged], n_shards).post_ids.tolist() == [31, 35, 34, 32]
    # The places of those left out go to others.
    two = found([*proven_world(), *engaged], n_shards, results=2, popular_first=False)
    assert two.post_ids.tolist() == [35, 34]


@given(worlds(), st.sampled_from([1, 4]))
def test_of_any_world_exactly_what_the_viewer_engaged_with_is_left_out(
    events: list[Event], n_shards: int
) -> None:
    public = {kind.label for kind in (*PUBLIC, *UNDONE_BY) if UNDONE_BY.get(kind, kind) in PUBLIC}
    of_viewer = [
        event
        for event in events
        if event["kind"] in public and event["actor_id"] == VIEWER != event["author_id"]
    ]
    others = [event for event in events if event not in of_viewer]
    every = set(found(others, n_shards, results=100).post_ids.tolist())
    left = set(found(events, n_shards, results=100).post_ids.tolist())
    assert left == every - {event["post_id"] for event in of_viewer}


def test_what_was_engaged_with_costs_no_wave_of_its_own() -> None:
    [state] = states_of(proven_world())
    asked = Query(VIEWER, NOW_MS, 10, "request", Settings(), LocalRouter([state]))
    fetch_viewer(asked)
    assert AskEngaged in asked.told
    waves = len(asked.applied)
    run(UserTweetEntityGraph(), asked)
    # Proofs, then favourites.
    assert len(asked.applied) == waves + 2


def kinds_world() -> list[Event]:
    """Two friends like 41; one likes, the other reposts 42; both answer 43; one quotes 44."""
    clock = Clock()
    engaged = [
        *((FRIEND, Kind.FAVOURITE, 41), (ALIKE, Kind.FAVOURITE, 41), (FRIEND, Kind.QUOTE, 44)),
        *((FRIEND, Kind.FAVOURITE, 42), (ALIKE, Kind.REPOST, 42)),
        *((FRIEND, Kind.REPLY, 43), (ALIKE, Kind.REPLY, 43)),
    ]
    return [
        *(clock.edge(Kind.FOLLOW, VIEWER, friend) for friend in (FRIEND, ALIKE)),
        *(clock.post(post, STRANGER) for post in range(41, 45)),
        *(clock.on_post(kind, user, post, STRANGER) for user, kind, post in engaged),
    ]


@SHARDS
@pytest.mark.parametrize(
    ("min_proofs", "posts"),
    [
        ({}, [41, 42, 43, 44]),
        ({"repost": 0, "reply": 0, "quote": 0}, [41, 42]),
        ({"favourite": 2, "repost": 0, "reply": 2, "quote": 2}, [41, 43]),
        ({"favourite": 3, "repost": 1, "reply": 3, "quote": 1}, [42, 44]),
        (dict.fromkeys(("favourite", "repost", "reply", "quote"), 0), []),
    ],
)
def test_each_engagement_proves_by_as_many_as_settings_say(
    min_proofs: dict[str, int], posts: list[int], n_shards: int
) -> None:
    ranked = found(kinds_world(), n_shards, min_proofs=min_proofs)
    assert sorted(ranked.post_ids.tolist()) == posts


def test_only_what_proves_is_told_but_all_of_it_scores() -> None:
    by_all = found(kinds_world(), 1)
    assert PUBLIC_CODES[Kind.REPOST] in by_all.take(by_all.post_ids == 42).proof_kinds
    ranked = found(kinds_world(), 1, min_proofs={"repost": 0, "reply": 0, "quote": 0})
    of_42, before = (of.take(of.post_ids == 42) for of in (ranked, by_all))
    assert of_42.proof_ids[0, :2].tolist() == [FRIEND, 0]
    assert of_42.scores.tolist() == before.scores.tolist()
    assert of_42.scores[0] == pytest.approx(2.0)


def test_the_preset_of_the_original_asks_for_favourites_alone() -> None:
    gate = proof_gate(load(preset="twitter"))
    assert gate.kinds_mask == 1 << PUBLIC_CODES[Kind.FAVOURITE]
    assert gate.least_of_kinds()[PUBLIC_CODES[Kind.FAVOURITE]] == 1


def walked_world() -> list[Event]:
    """The viewer likes 20, as two others do, who like 21 (both), 22 (one), and a hidden one's."""
    clock = Clock()
    likes = [
        *((VIEWER, 20), (ALIKE, 20), (FAN, 20), (ALIKE, 21), (FAN, 21), (FAN, 22)),
        *((FAN, 24), (ALIKE, 24)),
    ]
    authors = {24: HIDDEN}
    return [
        clock.edge(Kind.BLOCK, VIEWER, HIDDEN),
        *(clock.post(post, authors.get(post, STRANGER)) for post in (20, 21, 22, 24)),
        *(
            clock.on_post(Kind.FAVOURITE, user, post, authors.get(post, STRANGER))
            for user, post in likes
        ),
    ]


def test_walks_find_what_others_like_who_like_the_same() -> None:
    assert len(found(walked_world(), 1)) == 0
    walked = found(walked_world(), 1, walk_results=5, walks=2_000)
    # Neither what the viewer liked already, nor posts by somebody blocked.
    assert walked.post_ids.tolist() == [21, 22]
    assert walked.scores[0] > walked.scores[1] > 0
    assert not walked.proof_ids.any()
    assert found(walked_world(), 1, walk_results=1).post_ids.tolist() == [21]


def test_walked_posts_come_after_those_with_proofs() -> None:
    events = [*walked_world(), Clock().edge(Kind.FOLLOW, VIEWER, FAN, event_id=901)]
    both = found(events, 1, results=1, walk_results=5)
    # 20 is the viewer's own favourite.
    assert both.post_ids.tolist() == [21, 22]
    assert both.proof_ids[:, 0].tolist() == [FAN, 0]


def test_walks_over_several_shards_repeat_nothing_and_respect_the_limit() -> None:
    ranked = found([*proven_world(), *walked_world()], 4, results=3, walk_results=2)
    assert len(ranked) <= 5
    assert len(np.unique(ranked.post_ids)) == len(ranked)
    again = found([*proven_world(), *walked_world()], 4, results=3, walk_results=2)
    assert again.post_ids.tolist() == ranked.post_ids.tolist()
