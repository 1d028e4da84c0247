"""Late filters: what of the ranked candidates this viewer should not be recommended after all.

`late_filters` is the table of them. In-network posts are a viewer's own choice, so most look only
at posts by authors whom the viewer does not follow.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from actors.features.light import positions_in
from actors.known_labels import KNOWN_LABELS, label_bits
from actors.post_languages import language_key
from actors.post_marks import Mark
from cluster.ids import Ids
from timeline.candidates import REPLY_TO, ROOT, Candidates, Mask
from timeline.feedback_fatigue import not_fatigued, not_reported
from timeline.filters import originals_of
from timeline.query import Query

_QUOTED, _REPOSTED = 1, 2
"""Columns of `Candidates.linked_author_ids`."""
SENSITIVE_LABELS = tuple(
    name
    for name in KNOWN_LABELS
    if name.startswith(("nsfw_", "gore")) or name == "reported_sensitive"
)
_SENSITIVE = label_bits(*SENSITIVE_LABELS)
NO_TOPICS = "no_topics"
"""The viewer's preference: 1 for no post by its topics, followed ones included."""
ONLY_LANGUAGES = "languages_only"
"""The viewer's preference: 1 for chosen languages everywhere, 0 for all languages."""


class LateFilter(NamedTuple):
    """A filter of ranked candidates."""

    name: str
    source: str
    meaning: str
    """What it drops."""
    settings: tuple[str, ...]
    keep: Callable[[Query, Candidates], Mask]


def late_filters(source_names: Sequence[str] = ()) -> tuple[LateFilter, ...]:
    """All of them, in order; `source_names` are the product's, as it numbers them."""
    return (
        LateFilter(
            "stale",
            "own: no source looks further back",
            "posts beyond every window, and versions that an edit replaced",
            ("windows.following_ms",),
            not_stale,
        ),
        LateFilter(
            "exclusive_replies",
            "§ global filters",
            "replies in conversations for subscribers only",
            (),
            not_exclusive_reply,
        ),
        LateFilter(
            "subscription",
            "§ For You filters",
            "posts for subscribers of creators to whom the viewer does not subscribe",
            (),
            subscribed,
        ),
        LateFilter(
            "feedback_fatigue",
            "§ global filters, where they never fire",
            "posts whose author, reposter or every liker the viewer lately wanted less of",
            ("heuristics.fatigue.block_days",),
            not_fatigued,
        ),
        LateFilter(
            "reported",
            "own",
            "posts by authors of whom the viewer lately reported one",
            ("windows.negative_ms",),
            not_reported,
        ),
        LateFilter(
            "social_context",
            "§ post-scoring filters, For You filters",
            "out of network: what no second degree, no followed or proven topic, no conversation"
            " and no source of its own explains",
            ("heuristics.filters.own_proof_sources", "heuristics.filters.verified_need_no_proof"),
            partial(has_social_context, tuple(source_names)),
        ),
        LateFilter(
            "competitors",
            "§ post-scoring filters",
            "out of network: posts by these authors",
            ("heuristics.filters.competitor_author_ids",),
            not_competitor,
        ),
        LateFilter(
            "competitors_linked",
            "§ post-scoring filters, by authors in place of URLs",
            "out of network: quotes and reposts of these authors",
            ("heuristics.filters.competitor_linked_ids",),
            not_competitor_linked,
        ),
        LateFilter(
            "duplicate_conversation",
            "§ post-scoring filters",
            "posts that a reply among the candidates answers or began with, and reposts of them",
            (),
            not_ancestor,
        ),
        LateFilter(
            "support_replies",
            "§ post-scoring filters, as meant: there any quick reply is dropped",
            "quick replies by support accounts",
            (
                *("heuristics.filters.support_author_ids", "heuristics.filters.support_label"),
                "heuristics.filters.support_reply_ms",
            ),
            not_support_reply,
        ),
        LateFilter(
            "sensitive_out_of_network",
            "§ For You filters; there for every viewer",
            "out of network: sensitive posts, unless the viewer allows them",
            (),
            not_sensitive_stranger,
        ),
        LateFilter(
            "muted_topics", "own", "posts on a topic that the viewer muted", (), not_muted_topic
        ),
        LateFilter(
            "languages",
            "own",
            "out of network (in network, too, with `languages_only`): posts in languages other than"
            " those the viewer chose; reposts by what they show",
            (),
            in_chosen_language,
        ),
    )


def not_stale(query: Query, candidates: Candidates) -> Mask:
    """Posts that some window still reaches, in their newest version."""
    windows = query.settings.windows
    longest_ms = max(
        *(windows.in_network_ms, windows.in_network_light_ms),
        *(windows.out_of_network_ms, windows.following_ms),
    )
    age_ms = query.now_ms - candidates.created_ms
    keep: Mask = (age_ms >= 0) & (age_ms <= longest_ms) & (candidates.newest_ids == 0)
    return keep


def not_exclusive_reply(query: Query, candidates: Candidates) -> Mask:
    """No replies for subscribers only, nor to such posts or below them; but the viewer's own."""
    exclusive = _has(candidates, Mark.EXCLUSIVE)
    inside = exclusive
    if exclusive.any():
        post_ids = np.sort(candidates.post_ids[exclusive])
        inside = inside | _in(post_ids, candidates.links[:, REPLY_TO])
        inside |= _in(post_ids, candidates.links[:, ROOT])
    return ~(candidates.is_reply & inside) | _own(query, candidates)


def subscribed(query: Query, candidates: Candidates) -> Mask:
    """Posts for subscribers only where the viewer is one, or wrote them."""
    exclusive = _has(candidates, Mark.EXCLUSIVE)
    is_repost = candidates.repost_of_ids > 0
    creators = np.where(
        is_repost, candidates.linked_author_ids[:, _REPOSTED], candidates.author_ids
    )
    subscribes = _in(query.state.subscriptions, creators) | (creators == query.viewer_id)
    keep: Mask = ~exclusive | subscribes
    return keep


def has_social_context(
    source_names: tuple[str, ...],
    query: Query,
    candidates: Candidates,
    *,
    in_module: Mask | None = None,
    followed_by: Mask | None = None,
    on_topic: Mask | None = None,
) -> Mask:
    """Of strangers only what somebody or something the viewer follows leads to.

    That is a public engagement by those whom the viewer follows, a source that is a reason of
    its own, a followed topic, being a reply (as when posts are ranked; where `in_module` (n,)
    is given only what stands in a conversation, as when the page is made), and, where it is
    known, an author whom those follow whom the viewer follows: `followed_by` (n,), or a topic
    that may be named: `on_topic` (n,).
    """
    settings = query.settings.heuristics.filters
    own_proof = sum(
        1 << number
        for number, name in enumerate(source_names)
        if name in settings.own_proof_sources
    )
    keep = ~_out_of_network(candidates)
    keep |= (candidates.sources & np.uint32(own_proof)) > 0
    keep |= (candidates.proof_ids > 0).any(axis=1) | (candidates.feature("proof_weight") > 0)
    keep |= candidates.is_reply if in_module is None else in_module
    if not query.state.preferences.get(NO_TOPICS):
        keep |= _in(query.state.followed_topics, candidates.topic_ids)
    if settings.verified_need_no_proof:
        keep |= _has(candidates, Mark.AUTHOR_VERIFIED)
    for known in (followed_by, on_topic):
        if known is not None:
            keep |= known
    return keep


def not_competitor(query: Query, candidates: Candidates) -> Mask:
    """Nothing that these authors wrote themselves, out of network."""
    settings = query.settings.heuristics.filters
    wrote = _among(settings.competitor_author_ids, candidates.author_ids)
    keep: Mask = ~(wrote & _out_of_network(candidates) & (candidates.repost_of_ids == 0))
    return keep


def not_competitor_linked(query: Query, candidates: Candidates) -> Mask:
    """No quotes and reposts of these authors, out of network."""
    linked = candidates.linked_author_ids[:, [_QUOTED, _REPOSTED]].reshape(-1)
    shown = _among(query.settings.heuristics.filters.competitor_linked_ids, linked)
    keep: Mask = ~(shown.reshape(-1, 2).any(axis=1) & _out_of_network(candidates))
    return keep


def not_ancestor(query: Query, candidates: Candidates) -> Mask:
    """No post that comes with a reply to it, or below it, nor a repost of such a post."""
    replies = candidates.links[:, REPLY_TO] > 0
    ancestors = candidates.links[replies][:, [REPLY_TO, ROOT]]
    # A post is no ancestor of itself, whatever its event said.
    others = (ancestors != candidates.post_ids[replies][:, None]) & (ancestors > 0)
    return ~_in(np.unique(ancestors[others]), originals_of(candidates))


def not_support_reply(
    query: Query, candidates: Candidates, replied_to_ms: Ids | None = None
) -> Mask:
    """No replies by support accounts soon after what they reply to.

    `replied_to_ms` (n,) says when that was created, 0 where nobody knows, which counts as soon;
    where it is not given, what is replied to is looked for among the candidates.
    """
    settings = query.settings.heuristics.filters
    by_support = _among(settings.support_author_ids, candidates.author_ids)
    if settings.support_label in KNOWN_LABELS:
        by_support |= (candidates.labels[:, 1] & label_bits(settings.support_label)) > 0
    rows = np.flatnonzero(by_support & candidates.is_reply)
    keep = np.ones(len(candidates), bool)
    if len(rows):
        if replied_to_ms is None:
            before_ms = _created_ms(candidates, candidates.links[rows, REPLY_TO])
        else:
            before_ms = replied_to_ms[rows]
        after_ms = candidates.created_ms[rows] - before_ms
        keep[rows] = (before_ms > 0) & (after_ms >= settings.support_reply_ms)
    return keep


def not_sensitive_stranger(query: Query, candidates: Candidates) -> Mask:
    """Nothing sensitive out of network, by its author's word or by a label of post or author.

    Viewers may allow it, to whom visibility then applies its rules of age.
    """
    if query.state.allow_sensitive:
        return np.ones(len(candidates), bool)
    labelled = ((candidates.labels & _SENSITIVE) > 0).any(axis=1)
    sensitive = labelled | _has(candidates, Mark.SENSITIVE)
    keep: Mask = ~(sensitive & _out_of_network(candidates))
    return keep


def not_muted_topic(query: Query, candidates: Candidates) -> Mask:
    """No post whose topic the viewer muted, in and out of network."""
    return ~_in(query.state.muted_topics, candidates.topic_ids)


def in_chosen_language(query: Query, candidates: Candidates, languages: Ids | None = None) -> Mask:
    """Posts in languages that the viewer chose, where any were chosen, and in no known one.

    Out of network; with the preference `ONLY_LANGUAGES` in network, too, and nowhere where
    that says no. `languages` (n,) are those to judge by, else the candidates' own.
    """
    only = query.state.preferences.get(ONLY_LANGUAGES)
    keep = _in_languages(query, candidates, languages)
    if only is None:
        keep |= ~_out_of_network(candidates)
    return keep


def in_languages_only(query: Query, candidates: Candidates, languages: Ids | None = None) -> Mask:
    """The same of what the viewer asked for, as timelines ordered by time are: the viewer's
    languages count only with the preference `ONLY_LANGUAGES`."""
    if not query.state.preferences.get(ONLY_LANGUAGES):
        return np.ones(len(candidates), bool)
    return _in_languages(query, candidates, languages) | _own(query, candidates)


def _in_languages(query: Query, candidates: Candidates, languages: Ids | None) -> Mask:
    chosen = query.state.languages
    if not chosen or query.state.preferences.get(ONLY_LANGUAGES) == 0:
        return np.ones(len(candidates), bool)
    # What names no language is in a language that nobody knows.
    wanted = np.unique([0, *map(language_key, chosen)])
    return _in(wanted, candidates.languages if languages is None else languages)


def _out_of_network(candidates: Candidates) -> Mask:
    return candidates.feature("is_followed") <= 0


def _own(query: Query, candidates: Candidates) -> Mask:
    own: Mask = candidates.author_ids == query.viewer_id
    return own


def _has(candidates: Candidates, mark: Mark) -> Mask:
    marked: Mask = (candidates.marks & np.uint16(mark)) > 0
    return marked


def _created_ms(candidates: Candidates, post_ids: Ids) -> Ids:
    """When posts (k,) were created that may be among the candidates; 0 for the others."""
    order = np.argsort(candidates.post_ids)
    at = positions_in(candidates.post_ids[order], post_ids)
    return np.where(at >= 0, candidates.created_ms[order[at]], 0)


def _among(ids: Sequence[int], wanted: Ids) -> Mask:
    """Which of the wanted (n,) a setting names."""
    return _in(np.sort(np.array(ids, np.int64)), wanted)


def _in(sorted_ids: Ids, ids: Ids) -> Mask:
    found: Mask = positions_in(sorted_ids, ids) >= 0
    return found
