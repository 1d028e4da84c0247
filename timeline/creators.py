"""Creators for a page: a preview of what one wrote for subscribers, and whom to subscribe to.

The sizes, the age of previews and what texts are previewed are published; which creators is not:
here they are those whom the viewer follows without subscribing to them.
"""

from dataclasses import dataclass, replace

import numpy as np

from actors.creator_questions import AskCreators, FoundCreators
from actors.features.light import positions_in
from actors.post_marks import Mark
from actors.router import shards_of
from cluster.ids import Ids
from cluster.mixer_settings import PostPreviewSettings
from timeline import filters, late_filters
from timeline.candidates import NONE, Candidates, Floats, concatenate, from_found
from timeline.feedback_fatigue import not_fatigued, not_reported
from timeline.findings import Finding
from timeline.hidden import learn_hidden_authors
from timeline.query import Query
from timeline.visibility import all_at, judge
from timeline.visibility_actions import Level


@dataclass(frozen=True)
class Creators:
    """Creators whom the viewer follows and does not subscribe to."""

    user_ids: Ids
    """(k,): those closest to the viewer first."""
    affinities: Floats
    """(k,): how much the viewer engages with each."""
    posts: Candidates
    """What they wrote for subscribers, newest first."""


NOBODY = Creators(np.empty(0, np.int64), np.empty(0, np.float32), NONE)


def find_creators(query: Query, previews: PostPreviewSettings | None) -> Finding[Creators]:
    """Ask the shards of those whom the viewer follows; for posts only where `previews` are due."""
    subscribed = np.append(query.state.subscriptions, query.viewer_id)
    authors = np.setdiff1d(query.viewer.heard(), subscribed)
    if not len(authors):
        return NOBODY
    homes = shards_of(authors, query.router.n_shards)
    answers = yield {
        shard: [
            AskCreators(
                author_ids=authors[homes == shard],
                labels=query.settings.sources.follow_recommendations.hidden_labels,
                since_ms=query.now_ms - (previews.window_ms if previews else 0),
                max_posts=previews.max_found if previews else 0,
                keywords=query.state.muted_keywords,
                language=query.viewer.language,
                now_ms=query.now_ms,
            )
        ]
        for shard in np.unique(homes).tolist()
    }
    if not answers:
        return NOBODY
    parts: list[FoundCreators] = [found for _, (found,) in sorted(answers.items())]
    user_ids = np.concatenate([part.creator_ids for part in parts])
    if not len(user_ids):
        return NOBODY
    at = positions_in(query.viewer.affine_ids, user_ids)
    affinities = np.append(query.viewer.affinities, np.float32(0))[at]
    order = np.lexsort((user_ids, -affinities))
    told = [from_found(part.posts) for part in parts if part.posts is not None]
    posts = concatenate([NONE, *told])
    newest = np.lexsort((-posts.post_ids, -posts.created_ms))
    newest = newest[: previews.max_found if previews else 0]
    return Creators(user_ids[order], affinities[order], posts.take(newest))


def preview(query: Query, found: Creators) -> tuple[int, int] | None:
    """The newest post to preview, and its author; None where there is none.

    As strict as with strangers' posts, but that the viewer does not subscribe. What the viewer
    saw is not previewed again.
    """
    if not len(found.posts):
        return None
    learn_hidden_authors(query, found.posts)
    # The original has a safety level of its own for previews, whose rules are not told.
    marks = found.posts.marks & ~np.uint16(Mark.EXCLUSIVE)
    posts = replace(found.posts, marks=marks)
    kept = np.ones(len(posts), bool)
    for keep in (
        *(filters.known, filters.not_protected, filters.not_blocked, filters.not_muted),
        *(filters.not_seen, filters.not_disliked, not_fatigued, not_reported),
        *(late_filters.not_muted_topic, late_filters.not_sensitive_stranger),
        late_filters.in_chosen_language,
    ):
        kept &= keep(query, posts)
    verdicts = judge(all_at(Level.FOR_YOU_OUT, posts), query, posts)
    rows = np.flatnonzero(kept & ~verdicts.removed & ~verdicts.covered & ~verdicts.avoid_ads)
    if not len(rows):
        return None
    return int(posts.post_ids[rows[0]]), int(posts.author_ids[rows[0]])
