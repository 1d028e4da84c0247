"""Lists: what the members of the viewer's own lists wrote lately."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from actors.lists import ListMembers
from actors.newest_questions import AskNewestOfGroups
from actors.router import shards_of
from actors.stores.newest_posts import NewestPosts, merge_newest
from timeline.candidates import NONE, Candidates, unhydrated
from timeline.findings import Finding
from timeline.query import Query
from timeline.sources import first_questions

_HOUR_MS = 3_600_000


class Lists:
    """The newest posts of each of the viewer's newest lists, no replies and no reposts.

    The original reads lists that the viewer subscribes to as well, of which no event tells.
    A post of several lists counts for the newest of them.
    """

    name = "lists"
    gated = True

    def find(self, query: Query) -> Finding[Candidates]:
        """Ask the viewer's shard for lists and members, then the members' shards for posts."""
        settings = query.settings.sources.lists
        home = query.viewer_shard
        told = yield {home: [first_questions.of_lists(query)]}
        if home not in told:
            return NONE
        lists: ListMembers = told[home][0]
        members, list_of = _heard(query, lists)
        if not len(members):
            return NONE
        n_lists = len(lists.list_ids)
        homes = shards_of(members, query.router.n_shards)
        answers = yield {
            shard: [
                AskNewestOfGroups(
                    author_ids=members[homes == shard],
                    offsets=np.searchsorted(list_of[homes == shard], np.arange(n_lists + 1)),
                    since_ms=query.now_ms - query.settings.windows.following_ms,
                    until_ms=query.now_ms + 1,
                    limit=settings.posts_per_list,
                )
            ]
            for shard in np.unique(homes).tolist()
        }
        parts = [found for _, (found,) in sorted(answers.items())]
        if not parts:
            return NONE
        return _candidates(query, lists, merge_newest(parts, settings.posts_per_list))


def _heard(query: Query, lists: ListMembers) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Members whose posts may be shown, and the place of the list of each."""
    viewer = query.viewer
    unheard = np.append(viewer.hidden_ids, query.viewer_id)
    list_of = np.repeat(np.arange(len(lists.list_ids)), np.diff(lists.offsets))
    heard = ~np.isin(lists.member_ids, unheard)
    return lists.member_ids[heard], list_of[heard]


def _candidates(query: Query, lists: ListMembers, found: NewestPosts) -> Candidates:
    """Each post once, newest first; the score is its age in hours below zero."""
    _, first = np.unique(found.post_ids, return_index=True)
    order = first[np.lexsort((-found.post_ids[first], -found.created_ms[first]))]
    age_ms = query.now_ms - found.created_ms[order]
    candidates = unhydrated(
        found.post_ids[order], found.author_ids[order], (-age_ms / _HOUR_MS).astype(np.float32)
    )
    return replace(candidates, signal_ids=lists.list_ids[found.groups[order]])
