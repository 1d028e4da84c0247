"""Ranking posts by their social proof: merged over shards, gated, filtered, the best kept.

A post's score is the sum of the seeds' weights over its distinct (seed, kind) pairs, as in
GraphJet's top-second-degree. Parts of several shards give exactly the answer of one shard:
proofs are put into seed order before weights are added, gates see the merged proofs, and ties
go by newest proof and then post id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import Dense, Ids
from actors.stores.kernels import writable
from actors.stores.proof_choosing import add_up, admit, newest_ids_first, newest_proofs, show
from actors.stores.proof_merging import (
    add_scores,
    find_groups,
    gather,
    number_groups,
    posts_in,
)
from actors.stores.score_bounds import EVERY_BUCKET, ScoreBounds, falling_floors, with_slack

Uint8s = npt.NDArray[np.uint8]
Float64s = npt.NDArray[np.float64]

ALL_KINDS = 0xFFFF
AUTHOR_KIND = 4
_TIME_BITS = 42
"""Enough for 139 years in milliseconds; two million different scores have room above them."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """Posts and who engaged with them: of one shard, or of several merged.

    `post_ids`, `author_ids` int64[V]; the proofs of post v are `offsets[v]` … `offsets[v+1]`
    (int32[V+1]) of `seed_indices` int32[E] (ascending within a post), `kinds` uint8[E] and
    `times_ms` int64[E]. A (post, seed, kind) occurs once, with its newest time.
    """

    post_ids: Ids
    author_ids: Ids
    offsets: Dense
    seed_indices: Dense
    kinds: Uint8s
    times_ms: Ids


@dataclass(frozen=True, slots=True)
class RankedPosts:
    """The best posts, best first: `scores` float64[k], `newest_ms` the newest proof of each.

    `proofs` has the same posts, with the proofs of the requested kinds by the
    `max_proofs` heaviest seeds: by weight descending, then seed index.
    """

    scores: Float64s
    newest_ms: Ids
    proofs: Proofs

    @property
    def post_ids(self) -> Ids:
        """The posts, int64[k]."""
        return self.proofs.post_ids


@dataclass(frozen=True, slots=True)
class ProofGate:
    """Which posts may be ranked at all, and which of their proofs are shown.

    A post passes when any kind in `kinds_mask` has at least `min_users` distinct users, or as
    many as `of_kinds` says, or any mask of `unions` has `min_users` over its kinds together.
    Where the post's author is among the users of a kind other than `author_kind`, that kind
    needs one more.
    """

    min_users: int = 1
    kinds_mask: int = ALL_KINDS
    unions: tuple[int, ...] = ()
    author_kind: int = AUTHOR_KIND
    of_kinds: tuple[tuple[int, int], ...] = ()
    """Kinds that need another number of users, and how many."""

    def least_of_kinds(self) -> Ids:
        """How many users each kind needs, int64[16]."""
        least = np.full(16, self.min_users, np.int64)
        for kind, users in self.of_kinds:
            least[kind] = users
        return least


@dataclass(frozen=True, slots=True)
class PostFilter:
    """Posts to leave out: by id, by author, not by one of some authors, or below an id.

    Ids of posts grow with time, so `min_post_id` bounds their age.
    """

    excluded_post_ids: Ids | None = None
    excluded_author_ids: Ids | None = None
    allowed_author_ids: Ids | None = None
    min_post_id: int = 0


def rank_proofs(
    parts: Sequence[Proofs],
    seed_ids: Ids,
    weights: Float64s,
    *,
    k: int,
    max_proofs: int = 10,
    gate: ProofGate | None = None,
    post_filter: PostFilter | None = None,
) -> RankedPosts:
    """The `k` best posts of `parts` (one for each shard), whatever the number of shards.

    `seed_ids` int64[s] and `weights` float64[s] are what `seed_indices` point into.
    """
    seed_ids = writable(seed_ids, np.int64)
    weights = writable(weights, np.float64)
    if seed_ids.shape != weights.shape:
        raise ValueError(f"{len(seed_ids)} seeds have {len(weights)} weights")
    k = max(k, 0)
    gate = gate or ProofGate()
    post_filter = post_filter or PostFilter()
    by_author = replace(post_filter, excluded_post_ids=None, min_post_id=0)
    narrowing = _Narrowing(parts, weights, post_filter)
    for floor in narrowing.floors(k):
        merged, scores = narrowing.merged, narrowing.scores
        # What reaches a floor is not among the posts put aside.
        is_screened = narrowing.is_screened and floor >= 0.0
        best = _admitted(
            merged, scores, floor, seed_ids, gate, by_author if is_screened else post_filter
        )
        if len(best) >= k:
            break
    best, newest_ms = _in_order(best, merged, scores, k)
    ranks = np.empty(len(weights), np.int64)
    ranks[np.argsort(-weights, kind="stable")] = np.arange(len(weights))
    room = int((merged.offsets[best + 1] - merged.offsets[best]).sum())
    offsets = np.zeros(len(best) + 1, np.int32)
    seeds, kinds = np.empty(room, np.int32), np.empty(room, np.uint8)
    times_ms = np.empty(room, np.int64)
    n = show(
        merged.offsets, merged.seed_indices, merged.kinds, merged.times_ms, ranks, best,
        max_proofs, gate.kinds_mask, offsets, seeds, kinds, times_ms,
    )  # fmt: skip
    proofs = Proofs(
        merged.post_ids[best], merged.author_ids[best], offsets, seeds[:n], kinds[:n], times_ms[:n]
    )
    return RankedPosts(scores[best], newest_ms, proofs)


def _in_order(posts: Dense, merged: Proofs, scores: Float64s, k: int) -> tuple[Dense, Ids]:
    """The first `k` posts by score, newest proof and id, and the times of these proofs.

    Most scores are shared by many posts. One sort of whole numbers that hold both score and time
    takes a tenth of what sorting each group of equals does.
    """
    posts = posts[np.argsort(-scores[posts])]
    newest_ms = np.empty(len(posts), np.int64)
    newest_proofs(posts, merged.offsets, merged.times_ms, newest_ms)
    falls = np.diff(scores[posts], prepend=scores[posts[:1]]) < 0
    keys = (np.cumsum(falls) << _TIME_BITS) + (newest_ms.max(initial=0) - newest_ms)
    order = np.argsort(keys)
    posts = posts[order]
    newest_ids_first(posts, keys[order], merged.post_ids)
    return posts[:k], newest_ms[order[:k]]


class _Narrowing:
    """Merges of several parts only the posts that may score enough."""

    def __init__(self, parts: Sequence[Proofs], weights: Float64s, post_filter: PostFilter) -> None:
        self._parts = [_writable(part) for part in parts]
        self._weights, self._post_filter = weights, post_filter
        self.merged = self._parts[0]
        self.is_screened = False
        self.scores = np.zeros(0)

    def floors(self, k: int) -> Iterator[float]:
        """See `ScoreBounds.floors`; before each, `merged` and `scores` are set."""
        excluded = _ids(self._post_filter.excluded_post_ids)
        scores = [_scores(part, self._weights) for part in self._parts]
        if len(self._parts) == 1:
            self.scores = scores[0]
            return falling_floors(self.scores, with_slack(k) + len(excluded))
        bounds = ScoreBounds(self._weights, sum(len(part.seed_indices) for part in self._parts), k)
        if bounds.scale > 0.0:
            for part, of_part in zip(self._parts, scores, strict=True):
                add_scores(part.post_ids, of_part, bounds.scale, bounds.shift, bounds.sums)

        def merge(buckets: Uint8s) -> Float64s:
            self.merged, table = _merged(self._parts, buckets)
            self.scores = _scores(self.merged, self._weights)
            self.is_screened = bounds.scale > 0.0
            if self.is_screened:
                # No score is negative.
                self.scores[find_groups(excluded, table, self.merged.post_ids)] = -1.0
                self.scores[self.merged.post_ids < self._post_filter.min_post_id] = -1.0
            return self.scores

        return bounds.floors(excluded, merge)


def merge_proofs(parts: Sequence[Proofs]) -> Proofs:
    """One `Proofs` of several that share no (post, seed, kind): seeds live in one shard each."""
    return _merged([_writable(part) for part in parts], EVERY_BUCKET)[0]


def _merged(parts: Sequence[Proofs], buckets: Uint8s) -> tuple[Proofs, Dense]:
    """The posts of some buckets with their proofs, and the hash table of them."""
    kept = [_kept(part, buckets) for part in parts]
    room = sum(len(of_part) for of_part in kept)
    table = np.zeros(1 << max(4, (2 * room).bit_length()), np.int32)
    post_ids, author_ids = np.empty(room, np.int64), np.empty(room, np.int64)
    offsets, numbers = np.zeros(room + 1, np.int32), [np.empty_like(of_part) for of_part in kept]
    n = 0
    for part, of_part, numbers_of_part in zip(parts, kept, numbers, strict=True):
        n = number_groups(
            of_part, part.post_ids, part.author_ids, part.offsets, table, n, post_ids,
            author_ids, offsets[1:], numbers_of_part,
        )  # fmt: skip
    offsets = np.cumsum(offsets[: n + 1], dtype=np.int32)
    merged = Proofs(
        post_ids[:n],
        author_ids[:n],
        offsets,
        np.empty(offsets[-1], np.int32),
        np.empty(offsets[-1], np.uint8),
        np.empty(offsets[-1], np.int64),
    )
    fill = offsets[:-1].copy()
    for part, of_part, numbers_of_part in zip(parts, kept, numbers, strict=True):
        gather(
            of_part, numbers_of_part, part.offsets, part.seed_indices, part.kinds,
            part.times_ms, offsets, fill, merged.seed_indices, merged.kinds, merged.times_ms,
        )  # fmt: skip
    return merged, table


def _kept(part: Proofs, buckets: Uint8s) -> Dense:
    """Positions of the posts in the buckets to look at."""
    kept = np.empty(len(part.post_ids), np.int32)
    return kept[: posts_in(part.post_ids, buckets, kept)]


def _writable(proofs: Proofs) -> Proofs:
    return Proofs(
        writable(proofs.post_ids, np.int64),
        writable(proofs.author_ids, np.int64),
        writable(proofs.offsets, np.int32),
        writable(proofs.seed_indices, np.int32),
        writable(proofs.kinds, np.uint8),
        writable(proofs.times_ms, np.int64),
    )


def _ids(ids: Ids | None) -> Ids:
    return np.zeros(0, np.int64) if ids is None else writable(ids, np.int64)


def _scores(proofs: Proofs, weights: Float64s) -> Float64s:
    scores = np.empty(len(proofs.post_ids))
    add_up(proofs.offsets, proofs.seed_indices, weights, scores)
    return scores


def _admitted(
    proofs: Proofs,
    scores: Float64s,
    floor: float,
    seed_ids: Ids,
    gate: ProofGate,
    post_filter: PostFilter,
) -> Dense:
    """Positions of the posts with a score of at least `floor` that pass gate and filters."""
    allowed = post_filter.allowed_author_ids
    best = np.empty(len(scores), np.int32)
    n = admit(
        proofs.post_ids, proofs.author_ids, proofs.offsets, proofs.seed_indices, proofs.kinds,
        seed_ids, gate.min_users, gate.least_of_kinds(), gate.kinds_mask,
        np.array(gate.unions, np.int64), gate.author_kind,
        np.sort(_ids(post_filter.excluded_post_ids)),
        np.sort(_ids(post_filter.excluded_author_ids)), np.sort(_ids(allowed)),
        allowed is not None, post_filter.min_post_id, scores, floor, best,
    )  # fmt: skip
    return best[:n]
