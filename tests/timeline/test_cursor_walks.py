"""Walks up, down and through the gaps of timelines that change meanwhile (promise 4)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import page_questions
from actors.state import ShardState
from cluster.events import Kind
from tests.worlds import USERS, Clock, Event, apply, empty_states, timelines_of
from timeline.pages import Item, Page
from timeline.sources import newest_posts
from timeline.timelines import Asked, Timelines

VIEWER, FOLLOWED = USERS[0], [USERS[2], USERS[5], USERS[3], USERS[6]]
"""The authors live in both shards."""
AUTHORS, STRANGER = [*FOLLOWED, VIEWER], USERS[4]
LIST = 71
MEMBERS = FOLLOWED[:3]
Step = tuple[Any, ...]
"""What happens (what, who, which), or which way the client goes (where,)."""
PRODUCTS = ("for_you", "following", "lists")
PRODUCT = pytest.mark.parametrize("product", PRODUCTS)


@pytest.fixture(scope="module", autouse=True)
def _little_is_read_at_once() -> Iterator[None]:
    """So that reading ends before the timeline does, in one shard or in both, and pages before
    what was read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(newest_posts, "SPARE", 1)
        patch.setattr(newest_posts, "EXTRA", 1)
        patch.setattr(page_questions, "MAX_SCAN", 3)
        yield


class World:
    """Two shards, and what has happened in them so far."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.states: list[ShardState] = empty_states(2)
        self.timelines: Timelines = timelines_of(self.states)
        self.author_of: dict[int, int] = {}
        self.root_of: dict[int, int] = {}
        """Of replies."""
        self.deleted: set[int] = set()
        self.hidden: set[int] = set()
        """Whom the viewer blocked or muted, or is blocked by, right now."""
        self.ever_hidden: set[int] = set()
        self._offset = 0
        made = {"actor_id": VIEWER, "target_id": LIST}
        self.tell(
            *(self.clock.edge(Kind.FOLLOW, VIEWER, author) for author in FOLLOWED),
            self.clock.event(Kind.LIST_CREATE, **made),
            *(self.clock.event(Kind.LIST_ADD, author_id=member, **made) for member in MEMBERS),
        )

    def tell(self, *events: Event) -> None:
        self._offset += 1
        apply(self.states, events, offset=self._offset)

    def post(self, author: int, late_ms: int = 0, **given: int) -> None:
        post_id = 100 + len(self.author_of)
        self.author_of[post_id] = author
        event = self.clock.post(post_id, author, **given)
        self.tell(event | {"time_ms": event["time_ms"] - late_ms})

    def delete(self, post_id: int) -> None:
        self.deleted.add(post_id)
        author = self.author_of[post_id]
        self.tell(self.clock.event(Kind.POST_DELETE, post_id=post_id, author_id=author))

    def happen(self, what: str, who: int, which: int) -> None:
        author = AUTHORS[who % len(AUTHORS)]
        if what in ("block", "mute", "hear"):
            author = FOLLOWED[who % len(FOLLOWED)]
        post_id = 100 + which % max(len(self.author_of), 1)
        its_author = self.author_of.get(post_id, 0)
        if what == "post":
            self.post(author)
        elif what == "strange":
            self.post(STRANGER)
        elif what == "late":
            self.post(author, late_ms=which)
        elif what == "delete" and its_author:
            self.delete(post_id)
        elif what == "repost" and its_author:
            self.post(author, repost_of_id=post_id, repost_of_author_id=its_author)
        elif what == "reply" and its_author:
            root = self.root_of.get(post_id, post_id)
            self.root_of[100 + len(self.author_of)] = root
            given = {"root_id": root, "root_author_id": self.author_of[root]}
            self.post(author, reply_to_id=post_id, reply_to_author_id=its_author, **given)
        elif what == "edit" and its_author:
            self.post(its_author, edit_of_id=post_id)
        elif what == "favourite" and its_author:
            self.tell(self.clock.on_post(Kind.FAVOURITE, author, post_id, its_author))
        elif what in ("block", "mute"):
            kind = Kind.BLOCK if what == "block" else Kind.MUTE
            self.hidden.add(author)
            self.ever_hidden.add(author)
            self.tell(self.clock.edge(kind, VIEWER, author))
        elif what == "hear":
            self.hidden.discard(author)
            self.tell(
                self.clock.edge(Kind.UNBLOCK, VIEWER, author),
                self.clock.edge(Kind.UNMUTE, VIEWER, author),
            )


@dataclass
class Client:
    """Asks for pages, and keeps the latest cursor of each kind that it was given."""

    world: World
    product: str
    limit: int
    older: str | None = None
    newer: str | None = None
    gaps: list[str] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    n_above: int = 0
    """Posts that stood above others."""

    def begin(self) -> None:
        self.show(self.ask(None))

    def go(self, where: str) -> bool:
        """One page further; False where nothing is there to be asked for."""
        cursor = {"older": self.older, "newer": self.newer, "gap": next(reversed(self.gaps), None)}[
            where
        ]
        if cursor is None:
            return False
        page = self.ask(cursor)
        if where == "older":
            self.older = None
        if where == "gap":
            self.gaps.pop()
        self.show(page)
        # The others are used up; this one is renewed for ever.
        return where != "newer" or len(page.items) > 0 or page.gap_cursor is not None

    def ask(self, cursor: str | None) -> Page:
        now_ms = self.world.clock.now_ms
        asked = Asked(self.product, VIEWER, self.limit, now_ms, cursor, list_id=self.list_id)
        return self.world.timelines.page(asked)

    @property
    def list_id(self) -> int:
        return LIST if self.product == "lists" else 0

    def show(self, page: Page) -> None:
        assert page.degraded == []
        self.check(page.items)
        self.older = page.cursor or self.older
        self.newer = page.newer_cursor or self.newer
        self.gaps += [page.gap_cursor] if page.gap_cursor else []
        self.shown += standing(page.items)
        self.n_above += len(standing(page.items)) - len(page.items)

    def check(self, items: list[Item]) -> None:
        post_ids = standing(items)
        assert len(items) <= self.limit
        assert not set(post_ids) & set(self.shown)
        assert len(set(post_ids)) == len(post_ids)
        assert not set(post_ids) & self.world.deleted
        assert not {self.world.author_of[post] for post in post_ids} & self.world.hidden
        if self.product != "for_you":
            places = [(item.created_ms, item.post_id) for item in items]
            assert places == sorted(places, reverse=True)

    def drain(self) -> None:
        """Everything that is left, in every direction."""
        for where in ("newer", "gap", "older"):
            for _ in range(200):
                if not self.go(where):
                    break
            else:
                raise AssertionError(f"a walk did not end: {where}")


def standing(items: list[Item]) -> list[int]:
    """Every post that has a place on a page of its own, alone or above another."""
    return [post.post_id for item in items for post in item.entry.posts]


_HAPPENINGS = (
    *("post", "post", "post", "delete", "repost", "reply", "reply", "edit", "favourite"),
    *("block", "mute", "hear", "late", "strange"),
)
_happening: st.SearchStrategy[Step] = st.tuples(
    st.sampled_from(_HAPPENINGS), st.integers(0, 9), st.integers(0, 40)
)
_step: st.SearchStrategy[Step] = st.one_of(
    _happening, st.tuples(st.sampled_from(["older", "newer", "gap"]))
)


@PRODUCT
@settings(max_examples=20)
@given(st.lists(_happening, max_size=15), st.lists(_step, max_size=30), st.integers(1, 4))
def test_no_walk_shows_a_post_twice_nor_one_that_may_not_be_shown(
    product: str,
    before: list[Step],
    steps: list[Step],
    limit: int,
) -> None:
    world = World()
    for happening in before:
        world.happen(*happening)
    client = Client(world, product, limit)
    client.begin()
    for step in steps:
        if len(step) == 1:
            client.go(step[0])
        else:
            world.happen(*step)
    client.drain()


@pytest.mark.parametrize("product", ["following", "lists"])
@settings(max_examples=20)
@given(
    n_posts=st.integers(0, 12),
    steps=st.lists(_step, max_size=25),
    limit=st.integers(1, 4),
)
def test_a_whole_walk_shows_all_there_is(
    product: str, n_posts: int, steps: list[Step], limit: int
) -> None:
    posts: list[Step] = [("post", k % len(FOLLOWED), 0) for k in range(n_posts)]
    check_whole_walk(product, posts, steps, limit)


_TALK = {"reply": 0.7, "post": 0.12, "strange": 0.08, "delete": 0.04, "edit": 0.04, "repost": 0.02}


@pytest.mark.parametrize("seed", range(6))
def test_a_whole_walk_through_conversations_shows_all_there_is(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def talk(n: int) -> list[Step]:
        kinds = rng.choice(list(_TALK), n, p=list(_TALK.values())).tolist()
        return [(kind, int(rng.integers(10)), int(rng.integers(60))) for kind in kinds]

    before = [("post", 0, 0), ("post", 1, 0), ("strange", 0, 0), *talk(20)]
    steps = list[Step]()
    for _ in range(4):
        ways = rng.choice(["older", "newer", "gap"], 3, p=[0.5, 0.3, 0.2]).tolist()
        steps += [*talk(7), *((way,) for way in ways)]
    client = check_whole_walk("following", before, steps, int(rng.integers(1, 5)))
    assert client.n_above > 3


def check_whole_walk(product: str, before: list[Step], steps: list[Step], limit: int) -> Client:
    """Whatever happens meanwhile: of authors who are heard, and of posts that came in order."""
    world = World()
    client = Client(world, product, limit)
    replaced: set[int] = set()
    left_out: set[int] = set()
    told = set(AUTHORS) if product == "following" else set()
    answers: dict[int, int] = {}
    versions: dict[int, set[int]] = {}
    for step in [*before, ("begin",), *steps]:
        if step == ("begin",):
            client.begin()
            continue
        if len(step) == 1:
            client.go(step[0])
            continue
        n_before = len(world.author_of)
        world.happen(*step)
        new = set(list(world.author_of)[n_before:])
        if step[0] == "edit" and new:
            # What was edited, and every other version of it.
            edited = 100 + step[2] % n_before
            family = versions.setdefault(edited, {edited})
            replaced |= family
            family |= new
            versions |= dict.fromkeys(new, family)
        if step[0] in ("late", "repost"):
            left_out |= new
        if step[0] == "reply" and new:
            answers[new.pop()] = 100 + step[2] % n_before
    client.drain()
    heard = set(MEMBERS if product == "lists" else AUTHORS) - world.ever_hidden
    for reply, parent in answers.items():
        linked = {world.author_of[parent], world.author_of[world.root_of[reply]]}
        if world.author_of[parent] not in told or linked & world.ever_hidden:
            left_out.add(reply)
    expected = {post for post, author in world.author_of.items() if author in heard}
    expected -= world.deleted | replaced | left_out
    assert expected <= set(client.shown)
    return client


@pytest.mark.parametrize("product", ["following", "lists"])
def test_a_gap_is_closed_from_above(product: str) -> None:
    world = World()
    for _ in range(4):
        world.post(FOLLOWED[0])
    client = Client(world, product, 2)
    client.begin()
    assert client.shown == [103, 102]
    for _ in range(5):
        world.post(FOLLOWED[1])
    client.go("newer")
    assert client.shown[2:] == [108, 107]
    assert len(client.gaps) == 1
    world.post(FOLLOWED[2])
    client.go("gap")
    assert client.shown[4:] == [106, 105]
    client.go("newer")
    assert client.shown[6:] == [109]
    client.go("older")
    assert client.shown[7:] == [101, 100]
    client.go("gap")
    assert client.shown[9:] == [104]
    assert client.gaps == []
    assert not client.go("newer")


def test_for_you_is_asked_for_what_is_new() -> None:
    world = World()
    for _ in range(4):
        world.post(FOLLOWED[0])
    client = Client(world, "for_you", 3)
    client.begin()
    assert len(client.shown) == 3
    world.post(FOLLOWED[1])
    client.go("newer")
    assert sorted(client.shown) == [100, 101, 102, 103, 104]
    assert not client.go("newer")
    world.post(FOLLOWED[1])
    client.go("newer")
    assert client.shown[-1] == 105


@pytest.mark.parametrize("product", ["following", "lists"])
@pytest.mark.parametrize("deleted_of", MEMBERS)
def test_what_was_deleted_hides_nothing_below_it(product: str, deleted_of: int) -> None:
    """The deleted ones use up what one shard looks at, where the other goes further down."""
    world = World()
    for _ in range(3):
        for author in MEMBERS:
            world.post(author)
    for _ in range(4):
        world.post(deleted_of)
    for post_id in list(world.author_of)[-3:]:
        world.delete(post_id)
    client = Client(world, product, 2)
    client.begin()
    client.drain()
    assert client.shown == sorted(set(world.author_of) - world.deleted, reverse=True)


@pytest.mark.parametrize("product", ["following", "lists"])
def test_what_was_below_a_page_without_posts_is_shown_once(product: str) -> None:
    world = World()
    author = MEMBERS[0]
    for _ in range(5):
        world.post(author)
    client = Client(world, product, 4)
    for post_id in (102, 103, 104):
        world.delete(post_id)
    client.begin()
    assert client.shown == []
    client.go("older")
    assert client.shown == [101, 100]
    for _ in range(5):
        world.post(author)
    for post_id in (107, 108, 109):
        world.delete(post_id)
    client.go("newer")
    assert client.shown == [101, 100]
    client.go("gap")
    assert client.shown == [101, 100, 106, 105]
    client.drain()
    assert client.shown == [101, 100, 106, 105]
