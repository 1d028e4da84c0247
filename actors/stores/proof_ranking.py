"""Ranking posts by their social proof: merged over shards, gated, filtered, the best kept.

A post's score is the sum of the seeds' weights over its distinct (seed, kind) pairs, as in
GraphJet's top-second-degree. Parts of several shards give exactly the answer of one shard:
proofs are put into seed order before weights are added, gates see the merged proofs, and ties
go by newest proof and then post id.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.id_map import Dense, IdMap, Ids
from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int
from actors.stores.top_posts import beats, contains, offer, put_in_order

Uint8s = npt.NDArray[np.uint8]
Float64s = npt.NDArray[np.float64]

ALL_KINDS = 0xFFFF
AUTHOR_KIND = 4


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

    A post passes when any kind in `kinds_mask` has at least `min_users` distinct users, or
    any mask of `unions` has over its kinds together. Where the post's author is among the
    users of a kind other than `author_kind`, that kind needs one more.
    """

    min_users: int = 1
    kinds_mask: int = ALL_KINDS
    unions: tuple[int, ...] = ()
    author_kind: int = AUTHOR_KIND


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
    merged = _writable(parts[0]) if len(parts) == 1 else merge_proofs(parts)
    seed_ids = writable(seed_ids, np.int64)
    weights = writable(weights, np.float64)
    if seed_ids.shape != weights.shape:
        raise ValueError(f"{len(seed_ids)} seeds have {len(weights)} weights")
    gate = gate or ProofGate()
    post_filter = post_filter or PostFilter()
    wanted = max(0, min(k, len(merged.post_ids)))
    best = np.empty(wanted, np.int32)
    scores, newest_ms = np.empty(wanted), np.empty(wanted, np.int64)
    post_scores = np.empty(len(merged.post_ids))
    _score(merged.offsets, merged.seed_indices, weights, post_scores)
    allowed = post_filter.allowed_author_ids
    for floor in score_floors(post_scores, k, post_filter):
        k = _select(
            merged.post_ids, merged.author_ids, merged.offsets, merged.seed_indices, merged.kinds,
            merged.times_ms, seed_ids, gate.min_users, gate.kinds_mask,
            np.array(gate.unions, np.int64), gate.author_kind,
            _sorted(post_filter.excluded_post_ids), _sorted(post_filter.excluded_author_ids),
            _sorted(allowed), allowed is not None, post_filter.min_post_id, post_scores, floor,
            best, scores, newest_ms,
        )  # fmt: skip
        if k == wanted:
            break
    best, scores, newest_ms = best[:k], scores[:k], newest_ms[:k]
    room = int((merged.offsets[best + 1] - merged.offsets[best]).sum())
    offsets = np.zeros(k + 1, np.int32)
    shown = np.empty(room, np.int32)
    n = _show(
        merged.offsets, merged.seed_indices, merged.kinds, weights, best, max_proofs,
        gate.kinds_mask, offsets, shown,
    )  # fmt: skip
    shown = shown[:n]
    proofs = Proofs(
        merged.post_ids[best],
        merged.author_ids[best],
        offsets,
        merged.seed_indices[shown],
        merged.kinds[shown],
        merged.times_ms[shown],
    )
    return RankedPosts(scores, newest_ms, proofs)


def score_floors(scores: Float64s, k: int, post_filter: PostFilter | None) -> Iterator[float]:
    """Falling scores to look down to until k posts pass; the last is −inf.

    Most posts score low, so nearly always the first does: it leaves room for excluded posts
    and for some that fail gates or other filters.
    """
    excluded = None if post_filter is None else post_filter.excluded_post_ids
    enough = k + k // 4 + 64 + (0 if excluded is None else len(excluded))
    while 2 * enough < len(scores):
        yield float(score_floor(scores, enough))
        enough *= 4
    yield -np.inf


def merge_proofs(parts: Sequence[Proofs]) -> Proofs:
    """One `Proofs` of several that share no (post, seed, kind): seeds live in one shard each."""
    every = [np.concatenate(columns) for columns in zip(*(
        (p.post_ids, p.author_ids, np.diff(p.offsets), p.seed_indices, p.kinds, p.times_ms)
        for p in parts
    ), strict=True)]  # fmt: skip
    post_ids, author_ids, counts, seed_indices, kinds, times_ms = every
    distinct = IdMap(len(post_ids))
    posts = distinct.get_or_insert(post_ids)
    merged = Proofs(
        distinct.keys,
        np.zeros(len(distinct), np.int64),
        np.zeros(len(distinct) + 1, np.int32),
        np.empty_like(seed_indices),
        np.empty_like(kinds),
        np.empty_like(times_ms),
    )
    _gather_groups(
        posts, author_ids, counts, seed_indices, kinds, times_ms, merged.author_ids,
        merged.offsets, merged.seed_indices, merged.kinds, merged.times_ms,
    )  # fmt: skip
    return merged


def _writable(proofs: Proofs) -> Proofs:
    return Proofs(
        writable(proofs.post_ids, np.int64),
        writable(proofs.author_ids, np.int64),
        writable(proofs.offsets, np.int32),
        writable(proofs.seed_indices, np.int32),
        writable(proofs.kinds, np.uint8),
        writable(proofs.times_ms, np.int64),
    )


def _sorted(ids: Ids | None) -> Ids:
    return np.zeros(0, np.int64) if ids is None else np.sort(np.asarray(ids, np.int64))


@kernel
def _gather_groups(
    posts: Dense,
    author_ids: Ids,
    counts: Dense,
    seed_indices: Dense,
    kinds: Uint8s,
    times_ms: Ids,
    to_authors: Ids,
    offsets: Dense,
    to_seeds: Dense,
    to_kinds: Uint8s,
    to_times: Ids,
) -> None:
    """Bring the groups of each post together, in seed order."""
    n = len(offsets) - 1
    for g in range(len(posts)):
        offsets[posts[g] + 1] += counts[g]
        if to_authors[posts[g]] == 0:
            to_authors[posts[g]] = author_ids[g]
    for v in range(n):
        offsets[v + 1] += offsets[v]
    fill = offsets[:-1].copy()
    e = 0
    for g in range(len(posts)):
        v = posts[g]
        for _ in range(counts[g]):
            # Runs are in seed order, so inserting from the end moves little.
            at = fill[v]
            seed = seed_indices[e]
            while at > offsets[v] and to_seeds[at - 1] > seed:
                to_seeds[at] = to_seeds[at - 1]
                to_kinds[at] = to_kinds[at - 1]
                to_times[at] = to_times[at - 1]
                at -= 1
            to_seeds[at] = seed
            to_kinds[at] = kinds[e]
            to_times[at] = times_ms[e]
            fill[v] += 1
            e += 1


@kernel
def score_floor(scores: Float64s, count: Int) -> float:
    """A number that at least `count` scores reach, and not many more; −inf if there are fewer.

    A histogram over the upper 20 bits of the floats, which order as the numbers do, in steps
    of 1/256 of a score and over 16 powers of two below the greatest.
    """
    if count >= len(scores):
        return -np.inf
    bits = scores.view(np.int64)
    top = np.int64(0)
    for i in range(len(scores)):
        top = max(top, bits[i])
    top >>= 44
    histogram = np.zeros(4096, np.int64)
    for i in range(len(scores)):
        histogram[max(0, min(4095, top - (bits[i] >> 44)))] += 1
    reached = np.int64(0)
    for step in range(4095):
        reached += histogram[step]
        if reached >= count:
            floor = np.empty(1, np.int64)
            floor[0] = (top - step if top > step else 0) << 44
            return float(floor.view(np.float64)[0])
    return -np.inf


@kernel
def _score(offsets: Dense, seeds: Dense, weights: Float64s, scores: Float64s) -> None:
    """Each post's sum of weights, added in seed order."""
    for v in range(len(scores)):
        score = 0.0
        for e in range(offsets[v], offsets[v + 1]):
            score += weights[seeds[e]]
        scores[v] = score


@kernel
def _select(
    post_ids: Ids,
    author_ids: Ids,
    offsets: Dense,
    seeds: Dense,
    kinds: Uint8s,
    times_ms: Ids,
    seed_ids: Ids,
    min_users: Int,
    kinds_mask: Int,
    unions: Ids,
    author_kind: Int,
    excluded_posts: Ids,
    excluded_authors: Ids,
    allowed_authors: Ids,
    only_allowed: bool,
    min_post_id: Int,
    post_scores: Float64s,
    floor: float,
    best: Dense,
    scores: Float64s,
    newest: Ids,
) -> Int:
    """The best posts with a score of at least `floor`, in order; returns how many, at most k."""
    k = len(best)
    if k == 0:
        return 0
    size = 0
    for v in range(len(post_ids)):
        score = post_scores[v]
        if score < floor:
            continue
        newest_ms = np.int64(-1)
        for e in range(offsets[v], offsets[v + 1]):
            newest_ms = max(newest_ms, times_ms[e])
        # Only what would enter the answer is gated and filtered: few posts are.
        if size == k and not beats(
            score, newest_ms, post_ids[v], scores[0], newest[0], post_ids[best[0]]
        ):
            continue
        if (
            post_ids[v] < min_post_id
            or contains(excluded_posts, post_ids[v])
            or contains(excluded_authors, author_ids[v])
            or (only_allowed and not contains(allowed_authors, author_ids[v]))
        ):
            continue
        if not _passes(
            offsets[v], offsets[v + 1], seeds, kinds, seed_ids, author_ids[v], min_users,
            kinds_mask, unions, author_kind,
        ):  # fmt: skip
            continue
        size = offer(scores, newest, best, post_ids, size, score, newest_ms, v)
    put_in_order(scores, newest, best, post_ids, size)
    return size


@kernel
def _passes(
    begin: Int,
    end: Int,
    seeds: Dense,
    kinds: Uint8s,
    seed_ids: Ids,
    author_id: Int,
    min_users: Int,
    kinds_mask: Int,
    unions: Ids,
    author_kind: Int,
) -> bool:
    """The gate (`ProofGate`) of one post's proofs."""
    if min_users <= 1 and len(unions) == 0:
        # The common gate: one user other than the author decides.
        for e in range(begin, end):
            if (kinds_mask >> kinds[e]) & 1 and (
                min_users < 1 or kinds[e] == author_kind or seed_ids[seeds[e]] != author_id
            ):
                return True
    counts = np.zeros(16, np.int64)
    needs = np.full(16, min_users, np.int64)
    for e in range(begin, end):
        counts[kinds[e]] += 1
        if kinds[e] != author_kind and seed_ids[seeds[e]] == author_id:
            needs[kinds[e]] = min_users + 1
    for kind in range(16):
        if (kinds_mask >> kind) & 1 and counts[kind] >= max(1, needs[kind]):
            return True
    for mask in unions:
        users = 0
        previous = -1
        for e in range(begin, end):
            if (mask >> kinds[e]) & 1 and seeds[e] != previous:
                previous = seeds[e]
                users += 1
        if users >= max(1, min_users):
            return True
    return False


@kernel
def _show(
    offsets: Dense,
    seeds: Dense,
    kinds: Uint8s,
    weights: Float64s,
    best: Dense,
    max_proofs: Int,
    kinds_mask: Int,
    out_offsets: Dense,
    shown: Dense,
) -> Int:
    """Positions of the proofs to show for each best post; returns how many in all."""
    n = 0
    heaviest = np.empty(max_proofs, np.int64)
    for i in range(len(best)):
        end = offsets[best[i] + 1]
        users = 0
        previous = -1
        for e in range(offsets[best[i]], end):
            if not (kinds_mask >> kinds[e]) & 1 or seeds[e] == previous:
                continue
            previous = seeds[e]
            weight = weights[previous]
            if users == max_proofs:
                if users == 0 or weights[seeds[heaviest[users - 1]]] >= weight:
                    continue
                users -= 1
            # Proofs come in seed order, so equal weights stay in it.
            at = users
            while at > 0 and weights[seeds[heaviest[at - 1]]] < weight:
                heaviest[at] = heaviest[at - 1]
                at -= 1
            heaviest[at] = e
            users += 1
        for user in range(users):
            e = heaviest[user]
            seed = seeds[e]
            while e < end and seeds[e] == seed:
                if (kinds_mask >> kinds[e]) & 1:
                    shown[n] = e
                    n += 1
                e += 1
        out_offsets[i + 1] = n
    return n
