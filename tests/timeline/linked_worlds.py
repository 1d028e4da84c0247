"""Posts of a small world as candidates of one request, and by hand what they link to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from actors.features.light import FEATURES
from actors.questions import AskPosts
from actors.router import LocalRouter, Router, shards_of
from actors.state import ShardState
from actors.topic_social_proof import HOME_TOPICS
from actors.viewer_state import ViewerState
from cluster.settings import Settings
from tests.timeline.candidate_rows import context, rows
from tests.worlds import NOW_MS
from timeline.candidates import Candidates, concatenate, from_found
from timeline.linked import NAMED, Linked
from timeline.query import Query


def asking(
    viewer_id: int,
    states: Sequence[ShardState],
    *,
    router: Router | None = None,
    state: ViewerState | None = None,
    **known: Any,
) -> Query:
    """A request of a viewer of whom `known` says what the context holds."""
    asked = Query(viewer_id, NOW_MS, 10, "request", Settings(), router or LocalRouter(states))
    asked.context = context(**known)
    asked.state = state or ViewerState()
    return asked


def candidates_of(
    states: Sequence[ShardState], posts: Mapping[int, int], follows: Sequence[int] = ()
) -> Candidates:
    """What shards say of posts (by author), in the order given, the first of the best score."""
    parts = []
    for post_id, author_id in posts.items():
        home = int(shards_of(np.array([author_id]), len(states))[0])
        asked = AskPosts(np.array([post_id]), "", NOW_MS)
        parts.append(from_found(asked.answer(states[home])))
    found = concatenate(parts)
    found.features[:, FEATURES.index("is_followed")] = np.isin(found.author_ids, follows)
    return found.with_scores(np.linspace(2, 1, len(found)))


def linked(candidates: Candidates, posts: Candidates, **given: Any) -> Linked:
    """What candidates link to, among posts of whom everything is known, by their ids."""
    ids = np.concatenate(
        [
            candidates.links[:, :2],
            candidates.repost_of_ids[:, None],
            candidates.links[:, 2:],
        ],
        axis=1,
    )
    place = {post: row for row, post in enumerate(posts.post_ids.tolist())}
    found = [[place.get(post, -1) if post else -1 for post in row] for row in ids.tolist()]
    plain = Linked(
        posts,
        np.array(found, np.int64).reshape(-1, 4),
        np.zeros(len(candidates), bool),
        np.zeros(len(posts), bool),
        np.zeros((len(candidates), NAMED), np.int64),
        np.zeros((len(candidates), HOME_TOPICS), np.int64),
    )
    return replace(plain, **given)


def tree(posts: Mapping[int, int], scores: Mapping[int, float] | None = None) -> Candidates:
    """Posts by the post that each replies to (0 for none), their roots worked out."""

    def root(post: int) -> int:
        while posts.get(post):
            post = posts[post]
        return post

    given = [
        {
            "post_ids": post,
            "links": [parent, 0, root(post) if parent else 0],
            "is_reply": parent > 0,
            "scores": (scores or {}).get(post, 1.0),
        }
        for post, parent in posts.items()
    ]
    return rows(*given)
