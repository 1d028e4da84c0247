"""Conversations in Following and lists: who stands above whom, on which page, and never twice."""

from typing import Any

import pytest

from cluster.events import Kind
from cluster.settings import Settings
from tests.timeline.small_worlds import FRIEND, OTHER, STRANGER, VIEWER
from tests.worlds import Clock, Event, states_of, timelines_of
from timeline.pages import Page
from timeline.timelines import Asked, Timelines

LIST = 71
Line = list[int]
"""The posts of one entry, from above."""


class World:
    """The viewer follows a friend and another, who are in a list; what they and others write."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.authors: dict[int, int] = {}
        self.roots: dict[int, int] = {}
        made = {"actor_id": VIEWER, "target_id": LIST}
        self.events: list[Event] = [
            *(self.clock.edge(Kind.FOLLOW, VIEWER, author) for author in (FRIEND, OTHER)),
            self.clock.event(Kind.LIST_CREATE, **made),
            *(self.clock.event(Kind.LIST_ADD, author_id=a, **made) for a in (FRIEND, OTHER)),
        ]

    def post(self, post_id: int, author: int, to: int = 0, **given: Any) -> None:
        self.authors[post_id] = author
        self.roots[post_id] = self.roots.get(to, to) or post_id
        if to:
            root = self.roots[to]
            given |= {"reply_to_id": to, "reply_to_author_id": self.authors[to]}
            given |= {"root_id": root, "root_author_id": self.authors[root]}
        self.events.append(self.clock.post(post_id, author, **given))

    def tell(self, event: Event) -> None:
        self.events.append(event)

    def timelines(self, n_shards: int = 1, **settings: Any) -> Timelines:
        return timelines_of(states_of(self.events, n_shards, Settings(**settings)))

    def page(self, limit: int = 10, n_shards: int = 1, **asked: Any) -> Page:
        return self.ask(self.timelines(n_shards), limit, **asked)

    def ask(self, timelines: Timelines, limit: int, **asked: Any) -> Page:
        product = asked.pop("product", "following")
        return timelines.page(Asked(product, VIEWER, limit, self.clock.now_ms, **asked))


def lines(page: Page) -> list[Line]:
    return [[post.post_id for post in item.entry.posts] for item in page.items]


@pytest.fixture
def world() -> World:
    return World()


def test_a_reply_stands_below_what_it_answers_and_that_nowhere_else(world: World) -> None:
    world.post(1, FRIEND)
    world.post(2, OTHER)
    world.post(3, OTHER, to=1)
    for n_shards in (1, 4):
        page = world.page(n_shards=n_shards)
        assert lines(page) == [[1, 3], [2]]
        assert [item.entry.kind for item in page.items] == ["conversation", "post"]
        assert page.cursor is None


def test_the_root_and_the_nearest_stand_above_and_who_is_between_stands_alone(
    world: World,
) -> None:
    for post_id in (1, 2, 3, 4):
        world.post(post_id, FRIEND, to=post_id - 1 if post_id > 1 else 0)
    assert lines(world.page()) == [[1, 3, 4], [2]]


def test_of_two_replies_the_newer_has_the_post_above_it(world: World) -> None:
    world.post(1, FRIEND)
    world.post(2, OTHER, to=1)
    world.post(3, FRIEND, to=1)
    assert lines(world.page()) == [[1, 3], [2]]


def test_strangers_stand_above_those_who_answer_them(world: World) -> None:
    world.post(1, STRANGER)
    world.post(2, OTHER, to=1)  # to a stranger: not of the timeline
    world.post(3, FRIEND, to=2)
    page = world.page()
    assert lines(page) == [[1, 2, 3]]
    context = page.items[0].entry.context
    assert context is not None
    assert context.kind == "extended_reply"


def test_a_reply_whose_conversation_cannot_be_shown_stands_alone(world: World) -> None:
    world.post(1, STRANGER)
    world.post(2, OTHER, to=1)
    world.post(3, FRIEND, to=2)
    world.post(4, OTHER)
    world.post(5, FRIEND, to=4)
    for post_id in (1, 4):
        author = world.authors[post_id]
        world.tell(world.clock.event(Kind.POST_DELETE, post_id=post_id, author_id=author))
    assert lines(world.page()) == [[5], [3]]


def test_an_edited_root_stands_at_its_own_place(world: World) -> None:
    world.post(1, FRIEND)
    world.post(2, OTHER, to=1)
    world.post(3, FRIEND, edit_of_id=1)
    assert lines(world.page()) == [[3], [2]]


def walk(world: World, limit: int, **asked: Any) -> list[list[Line]]:
    """Page by page, downwards."""
    timelines = world.timelines(asked.pop("n_shards", 1), **asked.pop("settings", {}))
    pages = [world.ask(timelines, limit, **asked)]
    while pages[-1].cursor:
        pages.append(world.ask(timelines, limit, cursor=pages[-1].cursor, **asked))
    return [lines(page) for page in pages]


def test_what_stood_above_a_reply_is_not_on_the_pages_below(world: World) -> None:
    world.post(1, STRANGER)
    world.post(2, FRIEND)
    world.post(3, OTHER, to=1)
    world.post(4, FRIEND, to=3)  # below strangers whom nobody else here tells of
    world.post(5, OTHER)
    world.post(6, OTHER, to=2)
    world.post(7, FRIEND, to=3)
    for n_shards in (1, 4):
        pages = walk(world, 1, n_shards=n_shards)
        assert pages == [[[1, 3, 7]], [[2, 6]], [[5]], [[4]]]


def test_beyond_what_a_cursor_carries_posts_stand_alone(world: World) -> None:
    for post_id in (1, 2, 3):
        world.post(post_id, FRIEND)
    for post_id in (1, 2, 3):
        world.post(10 + post_id, OTHER, to=post_id)
    assert walk(world, 1) == [[[3, 13]], [[2, 12]], [[1, 11]]]
    # Two of its posts at most stand above one, so for four there is room twice.
    pages = walk(world, 1, settings={"for_you": {"max_chain": 2}})
    assert pages == [[[3, 13]], [[12]], [[11]], [[2]], [[1]]]


def test_a_page_of_newer_posts_leaves_what_was_shown_where_it_was(world: World) -> None:
    world.post(1, FRIEND)
    world.post(2, FRIEND)
    first = world.page(limit=1)
    assert lines(first) == [[2]]
    world.post(3, OTHER, to=2)
    world.post(4, OTHER, to=1)
    world.post(5, FRIEND)
    world.post(6, OTHER, to=5)
    timelines = world.timelines()
    newer = world.ask(timelines, 2, cursor=first.newer_cursor)
    assert lines(newer) == [[5, 6], [4]]
    gap = world.ask(timelines, 2, cursor=newer.gap_cursor)
    assert lines(gap) == [[3]]
    assert gap.gap_cursor is None
    assert lines(world.ask(timelines, 2, cursor=first.cursor)) == [[1]]


def test_what_stood_above_a_reply_is_not_in_the_gap_below(world: World) -> None:
    world.post(1, FRIEND)
    first = world.page(limit=1)
    world.post(2, FRIEND)
    world.post(3, FRIEND)
    world.post(4, OTHER, to=2)
    timelines = world.timelines()
    newer = world.ask(timelines, 1, cursor=first.newer_cursor)
    assert lines(newer) == [[2, 4]]
    gap = world.ask(timelines, 5, cursor=newer.gap_cursor)
    assert lines(gap) == [[3]]


def test_lists_with_replies_have_conversations_too(world: World) -> None:
    world.post(1, STRANGER)
    world.post(2, FRIEND, to=1)
    world.post(3, OTHER)
    world.post(4, VIEWER)
    asked: dict[str, Any] = {"product": "lists", "list_id": LIST}
    assert walk(world, 1, with_replies=True, **asked) == [[[3]], [[1, 2]]]
    assert walk(world, 1, **asked) == [[[3]]]
