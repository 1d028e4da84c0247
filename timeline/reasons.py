"""Why a post is shown, in words and in data."""

from dataclasses import dataclass

import numpy as np

from actors.graph import PUBLIC_CODES
from actors.signal_types import SignalType
from cluster.events import Kind
from cluster.ids import Ids
from timeline.candidates import ENGINES, Candidates
from timeline.late_filters import NO_TOPICS
from timeline.query import Query

_WORDS = {
    Kind.FAVOURITE: ("favourited_by", "favourited by"),
    Kind.REPOST: ("reposted_by", "reposted by"),
    Kind.REPLY: ("replied_to_by", "replied to by"),
    Kind.QUOTE: ("quoted_by", "quoted by"),
}
_KIND_OF_CODE = {PUBLIC_CODES[kind]: kind for kind in _WORDS}

_OF_SIGNAL = {
    SignalType.TWEET_FAVORITE_90D: "like post {0}, which you favourited",
    SignalType.RETWEET_90D: "like post {0}, which you reposted",
    SignalType.REPLY_90D: "like post {0}, to which you replied",
    SignalType.ORIGINAL_TWEET_90D: "like post {0}, which you wrote",
    SignalType.TWEET_SHARE: "like post {0}, which you shared",
    SignalType.GOOD_TWEET_CLICK_2S: "like post {0}, which you read",
    SignalType.VIDEO_QUALITY_VIEW_90D: "like post {0}, which you watched",
    SignalType.NOTIFICATION_OPEN: "like post {0}, which you opened",
    SignalType.ACCOUNT_FOLLOW: "like what user {0}, whom you follow, is known for",
    SignalType.REPEATED_PROFILE_VISIT_14D: "like what user {0}, whom you visited, is known for",
    SignalType.GOOD_PROFILE_CLICK_10S: "like what user {0}, whom you visited, is known for",
    SignalType.REAL_GRAPH_OON: "like what user {0}, close to you, is known for",
}
"""What led from something the viewer did to the post."""
_OF_ENGINE = {
    "interested_in": ("community", "liked in communities you are interested in"),
    "consumer_twhin": ("likeness", "near to what you engage with"),
}
_OF_SOURCE = {
    "follow_recommendations": ("recommended_author", "by an account you may want to follow"),
    "lists": ("list", "in a list of yours"),
    "popular_videos": ("popular", "a popular video"),
    "popular": ("popular", "popular at the moment"),
}


@dataclass(frozen=True)
class Reason:
    """One reason: its kind, the users it names, and a sentence for people."""

    kind: str
    user_ids: tuple[int, ...]
    text: str
    post_ids: tuple[int, ...] = ()
    topic_ids: tuple[int, ...] = ()


def reasons_of(
    query: Query, shown: Candidates, source_names: list[str], proven: Ids | None = None
) -> list[list[Reason]]:
    """The reasons of each candidate shown, the strongest first; never empty.

    `proven` (n, ·) are the topics that may be named, as `Linked.topic_ids`.
    """
    no_topics = query.state.preferences.get(NO_TOPICS)
    followed_topics = frozenset() if no_topics else frozenset(query.state.followed_topics.tolist())
    proven = np.zeros((len(shown), 0), np.int64) if proven is None else proven
    columns = zip(
        shown.author_ids.tolist(),
        (shown.feature("is_followed") > 0).tolist(),
        (shown.feature("author_affinity") > 0).tolist(),
        shown.sources.tolist(),
        shown.source.tolist(),
        shown.engines.tolist(),
        zip(shown.signals.tolist(), shown.signal_ids.tolist(), strict=True),
        shown.proof_ids.tolist(),
        shown.proof_kinds.tolist(),
        zip(shown.topic_ids.tolist(), proven.tolist(), strict=True),
        strict=True,
    )
    found: list[list[Reason]] = []
    for author, followed, affine, sources, source, engines, signal, users, kinds, topics in columns:
        mine: list[Reason] = []
        if author == query.viewer_id:
            mine.append(Reason("own_post", (author,), "you wrote it"))
        if followed:
            mine.append(Reason("followed_author", (author,), "you follow the author"))
        mine += _proof_reasons(users, kinds)
        mine += _signal_reasons(*signal)
        if not followed and author != query.viewer_id:
            mine += _topic_reasons(topics[0], topics[1], followed_topics)
        mine += [
            Reason(_OF_ENGINE[name][0], (), _OF_ENGINE[name][1])
            for number, name in enumerate(ENGINES)
            if engines >> number & 1 and name in _OF_ENGINE
        ]
        if affine and not followed:
            text = "you engaged with the author's posts before"
            mine.append(Reason("engaged_author", (author,), text))
        for number, name in enumerate(source_names):
            if sources >> number & 1 and name in _OF_SOURCE:
                mine.append(Reason(_OF_SOURCE[name][0], (), _OF_SOURCE[name][1]))
        by_source = Reason("candidate", (), f"found by {source_names[source]}")
        found.append(mine or [by_source])
    return found


def _signal_reasons(signal: int, signal_id: int) -> list[Reason]:
    words = _OF_SIGNAL.get(SignalType(signal)) if signal >= 0 else None
    if words is None:
        return []
    text = words.format(signal_id)
    if words.startswith("like post"):
        return [Reason("similar_post", (), text, (signal_id,))]
    return [Reason("similar_author", (signal_id,), text)]


def _topic_reasons(first: int, proven: list[int], followed: frozenset[int]) -> list[Reason]:
    """Of one post: topics that the viewer follows before those that are only proven."""
    mine = [topic for topic in dict.fromkeys([first, *proven]) if topic in followed]
    others = [topic for topic in proven if topic and topic not in followed]
    if not mine and not others:
        return []
    why = f"{mine[0]}, which you follow" if mine else f"{others[0]}, whose followers like it"
    return [Reason("topic", (), f"on topic {why}", topic_ids=(*mine, *others))]


def _proof_reasons(users: list[int], kinds: list[int]) -> list[Reason]:
    """The reasons of one post's proofs; users are 0 where there is no more proof."""
    if not any(users):
        return []
    by_kind: dict[int, list[int]] = {code: [] for code in _KIND_OF_CODE}
    for user, kind in zip(users, kinds, strict=True):
        if user and kind in by_kind:
            by_kind[kind].append(user)
    reasons = []
    for code, who in by_kind.items():
        if who:
            name, words = _WORDS[_KIND_OF_CODE[code]]
            others = f" and {len(who) - 2} more" if len(who) > 2 else ""
            people = " and ".join(str(user) for user in who[:2])
            text = f"{words} {people}{others}, whom you follow"
            reasons.append(Reason(name, tuple(who), text))
    return reasons
