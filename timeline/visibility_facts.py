"""What the rules of visibility may ask about posts and their viewer, and conditions over it.

A fact is worked out when a rule first needs it, and once; a condition joined by `&` does not
ask its right side where its left side holds for nobody. So rules cost what the posts at hand
make necessary: without labels, next to nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from actors.features.light import positions_in
from actors.graph import ViewerContext
from actors.known_labels import Masks, label_bits
from actors.post_marks import Mark
from actors.viewer_state import ViewerState
from cluster.ids import Ids
from cluster.visibility_settings import VisibilitySettings
from timeline.candidates import Candidates, Mask

REPOSTED, ROOT_AUTHOR = 2, 3
"""Columns of `Candidates.linked_author_ids`."""
_BUCKETS = 2**16
_AUTHORS = 64
"""How far up the bits of labels of authors stand beside those of posts."""


@dataclass
class Facts:
    """Posts as one viewer meets them; every mask has shape (n,)."""

    viewer_id: int
    context: ViewerContext | None
    """None where nobody knows it; what needs it then raises `LookupError`."""
    state: ViewerState
    settings: VisibilitySettings
    candidates: Candidates
    rows: slice | Ids = field(default_factory=lambda: slice(None))
    """Which of the candidates."""

    def __len__(self) -> int:
        return len(self.candidates.post_ids[self.rows])

    def remarkable(self) -> Ids:
        """Rows of the posts that any rule could hold for, ascending.

        A post that exists, without labels or marks, by and linked to people who are there and
        between whom and the viewer nothing stands, is allowed by every rule.
        """
        posts = self.candidates
        some = (posts.labels[:, 0] | posts.labels[:, 1]) != 0
        some |= (posts.marks & np.uint16(Mark.SENSITIVE | Mark.EXCLUSIVE)) != 0
        some |= posts.deleted | posts.author_gone | posts.author_protected
        some |= (posts.created_ms <= 0) | (posts.newest_ids > 0)
        some[self._perhaps_hidden] = True
        return np.flatnonzero(some)

    @cached_property
    def none(self) -> Mask:
        """No post at all."""
        return np.zeros(len(self), bool)

    @cached_property
    def known(self) -> Mask:
        """Something is known of the post: its shard answered and has it."""
        known: Mask = self.candidates.created_ms[self.rows] > 0
        return known

    @cached_property
    def deleted(self) -> Mask:
        """The post is deleted, or what it reposts is."""
        return self.candidates.deleted[self.rows]

    @cached_property
    def outdated(self) -> Mask:
        """A newer version replaces the post."""
        newest = self.candidates.newest_ids[self.rows]
        outdated: Mask = (newest > 0) & (newest != self.candidates.post_ids[self.rows])
        return outdated

    @cached_property
    def author_gone(self) -> Mask:
        """The author is deactivated, suspended or deleted."""
        return self.candidates.author_gone[self.rows]

    @cached_property
    def author_protected(self) -> Mask:
        """The author lets only followers read."""
        return self.candidates.author_protected[self.rows]

    @cached_property
    def post_labels(self) -> Masks:
        """Known labels of each post."""
        return np.ascontiguousarray(self.candidates.labels[self.rows, 0])

    @cached_property
    def author_labels(self) -> Masks:
        """Known labels of each author."""
        return np.ascontiguousarray(self.candidates.labels[self.rows, 1])

    @cached_property
    def present(self) -> int:
        """Labels that any of the posts has, and, 64 bits up, that any of the authors has."""
        posts = np.bitwise_or.reduce(self.post_labels, initial=np.uint64(0))
        authors = np.bitwise_or.reduce(self.author_labels, initial=np.uint64(0))
        return int(posts) | int(authors) << _AUTHORS

    @cached_property
    def sensitive(self) -> Mask:
        """Its author marked the post as sensitive."""
        return self._marked(Mark.SENSITIVE)

    @cached_property
    def exclusive(self) -> Mask:
        """The post is for the author's subscribers."""
        return self._marked(Mark.EXCLUSIVE)

    @cached_property
    def author_ids(self) -> Ids:
        """Who wrote, or reposted."""
        return self.candidates.author_ids[self.rows]

    @cached_property
    def own(self) -> Mask:
        """The viewer's own post."""
        own: Mask = self.author_ids == self.viewer_id
        return own

    @cached_property
    def followed(self) -> Mask:
        """The viewer follows the author."""
        return _in(self._viewer.followed, self.author_ids)

    @cached_property
    def subscribed(self) -> Mask:
        """The viewer subscribes to the author."""
        return _in(self.state.subscriptions, self.author_ids)

    @cached_property
    def begun_by_viewer(self) -> Mask:
        """The viewer wrote the root of the conversation."""
        roots = self.candidates.linked_author_ids[self.rows, ROOT_AUTHOR]
        begun: Mask = roots == self.viewer_id
        return begun

    @cached_property
    def blocked(self) -> Mask:
        """The viewer blocked the author, or who is reposted."""
        return self._of_shown(self._viewer.blocks)

    @cached_property
    def blocked_by(self) -> Mask:
        """The author, or who is reposted, blocked the viewer."""
        return self._of_shown(self._viewer.blocked_by)

    @cached_property
    def muted(self) -> Mask:
        """The viewer muted the author, or who is reposted."""
        return self._of_shown(self._viewer.mutes)

    @cached_property
    def hidden_linked(self) -> Mask:
        """A block or mute lies between the viewer and an author whom the post links to."""
        linked = self.candidates.linked_author_ids[self.rows][self._perhaps_hidden]
        found = _in(np.sort(self._viewer.hidden_ids), linked.reshape(-1)).reshape(linked.shape)
        any_of: Mask = np.logical_or.reduce(found, axis=1)
        return self._at_perhaps_hidden(any_of)

    @cached_property
    def is_adult(self) -> bool:
        """Whether the viewer counts as one; see the settings."""
        age = self.state.age_years
        unknown_is_adult = self.settings.unknown_age == "adult"
        return age >= self.settings.adult_age_years if age else unknown_is_adult

    @property
    def _viewer(self) -> ViewerContext:
        if self.context is None:
            raise LookupError("the viewer's context was not fetched")
        return self.context

    def _marked(self, mark: Mark) -> Mask:
        marked: Mask = (self.candidates.marks[self.rows] & np.uint16(mark)) > 0
        return marked

    @cached_property
    def _perhaps_hidden(self) -> Ids:
        """Posts between whose authors, linked ones too, and the viewer a block or mute may lie:
        all of those, and a few others, but quicker found than exactly."""
        hidden = self._viewer.hidden_ids
        if not len(hidden):
            return np.empty(0, np.int64)
        buckets = np.zeros(_BUCKETS, bool)
        buckets[hidden & (_BUCKETS - 1)] = True
        found = buckets[self.author_ids & (_BUCKETS - 1)]
        linked = self.candidates.linked_author_ids[self.rows] & (_BUCKETS - 1)
        for column in buckets[linked].T:
            found |= column
        return np.flatnonzero(found)

    def _at_perhaps_hidden(self, found: Mask) -> Mask:
        if not found.any():
            return self.none
        mask = np.zeros(len(self), bool)
        mask[self._perhaps_hidden] = found
        return mask

    def _of_shown(self, users: Ids) -> Mask:
        rows = self._perhaps_hidden
        reposted = self.candidates.linked_author_ids[self.rows, REPOSTED][rows]
        return self._at_perhaps_hidden(_in(users, self.author_ids[rows]) | _in(users, reposted))


@dataclass(frozen=True)
class Condition:
    """A predicate over facts, which says in words what it means and names what it needs."""

    test: Callable[[Facts], Mask]
    """Which posts it holds for: (n,)."""
    needs: frozenset[str]
    """The facts (attributes of `Facts`) that it reads."""
    words: str
    bits: int = 0
    """It holds for nobody where none of these labels is `present`; 0 where that cannot be said."""

    def __call__(self, facts: Facts) -> Mask:
        """Which posts it holds for, (n,)."""
        return self.test(facts)

    def __and__(self, other: "Condition") -> "Condition":
        def test(facts: Facts) -> Mask:
            found = self.test(facts)
            return found & other.test(facts) if found.any() else found

        words = f"{_whole(self)}, and {_whole(other)}"
        return Condition(test, self.needs | other.needs, words, self.bits or other.bits)

    def __or__(self, other: "Condition") -> "Condition":
        def test(facts: Facts) -> Mask:
            return self.test(facts) | other.test(facts)

        words = f"{self.words}, or {other.words}"
        bits = self.bits | other.bits if self.bits and other.bits else 0
        return Condition(test, self.needs | other.needs, words, bits)

    def __invert__(self) -> "Condition":
        return Condition(lambda facts: ~self.test(facts), self.needs, f"not ({self.words})")


def fact(name: str, words: str) -> Condition:
    """The condition that a fact of this name, a mask, holds."""

    def test(facts: Facts) -> Mask:
        mask: Mask = getattr(facts, name)
        return mask if mask.any() else facts.none

    return Condition(test, frozenset({name}), words)


def of_viewer(holds: Callable[[Facts], bool], words: str, *needs: str) -> Condition:
    """A condition that holds for all posts or for none."""

    def test(facts: Facts) -> Mask:
        return ~facts.none if holds(facts) else facts.none

    return Condition(test, frozenset(needs), words)


def post_has(*labels: str) -> Condition:
    """The post has one of these known labels."""
    bits = label_bits(*labels)

    def test(facts: Facts) -> Mask:
        has: Mask = (facts.post_labels & bits) != 0
        return has

    words = f"the post has {_listed(labels)}"
    return Condition(test, frozenset({"post_labels"}), words, int(bits))


def author_has(*labels: str) -> Condition:
    """The author has one of these known labels."""
    bits = label_bits(*labels)

    def test(facts: Facts) -> Mask:
        has: Mask = (facts.author_labels & bits) != 0
        return has

    words = f"the author has {_listed(labels)}"
    return Condition(test, frozenset({"author_labels"}), words, int(bits) << _AUTHORS)


def _whole(condition: Condition) -> str:
    return f"({condition.words})" if ", or " in condition.words else condition.words


def _listed(labels: tuple[str, ...]) -> str:
    return " or ".join(f"`{label}`" for label in labels)


def _in(sorted_ids: Ids, ids: Ids) -> Mask:
    found: Mask = positions_in(sorted_ids, ids) >= 0
    return found
