"""Social context: the one line over an entry that says what it has to do with the viewer."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cluster.ids import Ids
from timeline.candidates import Candidates, Mask
from timeline.conversation import ConversationModules
from timeline.linked import Linked
from timeline.query import Query
from timeline.reasons import Reason

NAMED = 2
"""Users whose names stand in the line (published)."""

LIKED_BY = ("favourited_by", "reposted_by", "replied_to_by", "quoted_by")
"""Reasons that name people who engaged, strongest first. The original's Home asks for
favourites alone, so its line knows no other."""

PRIORITY = (*LIKED_BY, "followed_by", "topic", "popular_video", "list", "popular")
"""Which line a post gets that stands alone, the first that it may have (published)."""

_OF_SOURCES = {
    "popular_videos": ("popular_video", "a popular video"),
    "lists": ("list", "in a list of yours"),
    "popular": ("popular", "popular at the moment"),
}
"""Source → the line of what it found. The original's last one is *popular in your area*; ours
looks at all."""


def social_contexts(
    query: Query,
    shown: Candidates,
    source_names: Sequence[str],
    reasons: Sequence[Sequence[Reason]],
    *,
    modules: ConversationModules | None = None,
    linked: Linked | None = None,
) -> list[Reason | None]:
    """The line of each entry, None where there is nothing to say.

    `shown` are the focal posts of the entries, `reasons` theirs (`reasons_of`). `modules` and
    `linked` are about the same rows: without them posts stand alone, and nobody follows their
    authors. Over a conversation the line is about its root: *extended reply* where the viewer
    follows the focal post's author and not the root's, *received reply* the other way round.
    """
    near = in_network(query, shown)
    followers = linked.follower_ids if linked else np.zeros((len(shown), 0), np.int64)
    found: list[Reason | None] = []
    columns = zip(
        near.tolist(),
        _roots(query, len(shown), modules, linked),
        shown.author_ids.tolist(),
        shown.sources.tolist(),
        followers.tolist(),
        reasons,
        strict=True,
    )
    for is_near, root, author, sources, who, why in columns:
        if root is not None:
            found.append(_of_module(is_near, author, *root))
            continue
        lines = [reason for reason in why if reason.kind in LIKED_BY]
        if not is_near:
            lines += _followed_by(who)
            lines += [reason for reason in why if reason.kind == "topic"]
        lines += [
            Reason(*_OF_SOURCES[name][:1], (), _OF_SOURCES[name][1])
            for number, name in enumerate(source_names)
            if sources >> number & 1 and name in _OF_SOURCES
        ]
        first = min(lines, key=lambda line: PRIORITY.index(line.kind), default=None)
        found.append(first and replace(first, user_ids=first.user_ids[:NAMED]))
    return found


def in_network(query: Query, posts: Candidates) -> Mask:
    """Posts by those whom the viewer follows, and by the viewer."""
    near: Mask = (posts.feature("is_followed") > 0) | (posts.author_ids == query.viewer_id)
    return near


def _roots(
    query: Query, n: int, modules: ConversationModules | None, linked: Linked | None
) -> list[tuple[bool, int] | None]:
    """Of each module's root: whether it is in the viewer's network, and its author."""
    if modules is None or linked is None or not modules.is_module().any():
        return [None] * n
    roots = modules.ancestors[:, 0]
    near = in_network(query, linked.posts)[roots].tolist()
    authors: Ids = linked.posts.author_ids[roots]
    whole = zip(modules.is_module().tolist(), near, authors.tolist(), strict=True)
    return [(is_near, author) if module else None for module, is_near, author in whole]


def _of_module(
    focal_near: bool, focal_author: int, root_near: bool, root_author: int
) -> Reason | None:
    if focal_near and not root_near:
        return Reason("extended_reply", (focal_author,), f"{focal_author} replied")
    if root_near and not focal_near:
        return Reason("received_reply", (root_author,), f"{root_author} received a reply")
    return None


def _followed_by(followers: list[int]) -> list[Reason]:
    who = tuple(user for user in followers if user)[:NAMED]
    if not who:
        return []
    verb = "follows" if len(who) == 1 else "follow"
    people = " and ".join(str(user) for user in who)
    return [Reason("followed_by", who, f"{people}, whom you follow, {verb} the author")]
