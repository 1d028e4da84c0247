import numpy as np
import pytest

from actors.edges import by_others
from actors.rows import Engagements
from cluster.events import Kind
from tests.worlds import USERS, Clock, states_of

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
