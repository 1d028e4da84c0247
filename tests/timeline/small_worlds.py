"""One viewer, a friend, somebody else they follow and a stranger; and what they are shown."""

from cluster.events import Kind
from tests.worlds import NOW_MS, USERS, Clock, Event, states_of, timelines_of
from timeline.pages import Page

VIEWER, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]


def ids(page: Page) -> list[int]:
    return [item.post_id for item in page.items]


def small_world(clock: Clock, n_posts: int = 5) -> list[Event]:
    """The viewer follows a friend and another; a friend liked what a stranger wrote."""
    return [
        clock.edge(Kind.FOLLOW, VIEWER, FRIEND),
        clock.edge(Kind.FOLLOW, VIEWER, OTHER),
        *(clock.post(100 + k, FRIEND) for k in range(n_posts)),
        *(clock.post(200 + k, OTHER) for k in range(n_posts)),
        clock.post(300, STRANGER),
        clock.on_post(Kind.FAVOURITE, FRIEND, 300, STRANGER),
    ]


def for_you(*events: Event, viewer: int = VIEWER, n_shards: int = 1) -> Page:
    timelines = timelines_of(states_of(events, n_shards))
    return timelines.for_you(viewer, 100, now_ms=NOW_MS)


def following(*events: Event, viewer: int = VIEWER) -> Page:
    return timelines_of(states_of(events)).following(viewer, 100, now_ms=NOW_MS)
