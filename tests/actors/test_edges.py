import numpy as np
import pytest

from actors.edges import by_others
from actors.questions import AskSecondDegree
from actors.rows import Engagements
from cluster.events import Kind
from tests.worlds import USERS, Clock, apply, states_of

AUTHOR, OTHER = USERS[0], USERS[4]
DROPPED = {Kind.FAVOURITE, Kind.UNFAVOURITE, Kind.REPOST, Kind.UNREPOST}


@pytest.mark.parametrize("kind", [*DROPPED, Kind.REPLY, Kind.QUOTE, Kind.CLICK])
def test_own_favourites_and_reposts_are_no_edges(kind: Kind) -> None:
    ids = np.array([AUTHOR, OTHER])
    engagements = Engagements(
        *(ids, np.array([10, 10]), np.array([AUTHOR, AUTHOR])),
        *(np.array([kind, kind], np.uint8), np.array([1, 2]), ids > 0, ids > 0),
    )
    assert by_others(engagements).tolist() == [kind not in DROPPED, True]


def test_they_are_not_in_the_graph_of_a_shard() -> None:
    clock = Clock()
    events = [
        clock.post(10, AUTHOR),
        *(clock.on_post(Kind.FAVOURITE, user, 10, AUTHOR) for user in (AUTHOR, OTHER)),
        clock.post(11, AUTHOR, repost_of_id=10, repost_of_author_id=AUTHOR),
        clock.post(12, AUTHOR, reply_to_id=10, reply_to_author_id=AUTHOR),
    ]
    [state] = states_of(events)
    edges = {user: state.graph.engagements.user_edges(user, 9) for user in (AUTHOR, OTHER)}
    assert edges[AUTHOR].kinds.tolist() == [3]
    assert edges[OTHER].kinds.tolist() == [1]
    # The post has its counts all the same.
    assert state.posts.table["counts"][0].sum() == 4


def test_what_happens_again_in_another_event() -> None:
    clock = Clock()
    ends = {"actor_id": OTHER, "target_id": AUTHOR}
    events = [
        clock.post(10, AUTHOR),
        *(clock.on_post(Kind.FAVOURITE, OTHER, 10, AUTHOR) for _ in range(2)),
        *(clock.event(Kind.FOLLOW, **ends) for _ in range(2)),
    ]
    # The very events again are no others.
    [state] = states = states_of(events)
    apply(states, events, offset=2)
    assert state.graph.follows.others(OTHER)[0].tolist() == [AUTHOR]
    assert state.graph.follows.degrees(np.array([OTHER])).tolist() == [1]
    assert state.posts.table["counts"][0].sum() == 2
    seed = np.array([OTHER]), np.zeros(1, np.int32)
    [found] = state.ask([AskSecondDegree(*seed, 0, (Kind.FAVOURITE,), 500)])
    assert (found.seed_indices.tolist(), found.kinds.tolist()) == ([0], [1])
    apply(states, [clock.event(Kind.UNFOLLOW, **ends)], offset=3)
    assert state.graph.follows.others(OTHER)[0].tolist() == []
