"""Conversations: a reply stands on a page below what it answers, as one entry.

An entry holds at most three posts: the root of the conversation, the ancestor nearest to the
reply, and the reply itself, the focal post, whose score is the entry's.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cluster.ids import Ids
from timeline.candidates import REPLY_TO, Candidates, Mask
from timeline.filters import originals_of
from timeline.linked import Link, Linked

MAX_CLIMB = 50
"""Ancestors of one reply that are looked for among the posts at hand."""


@dataclass(frozen=True)
class ConversationModules:
    """The k entries of a page, in the order of their candidates."""

    rows: Ids
    """(k,): the candidate of each entry, its focal post; ascending."""
    ancestors: Ids
    """Shape (k, 2): the rows of `Linked.posts` of the root and of the nearest ancestor between
    root and focal post; −1 for none. A reply to the root has no second."""
    post_ids: Ids
    """Shape (k, 3): root, ancestor and focal post, oldest first; 0 for none."""

    def take(self, rows: Ids | Mask) -> "ConversationModules":
        """Some of the entries; `rows` still says which candidates they are of."""
        return ConversationModules(self.rows[rows], self.ancestors[rows], self.post_ids[rows])

    def is_module(self) -> Mask:
        """Entries (k,) of more than one post."""
        modules: Mask = self.ancestors[:, 0] >= 0
        return modules


def conversation_modules(candidates: Candidates, linked: Linked, bars: Mask) -> ConversationModules:
    """The entries made of candidates (n,): valid ones, in which no post stands twice.

    `bars` (m,) are linked posts that must not be shown (`timeline.linked.barred`). Of a
    candidate that is an ancestor of another one's reply the reply's entry carries it, and is
    kept. Else, where two entries share a post, the one of the higher score is kept: in the
    original the copy of the highest score stays, and the other entry, one post short, is not
    valid any more. A repost counts as what it reposts.
    """
    ancestors, valid = ancestors_above(candidates, linked, bars)
    posts = linked.posts
    originals = originals_of(candidates)
    ids = np.concatenate(
        [np.where(ancestors >= 0, np.append(posts.post_ids, 0)[ancestors], 0), originals[:, None]],
        axis=1,
    )
    every = np.sort(ids[valid], axis=None)
    if not ((every[1:] == every[:-1]) & (every[1:] > 0)).any():
        return _entries(candidates, valid, ancestors, ids)
    carried = _carried(candidates, posts, ids, ancestors[:, 0] >= 0)
    order = np.lexsort((np.arange(len(candidates)), -candidates.scores, carried, ~valid))
    shown: set[int] = set()
    kept = np.zeros(len(candidates), bool)
    for row in order[: np.count_nonzero(valid)].tolist():
        entry = {post for post in ids[row].tolist() if post}
        if shown.isdisjoint(entry):
            kept[row] = True
            shown |= entry
    return _entries(candidates, kept, ancestors, ids)


def _entries(candidates: Candidates, kept: Mask, ancestors: Ids, ids: Ids) -> ConversationModules:
    """The entries of the candidates kept; `ids` (n, 3) are the posts in each."""
    rows = np.flatnonzero(kept)
    post_ids = np.concatenate([ids[rows, :2], candidates.post_ids[rows, None]], axis=1)
    return ConversationModules(rows, ancestors[rows], post_ids)


def valid_conversations(candidates: Candidates, linked: Linked, bars: Mask) -> Mask:
    """Which candidates (n,) can be entries: all but replies whose ancestors cannot be shown.

    Three posts always make a module. Two do where the older one is no reply and the focal post
    replies to it. A reply alone is not shown; what is no reply always is.
    """
    return ancestors_above(candidates, linked, bars)[1]


def ancestors_above(candidates: Candidates, linked: Linked, bars: Mask) -> tuple[Ids, Mask]:
    """Rows of root and nearest ancestor, shape (n, 2), −1 for none; and which entries are valid.

    `bars` and what is valid are as in `conversation_modules` and `valid_conversations`.
    """
    posts, post_ids = linked.posts, candidates.post_ids
    replies = (candidates.links[:, REPLY_TO] > 0) & (candidates.repost_of_ids == 0)
    nearest, root = linked.rows[:, Link.REPLIED], linked.rows[:, Link.ROOT]
    # Behind the last post stands one that is not there, for −1 to find.
    ids = np.append(posts.post_ids, 0)
    there = np.append(~bars, False)
    deeper = np.append(posts.links[:, REPLY_TO] > 0, False)[nearest]
    two = there[nearest] & (ids[nearest] != post_ids)
    three = there[root] & (ids[root] != post_ids) & (ids[root] != ids[nearest])
    valid = ~replies | (two & (~deeper | three))
    modules = replies & valid
    ancestors = np.full((len(candidates), 2), -1, np.int64)
    ancestors[:, 0] = np.where(modules, np.where(deeper, root, nearest), -1)
    ancestors[:, 1] = np.where(modules & deeper, nearest, -1)
    return ancestors, valid


def _carried(candidates: Candidates, posts: Candidates, ids: Ids, modules: Mask) -> Mask:
    """Candidates (n,) that are ancestors of another's reply, which is a valid module."""
    parents = dict(zip(posts.post_ids.tolist(), posts.links[:, REPLY_TO].tolist(), strict=True))
    parents |= dict(
        zip(candidates.post_ids.tolist(), candidates.links[:, REPLY_TO].tolist(), strict=True)
    )
    above: set[int] = set()
    for row in np.flatnonzero(modules).tolist():
        focal = int(candidates.post_ids[row])
        above.update(post for post in _climb(focal, parents) if post != focal)
        above.update(post for post in ids[row, :2].tolist() if post)
    return np.array([post in above for post in ids[:, 2].tolist()], bool)


def _climb(post: int, parents: dict[int, int]) -> Iterator[int]:
    for _ in range(MAX_CLIMB):
        post = parents.get(post, 0)
        if not post:
            return
        yield post
