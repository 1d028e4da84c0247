"""Which edges co-engagement reads, and how what it counted becomes scores.

The user-tweet graph's edges are favourites and reposts that stand, the user-video graph's are
watches of at least half of the video (`actors.watch_levels`).
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

from actors.graph import PUBLIC_CODES, GraphKind
from actors.posts import PostsKind
from actors.stores.interactions import InteractionGraph
from actors.stores.posts import COUNTERS, PostTable
from actors.stores.standing import NO_KIND, Standing, standing_of_posts, standing_of_users
from actors.watch_levels import N_LEVELS, half_levels
from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids

GraphName = Literal["engagements", "videos"]
Int64s = npt.NDArray[np.int64]
Float64s = npt.NDArray[np.float64]

EDGES_PER_POST = 2_000
"""Newest edges of one post that are looked at for its users, whatever their kind."""
_COUNTED = (Kind.FAVOURITE, Kind.REPOST)
_COUNTED_MASK = sum(1 << PUBLIC_CODES[kind] for kind in _COUNTED)
_COUNTERS = [COUNTERS.index(kind) for kind in _COUNTED]
_UNDO_OF = np.full(16, NO_KIND, np.uint8)
for _undo, _kind in UNDONE_BY.items():
    if _kind in _COUNTED:
        _UNDO_OF[PUBLIC_CODES[_undo]] = PUBLIC_CODES[_kind]
_NO_UNDO = np.full(16, NO_KIND, np.uint8)
_EVERY_LEVEL = (1 << N_LEVELS) - 1


class Normalisation(IntEnum):
    """How the users that two posts share become their similarity (GraphJet's intersection)."""

    COSINE = 0
    JACCARD = 1
    OVERLAP = 2
    INVERSE_DEGREE = 3
    SCALED = 4
    LOG_COSINE = 5
    """The user-tweet graph's own: users / (ln deg(post) · ln deg(query))."""


WEIGHT_ONE = 1 << 32
"""What a user's weight of 1 counts: sums of whole numbers do not depend on their order."""


@dataclass(frozen=True, slots=True)
class EdgeReader:
    """One of the graphs of a shard, read as co-engagement does."""

    graph: InteractionGraph
    posts: PostsKind | None
    videos: bool

    @property
    def n_levels(self) -> int:
        """How many levels an engagement may have; see `CoCounts.counts`."""
        return N_LEVELS if self.videos else 1

    def of_users(self, user_ids: Ids, since_ms: int, limit: int) -> tuple[Standing, Int64s]:
        """What users engaged with, and each one's number of engagements.

        Of a favourite and a repost of one post both count, of several watches one does.
        """
        kinds = _EVERY_LEVEL if self.videos else _COUNTED_MASK
        undo_of = _NO_UNDO if self.videos else _UNDO_OF
        found = standing_of_users(self.graph, user_ids, kinds, undo_of, since_ms, limit)
        return found, self._degrees(found)

    def of_posts(self, post_ids: Ids, since_ms: int) -> tuple[Standing, Int64s]:
        """Who engaged with posts of this shard, and each one's number of engagements since.

        Looks at the newest `EDGES_PER_POST` edges of a post; where there may be more, the
        number is what the post's counters say (user-tweet graph) or in proportion to all
        edges (user-video graph).
        """
        masks = np.full(len(post_ids), _COUNTED_MASK, np.int64)
        if self.videos:
            masks = _EVERY_LEVEL & ~((1 << self.half_levels(post_ids).astype(np.int64)) - 1)
        undo_of = _NO_UNDO if self.videos else _UNDO_OF
        found = standing_of_posts(self.graph, post_ids, masks, undo_of, since_ms, EDGES_PER_POST)
        degrees = self._degrees(found)
        cut = np.flatnonzero(found.n_read == EDGES_PER_POST)
        if len(cut) and self.videos:
            every = self.graph.post_degrees(post_ids[cut])
            degrees[cut] = degrees[cut] * every // EDGES_PER_POST
        elif len(cut):
            degrees[cut] = np.maximum(degrees[cut], self.counted(post_ids[cut]))
        return found, degrees

    def candidate_degrees(self, post_ids: Ids, since_ms: int) -> Int64s:
        """Engagements with posts no older than `since_ms`, (n,); 0 for others and deleted ones.

        For the user-tweet graph these are the post's counters, which hold for all its life:
        of posts younger than the window just the engagements within it.
        """
        degrees = self.of_posts(post_ids, since_ms)[1] if self.videos else self.counted(post_ids)
        table = self._table
        rows = table.rows_of(post_ids).astype(np.int64)
        young = rows >= 0
        young[young] = table["created_ms"][rows[young]] >= max(since_ms, 1)
        young[young] &= ~table["deleted"][rows[young]]
        return np.where(young, degrees, 0)

    def half_levels(self, post_ids: Ids) -> npt.NDArray[np.uint8]:
        """From which level on a watch of each post counts, uint8[n]; 0 where there are none."""
        durations_ms = np.zeros(len(post_ids), np.int64)
        if self.videos:
            rows = self._table.rows_of(post_ids)
            durations_ms[rows >= 0] = self._table["video_duration_ms"][rows[rows >= 0]]
        return half_levels(durations_ms)

    def counted(self, post_ids: Ids) -> Int64s:
        """Favourites and reposts less those taken back, by the posts' counters, (n,)."""
        rows = self._table.rows_of(post_ids)
        degrees = np.zeros(len(post_ids), np.int64)
        counts = self._table["counts"][rows[rows >= 0]]
        degrees[rows >= 0] = counts[:, _COUNTERS].sum(axis=1)
        return np.maximum(degrees, 0)

    @property
    def _table(self) -> PostTable:
        if self.posts is None:
            raise LookupError("this shard does not host the kind 'posts'")
        return self.posts.table

    def _degrees(self, found: Standing) -> Int64s:
        return np.diff(found.offsets) if self.videos else found.n_pairs


def user_weights(normalisation: Normalisation, degrees: Int64s) -> Int64s:
    """L(u) of users of these degrees in units of 1 / `WEIGHT_ONE`; 0 where it has no value."""
    weights = np.ones(len(degrees))
    some = degrees > 0
    if normalisation is Normalisation.INVERSE_DEGREE:
        weights = np.divide(1.0, degrees, out=np.zeros(len(degrees)), where=some)
    elif normalisation is Normalisation.SCALED:
        logs = np.log(degrees, out=np.zeros(len(degrees)), where=some)
        weights = np.divide(np.log(2), logs, out=np.zeros(len(degrees)), where=logs > 0)
    return np.rint(weights * WEIGHT_ONE).astype(np.int64)


def log_cosine(shared: Int64s, degrees: Int64s, prefactors: Float64s) -> Float64s:
    """P · shared / ln deg(c), all (n,); the user-tweet graph's score. 0 where deg(c) < 2."""
    logs = np.log(np.maximum(degrees, 1))
    return np.divide(prefactors * shared, logs, out=np.zeros(len(shared)), where=logs > 0)


def prefactors_of(query_degrees: Int64s, n_users: Int64s) -> Float64s:
    """P of each key, (k,): deg / ln deg / users, or 1000 / users for one without a post (0).

    0 where no user was kept, or the degree is 1.
    """
    logs = np.log(np.maximum(query_degrees, 1))
    tweet = np.divide(query_degrees, logs, out=np.zeros(len(logs)), where=logs > 0)
    base = np.where(query_degrees > 0, tweet, 1_000.0)
    return np.divide(base, n_users, out=np.zeros(len(logs)), where=n_users > 0)


def similarity(
    normalisation: Normalisation,
    shared: Int64s,
    weights: Int64s,
    degrees: Int64s,
    query_degrees: Int64s,
) -> Float64s:
    """How similar posts are to the posts they were found by, (n,); GraphJet's normalisations.

    `shared` users, their summed `weights` (as `user_weights` gave them) and both posts'
    degrees, (n,) each. As there, cosine leaves out the query's side, which does not order.
    A term that would be infinite counts as 0.
    """
    co, d, q = weights / WEIGHT_ONE, degrees.astype(np.float64), query_degrees.astype(np.float64)
    one = np.ones(len(co))
    match normalisation:
        case Normalisation.COSINE:
            below = np.sqrt(d)
        case Normalisation.JACCARD:
            below = d + q - shared
        case Normalisation.SCALED:
            below = np.sqrt(d) * np.sqrt(np.abs(d - q) + 1)
        case Normalisation.LOG_COSINE:
            below = np.log(np.maximum(d, 1)) * np.log(np.maximum(q, 1))
        case _:
            below = one
    return np.divide(co, below, out=np.zeros(len(co)), where=below > 0)


def reader(graph: GraphKind, posts: PostsKind | None, name: GraphName) -> EdgeReader:
    """One of the graphs by its name, which is that of the attribute of `GraphKind`."""
    return EdgeReader(getattr(graph, name), posts, name == "videos")
