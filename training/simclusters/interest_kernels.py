"""The sums behind InterestedIn, consumer by consumer: one pass to measure, one to fill."""

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int
from cluster.ids import Ids
from training.simclusters.consumers import Float64s, Floats, Int32s

N_SUMS = 5
"""Sums of a consumer's community: follows, the same normalised by the producer, favourites,
the same normalised, logarithms of favourites."""
N_NORMS = 3
"""Follows, favourites and logarithms are also normalised by the community."""
_FOLLOW, _FOLLOW_PRODUCER, _FAV, _FAV_PRODUCER, _LOG_FAV = range(N_SUMS)
_NORMED = (_FOLLOW, _FAV, _LOG_FAV)


@kernel
def measure_interests(
    first: Int,
    last: Int,
    indptr: Ids,
    producers: Int32s,
    followed: npt.NDArray[np.bool_],
    favourites: Floats,
    communities: Int32s,
    memberships: Floats,
    follow_norms: Float64s,
    inverse_faver_norms: Float64s,
    min_proofs: Int,
    max_communities: Int,
    slot_of: Int32s,
    seen: Int32s,
    proofs: Int32s,
    sums: Float64s,
    counts: Int32s,
    squares: Float64s,
    interested: Ids,
) -> None:
    """How many entries each consumer keeps; squares and numbers by community before the cut."""
    for user in range(first, last):
        n = _gather(
            indptr[user],
            indptr[user + 1],
            producers,
            followed,
            favourites,
            communities,
            memberships,
            follow_norms,
            inverse_faver_norms,
            min_proofs,
            slot_of,
            seen,
            proofs,
            sums,
        )
        counts[user] = min(n, max_communities)
        for slot in range(n):
            community = seen[slot]
            interested[community] += 1
            for which in range(N_NORMS):
                value = sums[slot, _NORMED[which]]
                squares[community, which] += value * value


@kernel
def fill_interests(
    first: Int,
    last: Int,
    indptr: Ids,
    producers: Int32s,
    followed: npt.NDArray[np.bool_],
    favourites: Floats,
    communities: Int32s,
    memberships: Floats,
    follow_norms: Float64s,
    inverse_faver_norms: Float64s,
    min_proofs: Int,
    max_communities: Int,
    slot_of: Int32s,
    seen: Int32s,
    proofs: Int32s,
    sums: Float64s,
    inverse_norms: Float64s,
    offsets: Ids,
    found: Int32s,
    fields: Floats,
    found_proofs: Int32s,
) -> None:
    """The entries each consumer keeps, in the order of `SparseEmbeddings`."""
    chosen = np.empty(len(seen), np.int64)
    for user in range(first, last):
        n = _gather(
            indptr[user],
            indptr[user + 1],
            producers,
            followed,
            favourites,
            communities,
            memberships,
            follow_norms,
            inverse_faver_norms,
            min_proofs,
            slot_of,
            seen,
            proofs,
            sums,
        )
        kept = min(n, max_communities)
        for slot in range(kept):
            chosen[slot] = slot
        if n > kept:
            _choose(chosen, n, kept, sums, inverse_norms, seen)
        _by_score(chosen, kept, sums, seen)
        begin = offsets[user]
        for i in range(kept):
            slot, entry = chosen[i], begin + i
            community = seen[slot]
            found[entry] = community
            for which in range(N_SUMS):
                fields[which, entry] = sums[slot, which]
            for which in range(N_NORMS):
                value = sums[slot, _NORMED[which]]
                fields[N_SUMS + which, entry] = value * inverse_norms[community, which]
            found_proofs[0, entry] = proofs[slot, 1]
            found_proofs[1, entry] = proofs[slot, 2]


@kernel
def _gather(
    begin: Int,
    end: Int,
    producers: Int32s,
    followed: npt.NDArray[np.bool_],
    favourites: Floats,
    communities: Int32s,
    memberships: Floats,
    follow_norms: Float64s,
    inverse_faver_norms: Float64s,
    min_proofs: Int,
    slot_of: Int32s,
    seen: Int32s,
    proofs: Int32s,
    sums: Float64s,
) -> Int:
    """The sums of one consumer's communities with enough proofs: the first slots returned."""
    n = 0
    for edge in range(begin, end):
        producer = producers[edge]
        community = communities[producer]
        if community < 0:
            continue
        slot = slot_of[community]
        if slot < 0:
            slot = n
            slot_of[community] = slot
            seen[slot] = community
            proofs[slot, :] = 0
            sums[slot, :] = 0.0
            n += 1
        k = np.float64(memberships[producer])
        proofs[slot, 0] += 1
        if followed[edge]:
            proofs[slot, 1] += 1
            sums[slot, _FOLLOW] += k
            sums[slot, _FOLLOW_PRODUCER] += k * follow_norms[producer]
        favourite = np.float64(favourites[edge])
        if favourite > 0:
            proofs[slot, 2] += 1
            sums[slot, _FAV] += k * favourite
            sums[slot, _FAV_PRODUCER] += k * favourite * inverse_faver_norms[producer]
            sums[slot, _LOG_FAV] += k * np.log10(1.0 + favourite)
    kept = 0
    for slot in range(n):
        slot_of[seen[slot]] = -1
        if proofs[slot, 0] >= min_proofs:
            seen[kept] = seen[slot]
            proofs[kept, :] = proofs[slot, :]
            sums[kept, :] = sums[slot, :]
            kept += 1
    return kept


@kernel
def _choose(
    chosen: Ids, n: Int, kept: Int, sums: Float64s, inverse_norms: Float64s, seen: Int32s
) -> None:
    """The `kept` best of the slots, best first."""
    size = 0
    for slot in range(n):
        if size == kept and not _better(slot, chosen[size - 1], sums, inverse_norms, seen):
            continue
        at = size if size < kept else size - 1
        while at > 0 and _better(slot, chosen[at - 1], sums, inverse_norms, seen):
            chosen[at] = chosen[at - 1]
            at -= 1
        chosen[at] = slot
        size = min(size + 1, kept)


@kernel
def _better(one: Int, other: Int, sums: Float64s, inverse_norms: Float64s, seen: Int32s) -> bool:
    """Whether one slot goes before the other in the cut; of equal ones the lower community."""
    for which in (_FAV, _LOG_FAV, _FOLLOW):
        if sums[one, which] != sums[other, which]:
            return bool(sums[one, which] > sums[other, which])
    mine = sums[one, _LOG_FAV] * inverse_norms[seen[one], 2]
    theirs = sums[other, _LOG_FAV] * inverse_norms[seen[other], 2]
    if mine != theirs:
        return bool(mine > theirs)
    mine, theirs = sums[one, _FOLLOW_PRODUCER], sums[other, _FOLLOW_PRODUCER]
    if mine != theirs:
        return bool(mine > theirs)
    return bool(seen[one] < seen[other])


@kernel
def _by_score(chosen: Ids, n: Int, sums: Float64s, seen: Int32s) -> None:
    """Order the chosen slots by score as it will be stored, then by community."""
    for i in range(1, n):
        slot = chosen[i]
        score = np.float32(sums[slot, _FAV])
        at = i
        while at > 0:
            before = chosen[at - 1]
            other = np.float32(sums[before, _FAV])
            if other > score or (other == score and seen[before] < seen[slot]):
                break
            chosen[at] = before
            at -= 1
        chosen[at] = slot
