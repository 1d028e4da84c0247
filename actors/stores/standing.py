"""What many nodes' newest edges amount to: each neighbour once, with the kinds that stand.

An engagement stands unless a later edge of the same user and post takes it back. GraphJet's
user-tweet graph reads every edge and knows no undo; here what was taken back counts nowhere.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.stores.adjacency import ORIGIN, TARGET, authors_of, locate, newest
from actors.stores.id_map import Ids, hash_id
from actors.stores.interactions import InteractionGraph
from actors.stores.kernels import kernel, writable
from actors.stores.raw_memory import Int
from actors.stores.read_ahead import fetch_entries, fetch_index, fetch_targets
from actors.stores.segment_row import KIND_MASK, LEFT, LOW32, RIGHT, TARGET_SHIFT

Uint8s = npt.NDArray[np.uint8]
Uint16s = npt.NDArray[np.uint16]

NO_KIND = 255
"""In a table of undo kinds: this kind takes nothing back."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The neighbours of n nodes; those of node i are `offsets[i]` … `offsets[i+1]`.

    `other_ids` int64[m], by the newest edge first; `author_ids` int64[m], of the posts, 0 where
    the nodes are posts themselves; `kinds` uint16[m], bit k: an edge of kind k stands.
    """

    offsets: npt.NDArray[np.int64]
    other_ids: Ids
    author_ids: Ids
    kinds: Uint16s
    n_pairs: npt.NDArray[np.int64]
    """(n,): distinct (neighbour, kind) that stand."""
    n_read: npt.NDArray[np.int64]
    """(n,): edges of any kind looked at; the limit where there may be more."""


def standing_of_users(
    graph: InteractionGraph, user_ids: Ids, kinds: int, undo_of: Uint8s, min_ms: int, limit: int
) -> Standing:
    """Posts that each user's newest `limit` edges since `min_ms` say they engaged with.

    `kinds` is a mask of the kinds that count; `undo_of` uint8[16] says which kind each kind
    takes back (`NO_KIND`: none), and undo kinds have greater codes than what they undo.
    """
    masks = np.full(len(user_ids), kinds, np.int64)
    return _standing(graph, LEFT, user_ids, masks, undo_of, min_ms, limit)


def standing_of_posts(
    graph: InteractionGraph,
    post_ids: Ids,
    kinds: npt.NDArray[np.int64],
    undo_of: Uint8s,
    min_ms: int,
    limit: int,
) -> Standing:
    """Users of each post's newest edges, as `standing_of_users`; a mask of kinds for each post."""
    return _standing(graph, RIGHT, post_ids, kinds, undo_of, min_ms, limit)


def authors_known(graph: InteractionGraph, post_ids: Ids) -> Ids:
    """The authors of posts, int64[n], as their newest segment knows them; 0 where none does."""
    return _authors(graph.view.rows, writable(post_ids, np.int64))


def _standing(
    graph: InteractionGraph,
    side: int,
    ids: Ids,
    masks: npt.NDArray[np.int64],
    undo_of: Uint8s,
    min_ms: int,
    limit: int,
) -> Standing:
    view = graph.view
    return Standing(
        *_collect(
            view.rows,
            side,
            writable(ids, np.int64),
            writable(masks, np.int64),
            writable(undo_of, np.uint8),
            max(min_ms, 0),
            limit,
        )
    )


@kernel
def _collect(
    rows: npt.NDArray[np.int64],
    side: Int,
    ids: Ids,
    masks: npt.NDArray[np.int64],
    undo_of: Uint8s,
    min_ms: Int,
    limit: Int,
) -> tuple[Ids, Ids, Ids, Uint16s, Ids, Ids]:
    n = len(ids)
    nodes = np.empty((len(rows), n), np.int32)
    locate(rows, side, ids, nodes)
    by_id = np.ascontiguousarray(nodes.T)
    found, scratch = np.empty((3, limit), np.int64), np.empty((3, 3 * limit), np.int64)
    slots = 16
    while slots < 2 * limit:
        slots *= 2
    # A slot holds `base` + entry number of this node; what is not above `base` is empty.
    table = np.zeros(slots, np.int64)
    base = np.int64(0)
    closed = np.empty(limit, np.int64)
    others, authors = np.empty(1024, np.int64), np.empty(1024, np.int64)
    kinds = np.empty(1024, np.uint16)
    offsets = np.zeros(n + 1, np.int64)
    n_pairs, n_read = np.zeros(n, np.int64), np.zeros(n, np.int64)
    used = np.int64(0)
    for ahead in range(n + 3):
        if ahead < n:
            fetch_index(rows, side, by_id[ahead])
        if 1 <= ahead < n + 1:
            fetch_entries(rows, side, by_id[ahead - 1])
        if 2 <= ahead < n + 2:
            fetch_targets(rows, side, by_id[ahead - 2], limit)
        i = ahead - 3
        if i < 0:
            continue
        count = newest(rows, side, by_id[i], limit, min_ms, found, scratch)
        n_read[i] = count
        if used + count > len(others):
            size = 2 * (used + count)
            more = np.empty(size, np.int64)
            more[:used] = others[:used]
            others = more
            more = np.empty(size, np.int64)
            more[:used] = authors[:used]
            authors = more
            wider = np.empty(size, np.uint16)
            wider[:used] = kinds[:used]
            kinds = wider
        n_entries = np.int64(0)
        for e in range(count):
            target, origin = found[TARGET, e], found[ORIGIN, e]
            kind = origin & KIND_MASK
            at = np.int64(hash_id(target) >> np.uint64(32)) & (slots - 1)
            entry = table[at] - base - 1
            while entry >= 0 and others[used + entry] != target:
                at = (at + 1) & (slots - 1)
                entry = table[at] - base - 1
            if entry < 0:
                entry = n_entries
                n_entries += 1
                table[at] = base + entry + 1
                others[used + entry] = target
                authors[used + entry] = 0
                kinds[used + entry] = 0
                closed[entry] = 0
            if side == LEFT and authors[used + entry] == 0:
                post = (origin & LOW32) >> TARGET_SHIFT
                authors[used + entry] = authors_of(rows[origin >> 32])[post]
            # The newest word on each kind counts. Of one instant the greater kind comes first,
            # which is the undo.
            if undo_of[kind] != NO_KIND:
                closed[entry] |= 1 << undo_of[kind]
            elif (masks[i] >> kind) & 1 and not (closed[entry] >> kind) & 1:
                closed[entry] |= 1 << kind
                kinds[used + entry] |= np.uint16(1 << kind)
                n_pairs[i] += 1
        base += n_entries
        kept = used
        for entry in range(used, used + n_entries):
            if kinds[entry] != 0:
                others[kept], authors[kept], kinds[kept] = (
                    others[entry], authors[entry], kinds[entry],
                )  # fmt: skip
                kept += 1
        used = kept
        offsets[i + 1] = used
    return (
        offsets,
        others[:used].copy(),
        authors[:used].copy(),
        kinds[:used].copy(),
        n_pairs,
        n_read,
    )


@kernel
def _authors(rows: npt.NDArray[np.int64], post_ids: Ids) -> Ids:
    nodes = np.empty((len(rows), len(post_ids)), np.int32)
    locate(rows, RIGHT, post_ids, nodes)
    authors = np.zeros(len(post_ids), np.int64)
    for s in range(len(rows)):
        known = authors_of(rows[s])
        for i in range(len(post_ids)):
            if authors[i] == 0 and nodes[s, i] >= 0:
                authors[i] = known[nodes[s, i]]
    return authors
