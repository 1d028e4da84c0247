"""All rules at once: whatever happens, and in whatever order that arrives, what pages never show.

A plain model reads what has arrived in the order of its times (promises 2 and 4, fault F13).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.state import ShardState
from cluster.events import Kind
from tests.worlds import USERS, Clock, Event, apply, cut_lists, empty_states, timelines_of
from timeline.pages import Item, Page
from timeline.presented import ShownPost
from timeline.timelines import Asked, Timelines

VIEWER, AUTHORS = USERS[0], USERS[1:]
FOLLOWED = AUTHORS[:4]
TEXTS = ("plain", "plain again", "alpha", "Beta, they said", "alphabet", "(gamma)")
WORDS = ("alpha", "beta", "gamma")
REMOVING = ("pdna", "spam", "bounce", "safety_crisis_4")
"""Labels of posts that nobody is shown, wherever they stand."""
HARMLESS = ("misleading", "limited_reply")
Happening = tuple[str, int, int]
"""What, and two numbers that say who or which."""


class Story:
    """Makes events one after the other, each about what was told before."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events: list[Event] = []
        self.author_of: dict[int, int] = {}
        self._root_of: dict[int, int] = {}

    def tell(self, what: str, who: int, which: int) -> None:
        """One happening more; nothing where it is about a post and there is none."""
        author = AUTHORS[who % len(AUTHORS)]
        if what in _EDGES:
            self._add(self.clock.edge(_EDGES[what], VIEWER, author))
        elif what in ("blocked_by", "unblocked_by"):
            kind = Kind.BLOCK if what == "blocked_by" else Kind.UNBLOCK
            self._add(self.clock.edge(kind, author, VIEWER))
        elif what in _USERS:
            self._add(self.clock.event(_USERS[what], actor_id=author))
        elif what in ("protect", "open"):
            given = {"actor_id": author, "protected": what == "protect"}
            self._add(self.clock.event(Kind.USER_UPDATE, **given))
        elif what in _WORDS:
            word = WORDS[which % len(WORDS)]
            self._add(self.clock.event(_WORDS[what], actor_id=VIEWER, keyword=word))
        elif what == "post":
            self._post(USERS[who % len(USERS)], which)
        elif self.author_of:
            self._about(what, who, 100 + which % len(self.author_of))

    def _about(self, what: str, who: int, post_id: int) -> None:
        """What is about a post."""
        its_author = self.author_of[post_id]
        about = {"post_id": post_id, "author_id": its_author}
        if what in ("reply_to", "quote_of", "repost_of"):
            links = {f"{what}_id": post_id, f"{what}_author_id": its_author}
            if what == "reply_to":
                root = self._root_of.get(post_id, post_id)
                links |= {"root_id": root, "root_author_id": self.author_of[root]}
            # Nobody reposts or answers where it is one's own: the others have to get there.
            self._post(FOLLOWED[who % len(FOLLOWED)], who, **links)
        elif what == "version":
            self._post(its_author, who, edit_of_id=post_id)
        elif what == "edit":
            given = {"text": TEXTS[who % len(TEXTS)]}
            self._add(self.clock.event(Kind.POST_EDIT, **about, **given))
        elif what == "delete":
            self._add(self.clock.event(Kind.POST_DELETE, **about))
        elif what in ("label", "unlabel"):
            names = REMOVING + HARMLESS
            kind = Kind.SAFETY_LABEL if what == "label" else Kind.SAFETY_UNLABEL
            self._add(self.clock.event(kind, **about, label=names[who % len(names)]))
        else:
            actor = VIEWER if what in _FEEDBACK else FOLLOWED[who % len(FOLLOWED)]
            kind = _FEEDBACK.get(what, Kind.FAVOURITE)
            self._add(self.clock.on_post(kind, actor, post_id, its_author))

    def _post(self, author: int, which: int, **links: int) -> None:
        post_id = 100 + len(self.author_of)
        self.author_of[post_id] = author
        if "root_id" in links:
            self._root_of[post_id] = links["root_id"]
        self._add(self.clock.post(post_id, author, text=TEXTS[which % len(TEXTS)], **links))

    def _add(self, event: Event) -> None:
        self.events.append(event)


_EDGES = {
    **{"follow": Kind.FOLLOW, "unfollow": Kind.UNFOLLOW, "block": Kind.BLOCK},
    **{"unblock": Kind.UNBLOCK, "mute": Kind.MUTE, "unmute": Kind.UNMUTE},
}
_USERS = {"suspend": Kind.USER_SUSPEND, "unsuspend": Kind.USER_UNSUSPEND}
_WORDS = {"mute_word": Kind.KEYWORD_MUTE, "unmute_word": Kind.KEYWORD_UNMUTE}
_FEEDBACK = {
    **{"not_interested": Kind.NOT_INTERESTED, "show_less": Kind.SHOW_LESS},
    "report": Kind.REPORT,
}


@dataclass
class Truth:
    """What is so after some events, read in the order of their times."""

    created: dict[int, Event] = field(default_factory=dict)
    texts: dict[int, str] = field(default_factory=dict)
    deleted: set[int] = field(default_factory=set)
    replaced: dict[int, int] = field(default_factory=dict)
    """Posts that another version replaces → that version."""
    pairs: set[tuple[str, int, int]] = field(default_factory=set)
    """What is so between two users: `follow`, `block`, `mute`."""
    suspended: set[int] = field(default_factory=set)
    protected: set[int] = field(default_factory=set)
    labels: set[tuple[int, str]] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    disliked: set[int] = field(default_factory=set)
    unwanted: set[int] = field(default_factory=set)
    """Authors of whom the viewer wants less, or reported one."""

    @staticmethod
    def of(events: Sequence[Event]) -> "Truth":
        truth = Truth()
        for event in sorted(events, key=lambda event: event["time_ms"]):
            truth._read(event)
        return truth

    def _read(self, event: Event) -> None:
        kind = event["kind"]
        undone = re.sub("^un", "", kind)
        if kind in ("post_create", "post_edit"):
            self.texts[event["post_id"]] = event["text"]
        if kind == "post_create":
            self.created[event["post_id"]] = event
            if "edit_of_id" in event:
                self.replaced[event["edit_of_id"]] = event["post_id"]
        elif kind == "post_delete":
            self.deleted.add(event["post_id"])
        elif undone in ("follow", "block", "mute"):
            pair = undone, event["actor_id"], event["target_id"]
            (self.pairs.add if kind == undone else self.pairs.discard)(pair)
        elif kind == "user_update":
            change = self.protected.add if event["protected"] else self.protected.discard
            change(event["actor_id"])
        elif kind in ("user_suspend", "user_unsuspend"):
            change = self.suspended.add if kind == "user_suspend" else self.suspended.discard
            change(event["actor_id"])
        elif kind in ("keyword_mute", "keyword_unmute"):
            told = self.words.add if kind == "keyword_mute" else self.words.discard
            told(event["keyword"])
        elif kind in ("safety_label", "safety_unlabel"):
            label = event["post_id"], event["label"]
            (self.labels.add if kind == "safety_label" else self.labels.discard)(label)
        elif kind in ("not_interested", "show_less", "report"):
            self.disliked.add(event["post_id"])
            if kind != "not_interested" and event["author_id"] != VIEWER:
                self.unwanted.add(event["author_id"])

    def hides(self, author: int) -> str:
        """Why nothing that has to do with a user may be shown; "" where it may."""
        if ("mute", VIEWER, author) in self.pairs:
            return "muted"
        if {("block", VIEWER, author), ("block", author, VIEWER)} & self.pairs:
            return "blocked"
        return ""

    def forbids(self, post: int, author: int) -> str:
        """Why a post may stand nowhere on a page; "" where it may.

        One that has not arrived may be reposted where nothing speaks against it, and its text is
        known or does not matter.
        """
        if post in self.deleted:
            return "deleted"
        if author == VIEWER:
            return ""
        followed = ("follow", VIEWER, author) in self.pairs
        return self.hides(author) or next(
            (
                why
                for why, so in (
                    ("suspended", author in self.suspended),
                    ("protected", author in self.protected and not followed),
                    ("labelled", self.is_labelled(post)),
                    ("disliked", post in self.disliked),
                    ("muted word", self.says_muted(post)),
                    ("unknown text", bool(self.words) and post not in self.texts),
                )
                if so
            ),
            "",
        )

    def is_labelled(self, post: int) -> bool:
        """Whether it has a label for which it is removed."""
        return any((post, label) in self.labels for label in REMOVING)

    def says_muted(self, post: int) -> bool:
        """Whether a text holds a muted word."""
        said = re.findall("[a-z]+", self.texts.get(post, "").lower())
        return not self.words.isdisjoint(said)

    def outdated(self, post: int) -> bool:
        """Whether a version that exists replaces the post."""
        newest = self.replaced.get(post)
        return newest is not None and newest not in self.deleted


class Run:
    """Two shards that hear of a story bit by bit, and a client who walks through a timeline."""

    def __init__(
        self,
        product: str,
        limit: int,
        arriving: Sequence[Event],
        now_ms: int,
        *,
        cut: bool = False,
    ) -> None:
        """With `cut` nobody is named on the viewer's lists of blocks and mutes."""
        self.product, self._limit = product, limit
        self._waiting, self._arrived = list(arriving), [*_begin()]
        self._clock = Clock(now_ms)
        self._states: list[ShardState] = empty_states(2)
        if cut:
            cut_lists(self._states)
        self._timelines: Timelines = timelines_of(self._states)
        self._offset = 0
        self._tell(self._arrived)
        self.older: str | None = None
        self.newer: str | None = None
        self.counted: list[int] = []
        """Posts that stood on the chain's pages by themselves, above others, or reposted."""
        self.pages: list[Page] = []

    def arrive(self, n: int) -> None:
        """The next events of the story reach the shards, together."""
        some, self._waiting = self._waiting[:n], self._waiting[n:]
        self._arrived += some
        self._tell(some)

    def go(self, where: str) -> bool:
        """One page further; False where nothing is there to be asked for."""
        cursor = self.older if where == "older" else self.newer
        if cursor is None:
            return False
        if where == "older":
            self.older = None
        self.ask(cursor)
        return len(self.pages[-1].items) > 0

    def ask(self, cursor: str | None = None) -> None:
        """A page, which is checked and then counts as served."""
        self._clock.now_ms += 1
        asked = Asked(self.product, VIEWER, self._limit, self._clock.now_ms, cursor)
        page = self._timelines.page(asked)
        self.check(page)
        self.pages.append(page)
        self.older, self.newer = page.cursor or self.older, page.newer_cursor or self.newer
        # Not as the same event as one of the story's: their ids begin below.
        self._tell(
            [
                self._clock.on_post(Kind.SERVED, VIEWER, item.post_id, item.author_id)
                | {"request_id": page.request_id, "position": place, "event_id": self._next_id()}
                for place, item in enumerate(page.items)
            ]
        )

    def drain(self) -> None:
        """All of the story arrives, and all that is left is asked for."""
        self.arrive(len(self._waiting))
        for where in ("newer", "older"):
            for _ in range(100):
                if not self.go(where):
                    break
            else:
                raise AssertionError(f"a walk did not end: {where}")

    def check(self, page: Page) -> None:
        """Nothing on the page is forbidden by what has arrived, nor was it there before."""
        assert page.degraded == []
        truth = Truth.of(self._arrived)
        for item in page.items:
            for post in readable(item):
                assert truth.forbids(post.post_id, post.author_id) == "", post
                # What the viewer follows all the same, Following shows.
                assert self.product != "for_you" or post.author_id not in truth.unwanted
            self._check_links(truth, item)
            assert not truth.outdated(item.post_id)
        for _, newest in page.replaced:
            author = truth.created[newest]["author_id"]
            assert truth.forbids(newest, author) == ""
        counted = [post for item in page.items for post in standing(item, self.product)]
        assert len(set(counted)) == len(counted)
        assert set(counted).isdisjoint(self.counted)
        self.counted += counted

    def _check_links(self, truth: Truth, item: Item) -> None:
        """A post stays away for what it links to as well, be that shown or not."""
        created = truth.created[item.post_id]
        for link in ("reply_to", "quote_of", "repost_of"):
            if f"{link}_id" in created:
                assert truth.hides(created[f"{link}_author_id"]) == "", (item.post_id, link)

    def _tell(self, events: Sequence[Event]) -> None:
        self._offset += 1
        apply(self._states, events, offset=self._offset)

    def _next_id(self) -> int:
        return 1_000_000 + 100 * len(self.pages) + len(self.counted) + self._clock.now_ms % 10**6


def readable(item: Item) -> Iterator[ShownPost]:
    """Every post of an entry that is not a tombstone."""
    for post in item.entry.posts:
        for one in (post, post.quoted, post.reposted):
            if one is not None and not one.tombstone:
                yield one


def standing(item: Item, product: str) -> list[int]:
    """Posts of an entry that must stand nowhere else on the pages of a chain."""
    if product != "for_you":
        return [item.post_id]
    focal = item.entry.focal
    reposted = [focal.reposted.post_id] if focal.reposted else []
    return [*(post.post_id for post in item.entry.posts), *reposted]


def _begin() -> list[Event]:
    """Follows that are there before anything else, older than it."""
    clock = Clock(Clock().now_ms - 1_000)
    edges = [clock.edge(Kind.FOLLOW, VIEWER, author) for author in FOLLOWED]
    return [edge | {"event_id": 2_000_000 + k} for k, edge in enumerate(edges)]


_SPEAKING = ("post", "post", "post", "reply_to", "reply_to", "quote_of", "repost_of", "like")
_RULING = (
    *("version", "edit", "edit", "delete", "label", "label", "unlabel"),
    *("not_interested", "mute_word", "unmute_word"),
)
_SHUNNING = (
    *(*_EDGES, *_USERS, "blocked_by", "unblocked_by", "protect", "open"),
    *("show_less", "report"),
)
_numbers = st.integers(0, 40)


def _told(names: Sequence[str]) -> st.SearchStrategy[Happening]:
    return st.tuples(st.sampled_from(names), _numbers, _numbers)


_stories = st.tuples(
    st.lists(_told(_SPEAKING), min_size=25, max_size=45),
    st.lists(_told(_RULING), min_size=3, max_size=15),
    st.lists(_told(_SHUNNING), max_size=8),
)
_steps = st.lists(
    st.one_of(st.sampled_from(["older", "newer"]), st.integers(1, 30)), min_size=4, max_size=20
)


@pytest.mark.parametrize("product", ["for_you", "following"])
@settings(max_examples=25)
@given(_stories, _steps, st.integers(2, 6), st.randoms(use_true_random=False))
def test_no_rule_is_broken_however_rules_events_and_pages_meet(
    product: str, told: tuple[list[Happening], ...], steps: list[Any], limit: int, random: Any
) -> None:
    run = walked(product, told, steps, limit, random.shuffle)
    run.drain()


def walked(
    product: str,
    told: Sequence[list[Happening]],
    steps: Sequence[Any],
    limit: int,
    shuffle: Callable[[list[Any]], None],
    *,
    cut: bool = False,
) -> Run:
    """A run through a story whose happenings were mixed, and whose events came in any order."""
    happenings = [happening for part in told for happening in part]
    shuffle(happenings)
    story = Story()
    for happening in happenings:
        story.tell(*happening)
    arriving = list(story.events)
    shuffle(arriving)
    run = Run(product, limit, arriving, story.clock.now_ms, cut=cut)
    run.arrive(len(arriving) // 2)
    run.ask()
    for step in steps:
        if isinstance(step, str):
            run.go(step)
        else:
            run.arrive(step)
    return run


@pytest.mark.parametrize("product", ["for_you", "following"])
def test_no_rule_is_broken_where_no_list_of_blocks_and_mutes_names_anybody(product: str) -> None:
    dropped: set[str] = set()
    for seed in range(12):
        run = walked_by_chance(product, seed, 8, cut=True)
        dropped |= {
            stage.name
            for page in run.pages
            for stage in page.trace.stages
            if stage.dropped is not None and len(stage.dropped)
        }
    assert not dropped.isdisjoint({"blocked", "muted"})


def walked_by_chance(product: str, seed: int, n_shunning: int, *, cut: bool = False) -> Run:
    """A run through a story drawn by chance, to the end of both."""
    rng = np.random.default_rng(seed)
    told = [
        [(names[rng.integers(len(names))], *rng.integers(0, 40, 2).tolist()) for _ in range(n)]
        for names, n in ((_SPEAKING, 40), (_RULING, 12), (_SHUNNING, n_shunning))
    ]
    steps = [8, "newer", 8, "older", 10, "newer"]
    run = walked(product, told, steps, 5, rng.shuffle, cut=cut)
    run.drain()
    return run


def test_such_walks_meet_what_the_rules_are_about() -> None:
    """Otherwise they would hold for nothing."""
    met: set[str] = set()
    for seed in range(12):
        run = walked_by_chance("for_you", seed, 3)
        met |= {"replaced"} if any(page.replaced for page in run.pages) else set()
        for page in run.pages:
            met |= {
                stage.name
                for stage in page.trace.stages
                if stage.dropped is not None and len(stage.dropped)
            }
            for item in page.items:
                focal = item.entry.focal
                met |= {"conversation"} if len(item.entry.posts) > 1 else set()
                met |= {"repost"} if focal.reposted else set()
                met |= {"tombstone"} if focal.quoted and focal.quoted.tombstone else set()
                met |= {"quote"} if focal.quoted and not focal.quoted.tombstone else set()
    assert met >= {
        *("replaced", "conversation", "repost", "quote", "tombstone"),
        *("unknown_or_deleted", "protected", "blocked", "muted", "visibility"),
        *("repost_duplicates", "served", "negative_feedback", "feedback_fatigue"),
        *("muted_words", "reposts", "quotes", "conversations"),
    }, met
