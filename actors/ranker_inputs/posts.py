"""Inputs of posts: what they hold, how they fare, and how near they are to the viewer's tastes."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.aggregate_records import code_key
from actors.features.families import Family, Place, flag, number
from actors.features.inputs import Level
from actors.features.pair_scores import PAIR_SCORES, dense_pair_scores
from actors.features.text import STATISTICS
from actors.likeness import matrix_of, table_of
from actors.ranker_inputs.aggregates import Keys
from actors.ranker_inputs.asking import Asking
from actors.ranker_inputs.authors import ids_of_words, one_to_many
from actors.ranker_inputs.viewer import Person
from actors.state import ShardState
from actors.stores.posts import COUNTERS
from actors.stores.recent_counts import DECAYED, HALF_LIFE_MS
from actors.topic_questions import topics_of
from actors.topic_social_proof import HOME_TOPICS
from cluster.events import Kind
from cluster.ids import Ids
from cluster.settings import HOUR_MS

Floats = npt.NDArray[np.float32]

_LONG_TEXT, _LONG_VIDEO_MS = 140, 60_000
_RATED = tuple(kind for kind in COUNTERS if kind is not Kind.IMPRESSION)
_SMOOTHING, _PRIOR = 0.2, 10.0
"""A rate is (engagements + 0.2) / (impressions + 10), as the light ranker's."""
CONTENT = Family(
    "content",
    "tweet content",
    Level.POST,
    Place.POSTS,
    (
        *(
            number(f"post.{name}", f"{name.replace('_', ' ')} of the text", laptop=laptop)
            for name, laptop in zip(STATISTICS, (True, True, False, False, False), strict=True)
        ),
        number("post.images", "images", laptop=True),
        number("post.video_seconds", "length of the video", laptop=True),
        number("post.links", "links"),
        number("post.age_hours", "hours since it was written", laptop=True),
        number("post.hours_since_engagement", "hours since the last engagement with it"),
        *(number(f"post.{kind.label}.count", f"{kind.label} events so far") for kind in COUNTERS),
        *(
            number(
                f"post.{kind.label}.rate",
                f"{kind.label} events by impression, smoothed",
                laptop=kind in (Kind.FAVOURITE, Kind.REPLY, Kind.CLICK),
            )
            for kind in _RATED
        ),
        *(
            number(f"post.{kind.label}.hourly", f"{kind.label} events by hour of age")
            for kind in COUNTERS
        ),
        *(
            number(f"post.{kind.label}.decayed", f"{kind.label} events, half-life one hour")
            for kind in DECAYED
        ),
        flag("post.reply", "is a reply", laptop=True),
        flag("post.quote", "quotes a post", laptop=True),
        flag("post.repost", "is a repost"),
        flag("post.thread", "replies to a post of its own author", laptop=True),
        flag("post.to_viewer", "replies to a post of the viewer", laptop=True),
        flag("post.of_root", "replies to what began the conversation"),
        flag("post.image", "has an image", laptop=True),
        flag("post.several_images", "has more than one image"),
        flag("post.video", "has a video", laptop=True),
        flag("post.long_video", "has a video of more than a minute"),
        flag("post.link", "has a link", laptop=True),
        flag("post.hashtag", "has a hashtag"),
        flag("post.mention", "mentions somebody"),
        flag("post.long_text", "has a text of more than 140 bytes"),
        flag("post.sensitive", "marked as sensitive", laptop=True),
        flag("post.edited", "is a later version of a post"),
        flag("post.has_topic", "names a topic", laptop=True),
        flag("post.same_language", "is in the viewer's language", laptop=True),
    ),
)
LIKENESS = Family(
    "post_likeness",
    "recommendation scores",
    Level.POST,
    Place.POSTS,
    (
        *(
            number(
                f"simclusters.viewer_post.{name}",
                f"{name} of the viewer's interests and the post's communities",
                laptop=name in ("cosine", "dot"),
            )
            for name in PAIR_SCORES
        ),
        *(
            number(
                f"twhin.{table}_post.{name}",
                f"{name} of the viewer's {table} vector and the post's vector",
                laptop=table == "engagement" and name == "cosine",
            )
            for table in ("follow", "engagement")
            for name in ("dot", "cosine")
        ),
        number("simclusters.post_communities", "communities that the post has", laptop=True),
        *(
            number(f"topic_proof.{nth}", f"score of the {nth} of the post's topics that are proven")
            for nth in ("best", "second", "third")
        ),
    ),
)


class Facts(NamedTuple):
    """What is known of n posts beside their inputs; 0 where there is none."""

    topic_ids: Ids
    reply_to_ids: Ids
    quote_of_ids: Ids
    repost_of_ids: Ids
    reply_to_author_ids: Ids
    quote_of_author_ids: Ids
    repost_of_author_ids: Ids


LINKED = ("reply_to", "quote_of", "repost_of")


def rows_of(state: ShardState, post_ids: Ids) -> npt.NDArray[np.int64]:
    """Rows of posts in the shard's table, replaced ones by their newest versions; −1 unknown."""
    table = state.posts.table
    rows = table.newest_versions(table.rows_of(post_ids))
    known = np.flatnonzero(rows >= 0)
    rows[known[table["created_ms"][rows[known]] == 0]] = -1
    return rows


def facts(state: ShardState, rows: npt.NDArray[np.int64]) -> Facts:
    """Topics and links of rows (n,), all of them known."""
    table = state.posts.table
    names = [f"{name}_{end}" for end in ("id", "author_id") for name in LINKED]
    return Facts(table["topic_id"][rows], *(table[name][rows] for name in names))


def content(
    state: ShardState, asking: Asking, person: Person, rows: npt.NDArray[np.int64]
) -> Floats:
    """The block of `CONTENT` for rows (n,), all of them known."""
    table, now_ms = state.posts.table, asking.now_ms
    created_ms, engaged_ms = table["created_ms"][rows], table["last_engaged_ms"][rows]
    age_hours = np.maximum(now_ms - created_ms, 0) / HOUR_MS
    since_ms = now_ms - np.where(engaged_ms > 0, engaged_ms, created_ms)
    counts = np.maximum(table["counts"].take(rows, 0), 0).astype(np.float64)
    shown = counts[:, COUNTERS.index(Kind.IMPRESSION)]
    rated = counts[:, [COUNTERS.index(kind) for kind in _RATED]]
    halves = now_ms / HALF_LIFE_MS - table["decayed_at"][rows]
    left = np.exp2(-np.minimum(halves, 1_000))[:, None]
    decayed = np.maximum(table["decayed"].take(rows, 0), 0) * left
    statistics = table["statistics"].take(rows, 0)
    images, video_ms = table["image_count"][rows], table["video_duration_ms"][rows]
    links = table["link_count"][rows]
    replies, authors = table["reply_to_id"][rows], table["author_ids"][rows]
    answered = table["reply_to_author_id"][rows]
    language = table.languages.find(person.language) if person.language else -1
    is_reply = replies > 0
    length, _, hashtags, mentions, _ = statistics.T
    columns = (
        *(statistics, images, video_ms / 1_000, links),
        *(age_hours, np.maximum(since_ms, 0) / HOUR_MS, counts),
        *((rated + _SMOOTHING) / (shown + _PRIOR)[:, None], counts / (age_hours + 1)[:, None]),
        *(decayed, is_reply, table["quote_of_id"][rows] > 0, table["repost_of_id"][rows] > 0),
        *(is_reply & (answered == authors), is_reply & (answered == asking.viewer_id)),
        is_reply & (table["root_id"][rows] == replies),
        *(images > 0, images > 1, video_ms > 0, video_ms > _LONG_VIDEO_MS, links > 0),
        *(hashtags > 0, mentions > 0, length > _LONG_TEXT),
        *(table["sensitive"][rows], table["edit_of_id"][rows] > 0, table["topic_id"][rows] > 0),
        table["language"][rows] == language,
    )
    return np.column_stack(columns).astype(np.float32)


def likeness(state: ShardState, asking: Asking, rows: npt.NDArray[np.int64]) -> Floats:
    """The block of `LIKENESS` for rows (n,), all of them known."""
    values = np.zeros((len(rows), len(LIKENESS.columns)), np.float32)
    models = asking.vector_models(state)
    if models is None or not len(rows):
        return values
    post_ids = state.posts.table["post_ids"][rows]
    embedded = state.vectors.embeddings(models.version, post_ids, asking.now_ms)
    viewer = matrix_of(models, "interested_in")
    mine = viewer.take(viewer.rows_of(asking.viewer))
    n = len(PAIR_SCORES)
    values[:, :n] = one_to_many(mine, embedded, np.arange(len(rows)))
    vectors, _ = state.vectors.vectors(models.version, post_ids, asking.now_ms)
    for at, name in ((n, "user_follow"), (n + 2, "user_engagement")):
        own, has = table_of(models, name).of(asking.viewer)
        if has[0] and own.shape[1] == vectors.shape[1]:
            values[:, at : at + 2] = dense_pair_scores(own, vectors)
    values[:, n + 4] = np.diff(embedded.offsets)
    if asking.selection == "twitter":
        _, values[:, n + 5 :] = topics_of(state, models, rows, embedded).padded(HOME_TOPICS)
    return values


def codes(state: ShardState, rows: npt.NDArray[np.int64]) -> Ids:
    """Topic and language, as discrete inputs (n, 2)."""
    table = state.posts.table
    languages = ids_of_words(table.languages, table["language"][rows])
    return np.column_stack([table["topic_id"][rows], languages])


def keys(state: ShardState, asking: Asking, person: Person, rows: npt.NDArray[np.int64]) -> Keys:
    """Keys of aggregates of rows (n,), all of them known; 0 where there is none."""
    table, n = state.posts.table, len(rows)
    reposted, quoted = (table[f"{name}_of_author_id"][rows] for name in ("repost", "quote"))
    found, at = np.unique(table["language"][rows], return_inverse=True)
    words = [table.languages.word(code) for code in found.tolist()]
    return {
        "viewer_id": np.full(n, asking.viewer_id, np.int64),
        "post_id": table["post_ids"][rows],
        "author_id": table["author_ids"][rows],
        "topics": table["topic_id"][rows],
        "original_author_id": np.where(reposted > 0, reposted, quoted),
        "language": np.array([code_key(word or "") for word in words], np.int64)[at],
        "country": np.full(n, code_key(person.country), np.int64),
    }
