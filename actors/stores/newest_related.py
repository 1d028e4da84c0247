"""The newest relations of many owners at once: whom each of these users followed last."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.kernels import kernel
from actors.stores.raw_memory import Int
from actors.stores.relations import Relations
from actors.stores.versions import times_of
from cluster.ids import Ids

MAX_LOOKED_AT = 2_000
"""Relations of one owner that are looked at: of more, those that were written last."""
_ABREAST = 16
"""Owners whose chains are walked at the same time."""


@dataclass(frozen=True)
class Related:
    """Lists of n owners: that of owner i at `offsets[i]` up to `offsets[i + 1]`."""

    offsets: Ids
    """int64 (n + 1,)."""
    other_ids: Ids
    """int64 (m,), within a list newest first, of one instant the lesser id first."""
    times_ms: Ids
    """int64 (m,): since when."""
    degrees: npt.NDArray[np.int32]
    """int32 (n,): how many others there are in all."""

    @property
    def places(self) -> Ids:
        """Which owner each entry belongs to, int64 (m,)."""
        return np.repeat(np.arange(len(self.degrees)), np.diff(self.offsets))

    def where(self, chosen: npt.NDArray[np.bool_]) -> "Related":
        """The chosen entries (m,), of the same owners."""
        counts = np.bincount(self.places[chosen], minlength=len(self.degrees))
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return Related(offsets, self.other_ids[chosen], self.times_ms[chosen], self.degrees)


def newest_related(relations: Relations, owner_ids: Ids, limit: int) -> Related:
    """The newest `limit` others of each owner (n,); an empty list for an unknown one."""
    rows = relations.register()
    chains = relations.chains()
    offsets, others, versions = _newest(
        relations.owners_of(owner_ids),
        chains.heads,
        chains.nexts,
        rows.other_ids,
        rows.versions,
        rows.active,
        limit,
        MAX_LOOKED_AT,
    )
    return Related(offsets, others, times_of(versions), relations.degrees(owner_ids))


@kernel
def _newest(
    owners: npt.NDArray[np.int32],
    heads: npt.NDArray[np.int32],
    nexts: npt.NDArray[np.int32],
    other_ids: Ids,
    versions: Ids,
    active: npt.NDArray[np.bool_],
    limit: Int,
    max_looked_at: Int,
) -> tuple[Ids, Ids, Ids]:
    offsets = np.zeros(len(owners) + 1, np.int64)
    found_ids = np.empty(len(owners) * limit, np.int64)
    found_versions = np.empty(len(owners) * limit, np.int64)
    walked = np.empty((_ABREAST, max_looked_at), np.int32)
    lengths = np.empty(_ABREAST, np.int64)
    count = 0
    for first in range(0, len(owners), _ABREAST):
        group = owners[first : first + _ABREAST]
        _walk_abreast(group, heads, nexts, walked, lengths)
        for k in range(len(group)):
            begin = count
            for edge in walked[k, : lengths[k]]:
                if not active[edge]:
                    continue
                # Chains are almost in order: an insertion rarely moves anything.
                version, other = versions[edge], other_ids[edge]
                at = count
                while at > begin and (
                    found_versions[at - 1] < version
                    or (found_versions[at - 1] == version and found_ids[at - 1] > other)
                ):
                    at -= 1
                if at - begin < limit:
                    last = min(count, begin + limit - 1)
                    for j in range(last, at, -1):
                        found_ids[j] = found_ids[j - 1]
                        found_versions[j] = found_versions[j - 1]
                    found_ids[at], found_versions[at] = other, version
                    count = min(count + 1, begin + limit)
            offsets[first + k + 1] = count
    return offsets, found_ids[:count].copy(), found_versions[:count].copy()


@kernel
def _walk_abreast(
    owners: npt.NDArray[np.int32],
    heads: npt.NDArray[np.int32],
    nexts: npt.NDArray[np.int32],
    walked: npt.NDArray[np.int32],
    lengths: Ids,
) -> None:
    """Edges of a few owners, one step of every chain in turn, so that waits for memory overlap."""
    at = np.full(len(owners), -1, np.int32)
    lengths[:] = 0
    on_the_way = 0
    for k in range(len(owners)):
        if owners[k] >= 0:
            at[k] = heads[owners[k]]
            on_the_way += 1
    while on_the_way:
        on_the_way = 0
        for k in range(len(owners)):
            edge = at[k]
            if edge >= 0 and lengths[k] < walked.shape[1]:
                walked[k, lengths[k]] = edge
                lengths[k] += 1
                at[k] = nexts[edge]
                on_the_way += 1
