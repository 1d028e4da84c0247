"""Real-time SimClusters embeddings of posts: what communities those who liked a post are of.

A favourite of post t by user u at time τ adds, for each community c that u is interested in,
u's weight in c to a sum of (t, c) that decays with a half-life of 8 hours. Read one way the
sums of a post are its embedding; read the other, the sums of a community are its best posts.
Follows the original's streaming job, without its flush every 30 seconds: an added favourite
is in the very next answer.

A favourite taken back takes back what it added. (The original only ever adds, and corrects
undone favourites in its offline indexes; a net sum is what both are after.) Sums of the same
favourites in another order agree to about 1e-15.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.columns import Array, Columns
from actors.stores.community_lists import (
    FIRST,
    HEADS,
    MEMBERS,
    POST,
    Float64s,
    Rows,
    place_entries,
)
from actors.stores.decay import decay, growth, halves_between, landmark_before
from actors.stores.id_map import Dense, IdMap, Ids
from actors.stores.kernels import writable
from actors.stores.moving import Move, finished, slices_of
from actors.stores.newest import newest_fitting
from actors.stores.post_entries import (
    add_to_entries,
    best_of_posts,
    entries_of_posts,
    link_entries,
)
from actors.stores.sparse_embeddings import SparseEmbeddings

HOUR_MS = 3_600_000
DELETED = -1
"""In place of a time of creation: the post is gone for good."""

_REBASE_AFTER = 512
_ENTRIES = {"links": (np.int32, 4), "values": np.float64, "counts": np.int32, "places": np.int32}
_MOVED_AT_ONCE = 50_000
_COUNTED_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class EmbeddingLimits:
    """Constants of the original's streaming job, and what one shard may hold."""

    half_life_ms: int = 8 * HOUR_MS
    max_age_ms: int = 72 * HOUR_MS
    """Older posts have no embedding, and are forgotten."""
    communities_per_post: int = 50
    min_post_score: float = 0.02
    """Entries of a post's embedding below this are left out."""
    posts_per_community: int = 1_600
    min_index_score: float = 0.001
    """Posts whose sum in a community is below this are not among its posts."""
    max_posts: int = 4_000_000
    """Not published: beyond these bounds the oldest posts are forgotten first."""
    max_entries: int = 40_000_000


@dataclass(frozen=True)
class CommunityIndex:
    """The best posts of every community at one instant, as views of a store's arrays.

    Valid until the store is written to. The posts of community c are the `sizes[c]` members
    from `starts[c]` on, unsorted: at least its `posts_per_community` best.
    """

    starts: Ids
    heads: Rows
    floors: Float64s
    posts: Rows
    """Row in `post_ids` of each member, int32."""
    values: Float64s
    """Score of each member once multiplied by `factor`."""
    created_ms: Ids
    """Of each member's post."""
    post_ids: Ids
    author_ids: Ids
    post_created_ms: Ids
    links: Rows
    """Of all entries, listed or not; see `community_lists`."""
    entry_values: Float64s
    factor: float
    min_score: float
    min_created_ms: int
    """Posts created earlier, though still listed, count as gone."""
    posts_per_community: int


class PostEmbeddings:
    """Embeddings of the posts of one shard, and the index of its posts by community.

    One thread writes, and not while others read. Favourites are summed from a post's first
    on, but nothing is answered of a post until its creation has been heard of.
    """

    def __init__(self, limits: EmbeddingLimits | None = None) -> None:
        self.limits = limits or EmbeddingLimits()
        self._row_of_post = IdMap()
        self._posts = Columns(
            {
                "post_ids": np.int64,
                "author_ids": np.int64,
                "created_ms": np.int64,
                "newest_ms": np.int64,
                "favourites": np.int32,
                "first": np.int32,
            }
        )
        self._entry_of_pair = IdMap()
        self._entries = Columns(_ENTRIES)
        self._communities = Columns(HEADS)
        self._members = Columns(MEMBERS)
        self._members.extend(1024)
        self._used_members = 0
        self._landmark_ms = 0
        self._move: Move[PostEmbeddings] | None = None

    def __len__(self) -> int:
        return len(self._posts)

    @property
    def n_entries(self) -> int:
        """Pairs of a post and a community that have a sum."""
        return len(self._entries)

    @property
    def memory_bytes(self) -> int:
        """Memory held by posts, sums, lists and maps."""
        columns = (self._posts, self._entries, self._communities, self._members)
        maps = (self._row_of_post, self._entry_of_pair)
        return sum(c.memory_bytes for c in columns) + sum(m.memory_bytes for m in maps)

    def create(self, post_ids: Ids, author_ids: Ids, times_ms: Ids) -> None:
        """Note when posts were created; from now on they are listed."""
        if self._move:
            at = self._following(self._move, post_ids)
            self._move.successor.create(post_ids[at], author_ids[at], times_ms[at])
        rows, first = np.unique(self._rows_for(post_ids, author_ids), return_index=True)
        created = self._posts["created_ms"]
        unknown = created[rows] == 0
        rows, first = rows[unknown], first[unknown]
        created[rows] = times_ms[first]
        self._posts["author_ids"][rows] = author_ids[first]
        self._touch(rows, times_ms[first])
        self._place(entries_of_posts(rows, self._posts["first"], self._entries["links"]))

    def delete(self, post_ids: Ids, author_ids: Ids, times_ms: Ids) -> None:
        """Forget posts for good: later favourites and a late creation change nothing.

        Only an author's own posts; others in the arguments are passed over.
        """
        if self._move:
            at = self._following(self._move, post_ids)
            self._move.successor.delete(post_ids[at], author_ids[at], times_ms[at])
        rows = self._rows_for(post_ids, author_ids)
        own = self._posts["author_ids"][rows] == author_ids
        self._touch(rows[own], times_ms[own])
        rows = np.unique(rows[own])
        self._posts["created_ms"][rows] = DELETED
        self._posts["favourites"][rows] = 0
        entries = entries_of_posts(rows, self._posts["first"], self._entries["links"])
        self._entries["values"][entries] = 0.0
        self._entries["counts"][entries] = 0
        self._place(entries)

    def add(
        self,
        post_ids: Ids,
        author_ids: Ids,
        times_ms: Ids,
        signs: npt.NDArray[np.int8],
        weights: SparseEmbeddings,
    ) -> None:
        """Add favourites (sign 1), or take back what they added (−1); all of shape (n,).

        `times_ms` is when the favourite was given, also where it is taken back. Row i of
        `weights` is what the user of favourite i adds to each community.
        """
        if self._move:
            at = self._following(self._move, post_ids)
            self._move.successor.add(
                *(post_ids[at], author_ids[at], times_ms[at], signs[at]), weights.take(at)
            )
        rows = self._rows_for(post_ids, author_ids)
        # Age is no matter here but of whoever reads: what is kept must not depend on whether
        # a post's creation was heard of before its favourites or after.
        alive = self._posts["created_ms"][rows] != DELETED
        if not alive.any():
            return
        self._touch(rows[alive], times_ms[alive])
        np.add.at(self._posts["favourites"], rows[alive], signs[alive].astype(np.int32))
        self._move_landmark(int(times_ms[alive].max()))
        units = growth(times_ms, self._landmark_ms, self.limits.half_life_ms) * signs
        counts = np.diff(weights.offsets)
        of = np.repeat(np.arange(len(rows)), np.where(alive, counts, 0))
        given = slice(None) if alive.all() else np.flatnonzero(np.repeat(alive, counts))
        communities = weights.communities[given]
        deltas = weights.scores[given].astype(np.float64) * units[of]
        entries = self._entries_for(rows[of], communities)
        add_to_entries(entries, deltas, signs[of], self._entries["values"], self._entries["counts"])
        self._place(entries)

    def of(self, post_ids: Ids, now_ms: int) -> SparseEmbeddings:
        """The embeddings of posts at `now_ms`, row by row as asked.

        A row has the post's best communities of at least the minimum score; posts that are
        unknown, deleted or too old have none.
        """
        limits, posts = self.limits, self._posts
        rows = self._living_rows(post_ids, now_ms)
        communities, scores, sizes = best_of_posts(
            rows,
            posts["first"],
            self._entries["links"],
            self._entries["values"],
            self._factor(now_ms),
            limits.min_post_score,
            limits.communities_per_post,
        )
        offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        held = np.arange(limits.communities_per_post)[None, :] < sizes[:, None]
        return SparseEmbeddings(post_ids, offsets, communities[held], scores[held])

    def favourites(self, post_ids: Ids, now_ms: int) -> npt.NDArray[np.int32]:
        """Net favourites of posts; 0 for those that have no embedding at `now_ms`."""
        rows = self._living_rows(post_ids, now_ms)
        found = np.zeros(len(rows), np.int32)
        found[rows >= 0] = self._posts["favourites"][rows[rows >= 0]]
        return found

    def living(self, post_ids: Ids, now_ms: int) -> npt.NDArray[np.bool_]:
        """Which posts are known to be created, not deleted, and not too old at `now_ms`."""
        return self._living_rows(post_ids, now_ms) >= 0

    def created_ms(self, post_ids: Ids) -> Ids:
        """When posts were created; 0 where unknown, `DELETED` where gone."""
        rows = self._row_of_post.get(post_ids)
        created = np.zeros(len(rows), np.int64)
        created[rows >= 0] = self._posts["created_ms"][rows[rows >= 0]]
        return created

    def author_ids(self, post_ids: Ids) -> Ids:
        """Authors of posts; 0 where unknown."""
        rows = self._row_of_post.get(post_ids)
        authors = np.zeros(len(rows), np.int64)
        authors[rows >= 0] = self._posts["author_ids"][rows[rows >= 0]]
        return authors

    def index(self, now_ms: int) -> CommunityIndex:
        """The best posts of every community at `now_ms`."""
        limits = self.limits
        return CommunityIndex(
            starts=self._communities["starts"],
            heads=self._communities["heads"],
            floors=self._communities["floors"],
            posts=self._members["posts"],
            values=self._members["values"],
            created_ms=self._members["created_ms"],
            post_ids=self._posts["post_ids"],
            author_ids=self._posts["author_ids"],
            post_created_ms=self._posts["created_ms"],
            links=self._entries["links"],
            entry_values=self._entries["values"],
            factor=self._factor(now_ms),
            min_score=limits.min_index_score,
            min_created_ms=now_ms - limits.max_age_ms + 1,
            posts_per_community=limits.posts_per_community,
        )

    def without_expired(self, now_ms: int) -> "PostEmbeddings":
        """A store without posts that are too old, or the oldest beyond the bounds.

        The store itself where a tenth of its posts or less would go: answers leave old posts
        out in any case. Readers of this one are not disturbed.
        """
        return finished(self.expiring(now_ms))

    def expiring(self, now_ms: int) -> "Generator[None, None, PostEmbeddings]":
        """`without_expired` in slices, between which this store may be written to."""
        n_young = int(self._young(slice(None), now_ms).sum())
        if self._within_bounds() and n_young >= 0.9 * len(self):
            return self
        yield
        costs = yield from self._entries_of_rows()
        fits = self._fitting(costs, now_ms)
        yield
        n_entries = int(costs[fits & self._young(slice(len(costs)), now_ms)].sum())
        fresh = self._empty_for(n_entries + n_entries // 4)
        yield
        # Posts that came since the entries were counted move like the others.
        n, n_counted = len(self), len(costs)
        costs = np.append(costs, np.zeros(n - n_counted, np.int64))
        fits = np.append(fits, np.ones(n - n_counted, np.bool_))

        def hand_over(rows: slice) -> None:
            kept = np.arange(rows.start, rows.stop, dtype=np.int32)
            kept = kept[fits[rows] & self._young(rows, now_ms)]
            fresh.restore({name: self._posts[name][kept] for name in self._posts.names})
            fresh.restore_entries(self._exported(self._entries_of(kept)))

        self._move = Move(fresh, n)
        try:
            yield from self._move.run(hand_over, slices_of(costs + 4, _MOVED_AT_ONCE))
        finally:
            self._move = None
        return fresh

    def columns(self) -> dict[str, dict[str, Array]]:
        """Everything, as two tables: for `restore` and for `restore_entries`; copies.

        Values are mantissas and exponents of sums kept from time 0, so that tables of several
        stores can be put together.
        """
        posts = self._posts.copy()
        del posts["first"]
        return {"posts": posts, "entries": self._exported(slice(None))}

    def restore(self, posts: Mapping[str, Array]) -> None:
        """Add exported posts that this store does not hold."""
        rows = self._rows_for(posts["post_ids"], posts["author_ids"])
        for name in ("created_ms", "newest_ms", "favourites"):
            self._posts[name][rows] = posts[name]

    def restore_entries(self, entries: Mapping[str, Array]) -> None:
        """Add exported sums of posts that `restore` has added."""
        if not len(entries["post_ids"]):
            return
        rows = self._rows_for(entries["post_ids"], entries["author_ids"])
        half_life_ms = self.limits.half_life_ms
        exponents = entries["exponents"].astype(np.int64)
        self._move_landmark(int(exponents.max()) * half_life_ms)
        found = self._entries_for(rows, entries["communities"])
        exponents -= self._landmark_ms // half_life_ms
        values = np.ldexp(entries["mantissas"], np.maximum(exponents, -2_000).astype(np.int32))
        self._entries["values"][found] = values
        self._entries["counts"][found] = entries["counts"]
        self._place(found)

    @classmethod
    def from_columns(
        cls, tables: Mapping[str, Mapping[str, Array]], limits: EmbeddingLimits | None = None
    ) -> "PostEmbeddings":
        """The store that `columns` exported."""
        store = cls(limits)
        store.restore(tables["posts"])
        store.restore_entries(tables["entries"])
        return store

    def _following(self, move: "Move[PostEmbeddings]", post_ids: Ids) -> Ids:
        return np.flatnonzero(move.follows(self._row_of_post.get(post_ids)))

    def _living_rows(self, post_ids: Ids, now_ms: int) -> Ids:
        """Rows of posts, −1 where a post may not be answered.

        The same whether expiry has come past an old post or not, and for one that was
        forgotten and is favoured again, whose creation is then unknown.
        """
        rows = self._row_of_post.get(post_ids).astype(np.int64)
        created = np.zeros(len(rows), np.int64)
        created[rows >= 0] = self._posts["created_ms"][rows[rows >= 0]]
        rows[(created <= 0) | (now_ms - created >= self.limits.max_age_ms)] = -1
        return rows

    def _factor(self, now_ms: int) -> float:
        return decay(now_ms, self._landmark_ms, self.limits.half_life_ms)

    def _rows_for(self, post_ids: Ids, author_ids: Ids) -> Dense:
        known = len(self._row_of_post)
        rows = self._row_of_post.get_or_insert(post_ids)
        if len(self._row_of_post) > known:
            added = self._posts.extend(len(self._row_of_post) - known)
            self._posts["post_ids"][added] = self._row_of_post.keys[known:]
            self._posts["first"][added] = -1
            fresh = rows >= known
            self._posts["author_ids"][rows[fresh]] = author_ids[fresh]
        return rows

    def _touch(self, rows: Dense, times_ms: Ids) -> None:
        np.maximum.at(self._posts["newest_ms"], rows, times_ms)

    def _entries_for(self, rows: Dense, communities: npt.NDArray[np.int32]) -> Dense:
        if not len(rows):
            return np.empty(0, np.int32)
        self._reach(int(communities.max()))
        known = len(self._entry_of_pair)
        keys = (rows.astype(np.int64) << 32 | communities) + 1
        entries = self._entry_of_pair.get_or_insert(keys)
        if len(self._entry_of_pair) > known:
            added = self._entries.extend(len(self._entry_of_pair) - known)
            self._entries["places"][added] = -1
            link_entries(
                self._entry_of_pair.keys,
                known,
                self._entries["links"],
                self._posts["first"],
                self._communities["heads"],
            )
        return entries

    def _reach(self, community: int) -> None:
        if community >= len(self._communities):
            added = self._communities.extend(community + 1 - len(self._communities))
            self._communities["heads"][added, FIRST] = -1

    def _place(self, entries: Dense) -> None:
        done = 0
        entries = writable(entries, np.int32)
        members = self._members
        while done < len(entries):
            done, self._used_members = place_entries(
                entries,
                self._entries["links"],
                self._entries["values"],
                self._entries["places"],
                self._posts["post_ids"],
                self._posts["created_ms"],
                self._communities["heads"],
                self._communities["starts"],
                self._communities["floors"],
                members["entries"],
                members["posts"],
                members["values"],
                members["created_ms"],
                self._used_members,
                self.limits.posts_per_community,
                done,
            )
            if done < len(entries):
                room = 2 * self.limits.posts_per_community
                members.extend(max(len(members), room))

    def _move_landmark(self, time_ms: int) -> None:
        half_life_ms = self.limits.half_life_ms
        halves = halves_between(self._landmark_ms, time_ms, half_life_ms)
        if not len(self._entries):
            self._landmark_ms = landmark_before(time_ms, half_life_ms)
        elif halves > _REBASE_AFTER:
            shift = -min(halves, 4_000)
            self._entries["values"][:] = np.ldexp(self._entries["values"], shift)
            self._communities["floors"][:] = np.ldexp(self._communities["floors"], shift)
            self._members["values"][:] = np.ldexp(self._members["values"], shift)
            self._landmark_ms += halves * half_life_ms

    def _entries_of(self, rows: Dense) -> Dense:
        """The entries of posts that some favourite in force has part in."""
        entries = entries_of_posts(rows, self._posts["first"], self._entries["links"])
        return entries[self._entries["counts"][entries] > 0]

    def _exported(self, entries: Dense | slice) -> dict[str, Array]:
        links = self._entries["links"][entries]
        mantissas, exponents = np.frexp(self._entries["values"][entries])
        exponents += np.int32(self._landmark_ms // self.limits.half_life_ms)
        return {
            "post_ids": self._posts["post_ids"][links[:, POST]],
            "author_ids": self._posts["author_ids"][links[:, POST]],
            "communities": links[:, 1].copy(),
            "counts": self._entries["counts"][entries].copy(),
            "mantissas": mantissas,
            "exponents": exponents,
        }

    def _empty_for(self, n_entries: int) -> "PostEmbeddings":
        """An empty store with room, so that it need not grow while it is filled."""
        fresh = PostEmbeddings(self.limits)
        fresh._entry_of_pair = IdMap(n_entries)
        fresh._entries = Columns(_ENTRIES, max(n_entries, 1024))
        fresh._members = Columns(MEMBERS, len(self._members))
        fresh._members.extend(len(self._members))
        return fresh

    def _since_ms(self, rows: slice) -> Ids:
        created = self._posts["created_ms"][rows]
        return np.where(created > 0, created, self._posts["newest_ms"][rows])

    def _young(self, rows: slice, now_ms: int) -> npt.NDArray[np.bool_]:
        young: npt.NDArray[np.bool_] = now_ms - self._since_ms(rows) < self.limits.max_age_ms
        return young

    def _entries_of_rows(self) -> "Generator[None, None, Ids]":
        """How many entries each post has."""
        counts = np.zeros(len(self._posts), np.int64)
        for begin in range(0, len(self._entries), _COUNTED_AT_ONCE):
            posts = self._entries["links"][begin : begin + _COUNTED_AT_ONCE, POST]
            some = np.bincount(posts, minlength=len(counts))
            counts += some[: len(counts)]
            yield
        return counts

    def _fitting(self, entries: Ids, now_ms: int) -> npt.NDArray[np.bool_]:
        """Which posts may stay where there are too many, by their numbers of entries.

        A tenth is left free, so that a full store is not rebuilt all the time.
        """
        fits = np.ones(len(entries), np.bool_)
        if not self._within_bounds():
            rows = slice(len(entries))
            young = np.flatnonzero(self._young(rows, now_ms))
            times_ms, post_ids = self._since_ms(rows)[young], self._posts["post_ids"][young]
            room = (0.9 * self.limits.max_posts, 0.9 * self.limits.max_entries)
            fits[young] = newest_fitting(times_ms, post_ids, entries[young], *room)
        return fits

    def _within_bounds(self) -> bool:
        return (
            len(self._posts) <= self.limits.max_posts
            and len(self._entries) <= self.limits.max_entries
        )
