"""The features of the light ranker: what each is called, and how it is computed.

Serving and training call the same functions, so they cannot disagree. The features follow
Earlybird's in-network and out-of-network models as far as the events carry them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.features.text import STATISTICS
from actors.stores.columns import Array
from cluster.events import Kind
from cluster.ids import Ids

Floats = npt.NDArray[np.float32]

COUNTED = (
    *(Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE, Kind.BOOKMARK, Kind.SHARE),
    *(Kind.CLICK, Kind.DWELL, Kind.VIDEO_WATCH, Kind.LINK_OPEN, Kind.PHOTO_EXPAND),
    *(Kind.SHOW_LESS, Kind.NOT_INTERESTED, Kind.REPORT, Kind.IMPRESSION),
)
"""Counters that are features; each enters as ln(1 + count)."""

POST_FEATURES = (
    "age_hours",
    "hours_since_engagement",
    *(f"{kind.label}s" for kind in COUNTED),
    "engagements_per_hour",
    "favourites_per_impression",
    *("is_reply", "is_quote", "is_repost", "has_image", "has_video", "has_link", "is_sensitive"),
    *STATISTICS,
    "same_language",
    *("author_followers", "author_verified", "author_known"),
)
"""Known to the shard that holds the post."""

VIEWER_FEATURES = ("author_affinity", "is_followed", "is_self")
"""Known from the viewer's context."""

PROOF_FEATURES = ("proof_weight", "favourite_proofs", "repost_proofs", "reply_proofs")
"""Known from the traversal of the interaction graph."""

FEATURES = (*POST_FEATURES, *VIEWER_FEATURES, *PROOF_FEATURES)


@dataclass(frozen=True)
class PostFacts:
    """Columns of n posts from which `post_features` computes; all of shape (n,)."""

    created_ms: Ids
    last_engaged_ms: Ids
    counts: Mapping[Kind, npt.NDArray[np.int32]]
    flags: Mapping[str, npt.NDArray[np.bool_]]
    """`is_reply` … `is_sensitive`, `same_language`, `author_verified`, `author_known`."""
    statistics: Floats
    """Of shape (n, len(STATISTICS))."""
    author_followers: npt.NDArray[np.int32]


def post_features(facts: PostFacts, now_ms: int) -> Floats:
    """Features of posts as of `now_ms`, of shape (n, len(POST_FEATURES))."""
    n = len(facts.created_ms)
    values = np.zeros((n, len(POST_FEATURES)), np.float32)
    columns: dict[str, Array] = {name: values[:, i] for i, name in enumerate(POST_FEATURES)}
    age_hours = np.maximum(now_ms - facts.created_ms, 0) / 3.6e6
    columns["age_hours"][:] = age_hours
    engaged = np.where(facts.last_engaged_ms > 0, facts.last_engaged_ms, facts.created_ms)
    columns["hours_since_engagement"][:] = np.maximum(now_ms - engaged, 0) / 3.6e6
    total = np.zeros(n, np.float32)
    for kind in COUNTED:
        counts = np.maximum(facts.counts[kind], 0)
        columns[f"{kind.label}s"][:] = np.log1p(counts)
        if kind is not Kind.IMPRESSION:
            total += counts
    columns["engagements_per_hour"][:] = np.log1p(total / (age_hours + 1.0))
    favourites = np.maximum(facts.counts[Kind.FAVOURITE], 0)
    impressions = np.maximum(facts.counts[Kind.IMPRESSION], 0)
    columns["favourites_per_impression"][:] = (favourites + 0.2) / (impressions + 10.0)
    for name, flag in facts.flags.items():
        columns[name][:] = flag
    for i, name in enumerate(STATISTICS):
        columns[name][:] = facts.statistics[:, i]
    columns["author_followers"][:] = np.log1p(np.maximum(facts.author_followers, 0))
    return values


def viewer_features(
    author_ids: Ids, viewer_id: int, follows: Ids, affine_ids: Ids, affinities: Floats
) -> Floats:
    """Features of the tie between viewer and authors, of shape (n, len(VIEWER_FEATURES)).

    `affine_ids` (sorted) and `affinities` (n,) are the viewer's decayed engagement with
    authors; `follows` is sorted.
    """
    values = np.zeros((len(author_ids), len(VIEWER_FEATURES)), np.float32)
    at = positions_in(affine_ids, author_ids)
    known = at >= 0
    values[known, 0] = np.log1p(affinities[at[known]])
    values[:, 1] = positions_in(follows, author_ids) >= 0
    values[:, 2] = author_ids == viewer_id
    return values


def positions_in(sorted_ids: Ids, wanted: Ids) -> npt.NDArray[np.int64]:
    """Where each wanted id stands in a sorted array; −1 where it does not."""
    if not len(sorted_ids):
        return np.full(len(wanted), -1, np.int64)
    at = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
    return np.where(sorted_ids[at] == wanted, at, -1)
