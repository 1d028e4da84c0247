"""Linked posts: what candidates reply to, quote and repost, and the roots of conversations.

Their facts come in one wave once candidates are chosen, with whatever else the last choice has
to know: who of the viewer's people follows an author, and which texts hold muted words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np

from actors.features.light import VIEWER_FEATURES, positions_in, viewer_features
from actors.features.reputation import TWEEPCRED
from actors.graph_questions import AskTwoHop
from actors.models import VECTORS
from actors.questions import AskPosts
from actors.router import shards_of
from actors.shown_questions import AskMutedWords
from actors.social_proof import seeds_of
from actors.state import Failed, Question
from actors.topic_questions import AskTopics
from actors.topic_social_proof import HOME_TOPICS, TopicTastes
from actors.two_hop import FOLLOWED_BY_FOLLOWED, MAX_LEFT, EdgeType, LeftLists
from actors.viewer_state import ViewerState
from cluster.ids import Ids
from timeline import filters
from timeline.candidates import (
    ENGINES,
    N_POST_FEATURES,
    NONE,
    QUOTE_OF,
    REPLY_TO,
    ROOT,
    Candidates,
    Mask,
    unhydrated,
)
from timeline.facts_ahead import write_facts
from timeline.feedback_fatigue import not_fatigued, not_reported
from timeline.late_filters import NO_TOPICS
from timeline.query import Query

SHARE = 0.6
"""Of the time left, for the wave."""
NAMED = 2
"""Followers of an author who are named (published)."""
_BY_COMMUNITIES = np.uint32(
    1 << ENGINES.index("simclusters_ann") | 1 << ENGINES.index("interested_in")
)


class Link(IntEnum):
    """How a post is linked; the columns of `linked_author_ids` and of `Linked.rows`."""

    REPLIED = 0
    QUOTED = 1
    REPOSTED = 2
    ROOT = 3


@dataclass(frozen=True)
class Linked:
    """What n candidates link to, and m different linked posts."""

    posts: Candidates
    """The m posts, as their newest versions; `created_ms` 0 where nobody knows them."""
    rows: Ids
    """Shape (n, 4): which of `posts` each `Link` is; −1 for none, or one of an unknown author."""
    holds_muted: Mask
    """(n,): the candidate's own text holds words that the viewer muted, or nobody can say."""
    linked_hold_muted: Mask
    """(m,): the same of `posts`."""
    follower_ids: Ids
    """Shape (n, NAMED): whom the viewer follows who follow the author, the nearest first; 0 for
    no more, for authors whom the viewer follows, and where the post has other social proof."""
    topic_ids: Ids
    """Shape (n, HOME_TOPICS): topics that may be named to the viewer, the likeliest first; 0 for no
    more, and for posts that are no strangers' found by their communities."""
    beside: Mapping[int, Any] = field(default_factory=dict)
    """What shards answered to the questions beside, by shard; none where one failed."""

    def take(self, rows: Ids | Mask) -> "Linked":
        """The same for some of the candidates."""
        return Linked(
            self.posts,
            self.rows[rows],
            self.holds_muted[rows],
            self.linked_hold_muted,
            self.follower_ids[rows],
            self.topic_ids[rows],
            self.beside,
        )

    def where(self, link: Link, of_posts: Mask) -> Mask:
        """Whose link of this sort is there, and a post of a mask (m,)."""
        rows = self.rows[:, link]
        chosen = rows >= 0
        chosen[chosen] = of_posts[rows[chosen]]
        return chosen

    def used_as(self, *links: Link) -> Mask:
        """Posts (m,) that some candidate links to in one of these ways."""
        used = np.zeros(len(self.posts), bool)
        rows = self.rows[:, links]
        used[rows[rows >= 0]] = True
        return used


def linked_posts(
    query: Query, candidates: Candidates, beside: Mapping[int, Question] | None = None
) -> Linked:
    """Ask for all of it in one wave; `beside` are further questions that travel with it.

    Shards that do not answer are noted: their posts stay unknown, and their texts count as
    holding muted words, where the viewer muted any.
    """
    wanted, rows = _wanted(candidates)
    n, m = len(candidates), len(wanted)
    keywords = query.state.muted_keywords
    columns = dict(vars(wanted))
    muted = np.full(n + m, bool(keywords))
    followers = np.zeros((n, NAMED), np.int64)
    topics = np.zeros((n, HOME_TOPICS), np.int64)
    answers: dict[int, Any] = {}

    ahead: list[_Part] = []
    every = np.concatenate([candidates.author_ids, wanted.author_ids])
    homes = shards_of(every, query.router.n_shards)
    named = _to_be_named(query, candidates)
    left = _whom_the_viewer_follows(query)
    by_topics = _by_topics(query, candidates)
    reputations = query.versions.get(TWEEPCRED, "")
    for shard in np.unique(homes).tolist():
        here = np.flatnonzero(homes == shard)
        mine, theirs = here[here < n], here[here >= n] - n
        if len(theirs):
            asked = AskPosts(
                *(wanted.post_ids[theirs], query.viewer.language, query.now_ms, reputations),
                wanted.author_ids[theirs],
                with_features=False,
            )
            ahead.append(_Part(shard, asked, _facts_into(columns, theirs)))
        if keywords:
            texts = np.concatenate([candidates.post_ids[mine], wanted.post_ids[theirs]])
            ahead.append(_Part(shard, AskMutedWords(texts, keywords), _into(muted, here)))
        proven = mine[by_topics[mine]]
        if len(proven):
            about = AskTopics(
                *(
                    candidates.post_ids[proven],
                    query.tastes.versions[VECTORS],
                    _tastes_of(query.state),
                ),
                query.now_ms,
            )
            ahead.append(_Part(shard, about, _topics_into(topics, proven)))
        mine = mine[named[mine]]
        if len(mine) and len(left.ids):
            authors, at = np.unique(candidates.author_ids[mine], return_inverse=True)
            who = AskTwoHop(left, authors, FOLLOWED_BY_FOLLOWED, NAMED)
            ahead.append(_Part(shard, who, _names_into(followers, mine, at)))
    for shard, question in (beside or {}).items():
        ahead.append(_Part(shard, question, _answer_into(answers, shard)))

    _ask(query, ahead)
    columns["features"][:, N_POST_FEATURES : N_POST_FEATURES + len(VIEWER_FEATURES)] = (
        viewer_features(
            columns["author_ids"],
            query.viewer_id,
            query.viewer.followed,
            query.viewer.affine_ids,
            query.viewer.affinities,
        )
    )
    muted &= every != query.viewer_id
    return Linked(Candidates(**columns), rows, muted[:n], muted[n:], followers, topics, answers)


def gone(linked: Linked) -> Mask:
    """Linked posts (m,) of which nothing is left to show: unknown, deleted, the author gone."""
    posts = linked.posts
    lost: Mask = (posts.created_ms == 0) | posts.deleted | posts.author_gone
    return lost


def barred(query: Query, linked: Linked, dropped: Mask | None = None) -> Mask:
    """Linked posts (m,) that this viewer must not be shown, whatever links to them.

    Gone, protected, blocked or muted (with whom they link to themselves), disliked, holding
    muted words, or `dropped` (m,) by visibility.
    """
    bad = gone(linked) | ~may_see(query, linked.posts) | linked.linked_hold_muted
    return bad if dropped is None else bad | dropped


def may_see(query: Query, posts: Candidates) -> Mask:
    """Posts that nothing between the viewer and their authors forbids; one's own always."""
    kept = np.ones(len(posts), bool)
    for keep in (
        *(filters.not_protected, filters.not_blocked),
        *(filters.not_muted, filters.not_disliked, not_fatigued, not_reported),
    ):
        kept &= keep(query, posts)
    kept |= posts.author_ids == query.viewer_id
    return kept


def keep_reposts(candidates: Candidates, linked: Linked, bars: Mask) -> Mask:
    """Candidates but for reposts of what is barred (m,), or of an unknown author's."""
    kept: Mask = (candidates.repost_of_ids == 0) | linked.where(Link.REPOSTED, ~bars)
    return kept


def keep_quotes(candidates: Candidates, linked: Linked, bars: Mask) -> Mask:
    """Candidates but for quotes of what the viewer must not see.

    Where the quoted post is merely gone the quote stays, with a tombstone: `quotes_of_gone`.
    """
    return ~linked.where(Link.QUOTED, bars & ~gone(linked))


def quotes_of_gone(candidates: Candidates, linked: Linked) -> Mask:
    """Quotes (n,) in which a tombstone stands for the post that is gone."""
    there = linked.where(Link.QUOTED, ~gone(linked))
    buried: Mask = (candidates.links[:, QUOTE_OF] > 0) & ~there
    return buried


def without_muted_words(candidates: Candidates, linked: Linked) -> Mask:
    """Candidates whose own text holds nothing that the viewer muted; own posts stay."""
    return ~linked.holds_muted


@dataclass(frozen=True)
class _Part:
    """A question of the wave, and what becomes of its answer."""

    shard: int
    question: Question
    take: Callable[[Any], None]


def _ask(query: Query, parts: list[_Part]) -> None:
    wave: dict[int, list[Question]] = {}
    for part in parts:
        wave.setdefault(part.shard, []).append(part.question)
    if not wave:
        return
    given = {s: iter(reply.answers) for s, reply in query.ask(wave, SHARE).replies.items()}
    for part in parts:
        if part.shard in given:
            answer = next(given[part.shard])
            if isinstance(answer, Failed):
                query.note(f"shard_{part.shard}")
            else:
                part.take(answer)


def _wanted(candidates: Candidates) -> tuple[Candidates, Ids]:
    """The different linked posts of known authors, and where each link of a candidate is."""
    links = candidates.links
    ids = np.stack(
        [links[:, REPLY_TO], links[:, QUOTE_OF], candidates.repost_of_ids, links[:, ROOT]], axis=1
    )
    # Who begins a conversation may be called its root, too.
    ids[:, Link.ROOT] *= (links[:, REPLY_TO] > 0) & (links[:, ROOT] != candidates.post_ids)
    flat_ids, author_ids = ids.reshape(-1), candidates.linked_author_ids.reshape(-1)
    # A root whose author no event named may be known as what another post replies to.
    told = np.flatnonzero((flat_ids > 0) & (author_ids > 0))
    told = told[np.argsort(flat_ids[told], kind="stable")]
    at = positions_in(flat_ids[told], flat_ids)
    author_ids = np.where(
        (author_ids == 0) & (at >= 0), np.append(author_ids[told], 0)[at], author_ids
    )
    order = np.lexsort((author_ids, flat_ids))
    ids_in_order, authors_in_order = flat_ids[order], author_ids[order]
    asked = (ids_in_order > 0) & (authors_in_order > 0)
    new = np.ones(len(order), bool)
    new[1:] = (np.diff(ids_in_order) != 0) | (np.diff(authors_in_order) != 0)
    new &= asked
    if not new.any():
        return NONE, np.full(ids.shape, -1, np.int64)
    rows = np.empty(len(order), np.int64)
    rows[order] = np.where(asked, np.cumsum(new) - 1, -1)
    post_ids = ids_in_order[new]
    wanted = unhydrated(post_ids, authors_in_order[new], np.zeros(len(post_ids)))
    return wanted, rows.reshape(ids.shape)


def _to_be_named(query: Query, candidates: Candidates) -> Mask:
    """Of whose authors followers are named: strangers', where nobody else vouches for the post."""
    strange = ~(candidates.feature("is_followed") > 0) & (candidates.author_ids != query.viewer_id)
    named: Mask = strange & ~(candidates.proof_ids > 0).any(axis=1)
    return named


def _by_topics(query: Query, candidates: Candidates) -> Mask:
    """Whose topics may be named: those of strangers' posts that SimClusters found (published)."""
    if VECTORS not in query.tastes.versions:
        return np.zeros(len(candidates), bool)
    found = (candidates.engines & _BY_COMMUNITIES) > 0
    strange = ~(candidates.feature("is_followed") > 0) & (candidates.author_ids != query.viewer_id)
    by_topics: Mask = found & strange
    return by_topics


def _tastes_of(state: ViewerState) -> TopicTastes:
    """A viewer's word on topics."""
    return TopicTastes(
        *(state.followed_topics, state.unfollowed_topics, state.muted_topics),
        paused=bool(state.preferences.get(NO_TOPICS)),
    )


def _whom_the_viewer_follows(query: Query) -> LeftLists:
    ids, weights = seeds_of(query.viewer, MAX_LEFT)
    ranks = np.empty(len(ids), np.int32)
    ranks[np.lexsort((ids, -weights))] = np.arange(len(ids))
    following = np.full(len(ids), 1 << EdgeType.FOLLOWING, np.uint16)
    return LeftLists(ids, following, ranks, {EdgeType.FOLLOWING: len(ids)})


def _facts_into(columns: dict[str, Any], rows: Ids) -> Callable[[Any], None]:
    return lambda found: write_facts(columns, rows, found, slice(None))


def _into(values: Any, rows: Ids) -> Callable[[Any], None]:
    def take(answer: Any) -> None:
        values[rows] = answer

    return take


def _names_into(names: Ids, rows: Ids, at: Ids) -> Callable[[Any], None]:
    def take(answer: Any) -> None:
        names[rows] = answer.named_ids[at]

    return take


def _topics_into(topic_ids: Ids, rows: Ids) -> Callable[[Any], None]:
    def take(answer: Any) -> None:
        topic_ids[rows], _ = answer.padded(topic_ids.shape[1])

    return take


def _answer_into(answers: dict[int, Any], shard: int) -> Callable[[Any], None]:
    def take(answer: Any) -> None:
        answers[shard] = answer

    return take
