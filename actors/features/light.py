"""The features of the light ranker: what each is called, and how it is computed.

Serving and training call the same functions, so they cannot disagree. The features follow
Earlybird's in-network and out-of-network models as far as the events carry them.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from actors.features.text import STATISTICS
from actors.stores.kernels import kernel
from actors.stores.posts import COUNTERS
from actors.stores.recent_counts import DECAYED, READ_PARTS, faded, fading
from cluster.events import Kind
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]

COUNTED = (
    *(Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE, Kind.BOOKMARK, Kind.SHARE),
    *(Kind.CLICK, Kind.DWELL, Kind.VIDEO_WATCH, Kind.LINK_OPEN, Kind.PHOTO_EXPAND),
    *(Kind.SHOW_LESS, Kind.NOT_INTERESTED, Kind.REPORT, Kind.IMPRESSION),
)
"""Counters that are features; each enters as ln(1 + count)."""

LABELS = ("nsfw", "abusive", "spam")
"""Sorts of safety labels, in the order of a post's strengths."""

POST_FEATURES = (
    "age_hours",
    "hours_since_engagement",
    *(f"{kind.label}s" for kind in COUNTED),
    *(f"recent_{kind.label}s" for kind in DECAYED),
    "engagements_per_hour",
    "favourites_per_impression",
    *("is_reply", "is_quote", "is_repost", "has_image", "has_video", "has_link", "is_sensitive"),
    *STATISTICS,
    *(f"labelled_{name}" for name in LABELS),
    *("same_language", "language_match"),
    *("author_followers", "author_verified", "author_known"),
    *("author_reputation", "author_same_language"),
)
"""Known to the shard that holds the post. Decayed counts enter as ln(1 + count), too; a
reputation is Tweepcred's (0–100), 0 where there is none."""

VIEWER_FEATURES = ("author_affinity", "is_followed", "is_self", "author_real_graph")
"""Known from the viewer's context and tastes; the last is what the original's requests call
the author-specific score: Real Graph's probability, 0 where there is none."""

PROOF_FEATURES = ("proof_weight", "favourite_proofs", "repost_proofs", "reply_proofs")
"""Known from the traversal of the interaction graph."""

FEATURES = (*POST_FEATURES, *VIEWER_FEATURES, *PROOF_FEATURES)


class PostFacts(NamedTuple):
    """Columns of a post table, each over all of its rows."""

    created_ms: Ids
    last_engaged_ms: Ids
    counts: npt.NDArray[np.int32]
    """Of shape (rows, len(COUNTERS))."""
    reply_to_id: Ids
    quote_of_id: Ids
    repost_of_id: Ids
    image_count: npt.NDArray[np.int16]
    video_duration_ms: Ids
    link_count: npt.NDArray[np.int16]
    sensitive: npt.NDArray[np.bool_]
    language: npt.NDArray[np.int16]
    statistics: Floats
    """Of shape (rows, len(STATISTICS))."""
    decayed: npt.NDArray[np.float64]
    """Of shape (rows, len(DECAYED)), as of `decayed_at`; see `actors.stores.recent_counts`."""
    decayed_at: npt.NDArray[np.int32]
    labels: npt.NDArray[np.uint8]
    """Of shape (rows, len(LABELS)): 255 for a label of value 1."""


class AuthorFacts(NamedTuple):
    """What is known of the authors of n posts; of shape (n,)."""

    followers: npt.NDArray[np.int32]
    verified: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]
    reputations: Floats
    same_language: npt.NDArray[np.bool_]
    """The author reads the viewer's language."""


class Languages(NamedTuple):
    """What the viewer reads, in the codes of the posts' languages."""

    read: int
    """0 where that is unknown, −1 for a language that no post has."""
    english: int
    reads_english: bool


def post_features(
    facts: PostFacts, rows: Ids, authors: AuthorFacts, languages: Languages, now_ms: int
) -> Floats:
    """Features of the posts in `rows` (n,) as of `now_ms`, of shape (n, len(POST_FEATURES)).

    `authors` are those of the rows.
    """
    values = np.empty((len(rows), len(POST_FEATURES)), np.float32)
    _post_features(facts, rows, authors, languages, now_ms, _COUNTER_OF_FEATURE, values)
    return values


ENGLISH_POST, READS_ENGLISH, OTHER_LANGUAGE = 0.7, 0.3, 0.1
"""Earlybird's factors for a post in another language than the viewer's: when the post is in
English, when the viewer reads English, and otherwise."""
_FIRST_RECENT = POST_FEATURES.index(f"recent_{DECAYED[0].label}s")
_LABELS = POST_FEATURES.index(f"labelled_{LABELS[0]}")
_FIRST_COUNT = POST_FEATURES.index(f"{COUNTED[0].label}s")
_RATES = POST_FEATURES.index("engagements_per_hour")
_FLAGS = POST_FEATURES.index("is_reply")
_STATISTICS = POST_FEATURES.index(STATISTICS[0])
_AUTHOR = POST_FEATURES.index("same_language")
_COUNTER_OF_FEATURE = np.array([COUNTERS.index(kind) for kind in COUNTED])
_FAVOURITES, _IMPRESSIONS = COUNTED.index(Kind.FAVOURITE), COUNTED.index(Kind.IMPRESSION)
_HOUR_MS = 3.6e6
_LOG1P = np.log1p(np.arange(1024)).astype(np.float32)
"""Most counts are small, and a logarithm costs as much as all else of a feature."""


_LOG1P_OF_PARTS = np.log1p(np.arange(2048) / READ_PARTS).astype(np.float32)


@kernel
def _post_features(
    facts: PostFacts,
    rows: Ids,
    authors: AuthorFacts,
    languages: Languages,
    now_ms: int,
    counters: Ids,
    values: Floats,
) -> None:
    halves, rest = fading(now_ms)
    for i in range(len(rows)):
        row = rows[i]
        out = values[i]
        created_ms, engaged_ms = facts.created_ms[row], facts.last_engaged_ms[row]
        age_hours = max(now_ms - created_ms, 0) / _HOUR_MS
        out[0] = age_hours
        out[1] = max(now_ms - (engaged_ms if engaged_ms > 0 else created_ms), 0) / _HOUR_MS
        total = 0
        for j in range(len(counters)):
            count = max(facts.counts[row, counters[j]], 0)
            out[_FIRST_COUNT + j] = _LOG1P[count] if count < len(_LOG1P) else math.log1p(count)
            total += count
        scale = faded(facts.decayed_at[row], halves, rest)
        for j in range(facts.decayed.shape[1]):
            parts = int(max(facts.decayed[row, j] * scale, 0.0) + 0.5)
            small = parts < len(_LOG1P_OF_PARTS)
            out[_FIRST_RECENT + j] = (
                _LOG1P_OF_PARTS[parts] if small else math.log1p(parts / READ_PARTS)
            )
        favourites = max(facts.counts[row, counters[_FAVOURITES]], 0)
        impressions = max(facts.counts[row, counters[_IMPRESSIONS]], 0)
        out[_RATES] = math.log1p((total - impressions) / (age_hours + 1.0))
        out[_RATES + 1] = (favourites + 0.2) / (impressions + 10.0)
        out[_FLAGS] = facts.reply_to_id[row] > 0
        out[_FLAGS + 1] = facts.quote_of_id[row] > 0
        out[_FLAGS + 2] = facts.repost_of_id[row] > 0
        out[_FLAGS + 3] = facts.image_count[row] > 0
        out[_FLAGS + 4] = facts.video_duration_ms[row] > 0
        out[_FLAGS + 5] = facts.link_count[row] > 0
        out[_FLAGS + 6] = facts.sensitive[row]
        for j in range(facts.statistics.shape[1]):
            out[_STATISTICS + j] = facts.statistics[row, j]
        for j in range(facts.labels.shape[1]):
            out[_LABELS + j] = facts.labels[row, j] / 255.0
        language = facts.language[row]
        same = language > 0 and language == languages.read
        out[_AUTHOR] = same
        if same or language <= 0 or languages.read == 0:
            out[_AUTHOR + 1] = 1.0
        elif language == languages.english:
            out[_AUTHOR + 1] = ENGLISH_POST
        else:
            out[_AUTHOR + 1] = READS_ENGLISH if languages.reads_english else OTHER_LANGUAGE
        out[_AUTHOR + 2] = math.log1p(max(authors.followers[i], 0))
        out[_AUTHOR + 3] = authors.verified[i]
        out[_AUTHOR + 4] = authors.known[i]
        out[_AUTHOR + 5] = authors.reputations[i]
        out[_AUTHOR + 6] = authors.same_language[i]


_NO_IDS, _NO_SCORES = np.empty(0, np.int64), np.empty(0, np.float32)


def viewer_features(
    author_ids: Ids,
    viewer_id: int,
    follows: Ids,
    affine_ids: Ids,
    affinities: Floats,
    scored_ids: Ids = _NO_IDS,
    scores: Floats = _NO_SCORES,
) -> Floats:
    """Features of the tie between viewer and authors, of shape (n, len(VIEWER_FEATURES)).

    `affine_ids` (sorted) and `affinities` (n,) are the viewer's decayed engagement with
    authors, `scored_ids` (sorted) and `scores` Real Graph's; `follows` is sorted.
    """
    values = np.zeros((len(author_ids), len(VIEWER_FEATURES)), np.float32)
    at = positions_in(affine_ids, author_ids)
    known = at >= 0
    values[known, 0] = np.log1p(affinities[at[known]])
    values[:, 1] = positions_in(follows, author_ids) >= 0
    values[:, 2] = author_ids == viewer_id
    at = positions_in(scored_ids, author_ids)
    known = at >= 0
    values[known, 3] = scores[at[known]]
    return values


def positions_in(sorted_ids: Ids, wanted: Ids) -> npt.NDArray[np.int64]:
    """Where each wanted id stands in a sorted array; −1 where it does not."""
    if not len(sorted_ids):
        return np.full(len(wanted), -1, np.int64)
    at = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
    return np.where(sorted_ids[at] == wanted, at, -1)
