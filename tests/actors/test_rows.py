import numpy as np

from actors.rows import Engagements, Rows
from cluster.events import Kind
from cluster.ids import partitions_of
from cluster.routing import PARTITION
from tests.worlds import USERS, Clock, routed

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def test_rows_are_chosen_by_columns() -> None:
    clock = Clock()
    rows = Rows(
        routed([clock.edge(Kind.FOLLOW, VIEWER, FRIEND), clock.post(10, OTHER, text="hello")])
    )
    assert len(rows) == 3
    posts = rows.of(Kind.POST_CREATE)
    assert posts["post_id"].tolist() == [10]
    text = posts.column("text")
    assert text is not None
    assert text.to_pylist() == ["hello"]
    assert posts.column("uri") is None
    assert posts.batch.num_rows == 1
    assert len(rows.of(Kind.BLOCK)) == 0
    follows = rows.of(Kind.FOLLOW, Kind.UNFOLLOW)
    assert len(follows) == 2
    mine = follows.where(follows.concern("actor_id"))
    assert mine[PARTITION].tolist() == partitions_of([VIEWER]).tolist()
    theirs = follows.where(follows.concern("target_id"))
    assert theirs[PARTITION].tolist() == partitions_of([FRIEND]).tolist()
    assert follows.take(np.array([1, 0]))["event_id"].tolist() == [1, 1]


def test_one_post_may_be_three_engagements() -> None:
    given = {"reply_to_id": 1, "reply_to_author_id": FRIEND, "quote_of_id": 2}
    given |= {"quote_of_author_id": OTHER, "repost_of_id": 3, "repost_of_author_id": STRANGER}
    found = Engagements.of(Rows(routed([Clock().post(10, VIEWER, **given)])))
    for kind, post, author in (
        *((Kind.REPLY, 1, FRIEND), (Kind.QUOTE, 2, OTHER), (Kind.REPOST, 3, STRANGER)),
    ):
        of_kind = found.where(found.kinds == kind)
        assert set(of_kind.actor_ids.tolist()) == {VIEWER}
        assert set(of_kind.post_ids.tolist()) == {post}
        assert set(of_kind.author_ids.tolist()) == {author}
        # Once for the partition of the actor, and once for that of the author.
        assert of_kind.of_actor.sum() == 1
        assert of_kind.of_author.sum() == 1


def test_what_is_no_engagement() -> None:
    clock = Clock()
    events = [
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        clock.post(10, FRIEND),
        clock.event(Kind.PROFILE_CLICK, actor_id=VIEWER, author_id=FRIEND),
        clock.event(Kind.SAFETY_LABEL, author_id=FRIEND, post_id=10, label="spam"),
        clock.edge(Kind.LIST_ADD, VIEWER, 5, author_id=FRIEND),
    ]
    assert len(Engagements.of(Rows(routed(events))).kinds) == 0


def test_engaging_with_oneself_is_both_sides_of_one_row() -> None:
    found = Engagements.of(Rows(routed([Clock().on_post(Kind.FAVOURITE, VIEWER, 10, VIEWER)])))
    assert (found.of_actor.tolist(), found.of_author.tolist()) == ([True], [True])
