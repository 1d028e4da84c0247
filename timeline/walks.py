"""Walking a timeline up and down: what a page covers, and the cursors that go on from it.

An answer has up to three cursors, and a client keeps the latest that it was given of each:

- `older` goes on below the page, and is missing where there is nothing below;
- `newer` asks for what has come since; it never ends;
- `gap`, of timelines ordered by time, asks for what lies between a page of newer posts that
  was full and what was shown before.

In timelines ordered by time a cursor is a place, or two, so that any order of asking works. In
ranked ones it carries all that was shown, so the cursors of the last answer are those to use.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from actors.stores.newest_between import Place
from cluster.ids import Ids
from timeline.candidates import Candidates, Mask
from timeline.cursors import Cursor, CursorKind
from timeline.filters import chain_hashes, originals_of
from timeline.query import Query


@dataclass(frozen=True)
class PageCursors:
    """Where one can go from a page; None: nowhere, or no further than before."""

    older: Cursor | None = None
    newer: Cursor | None = None
    gap: Cursor | None = None


def within(query: Query, candidates: Candidates) -> Mask:
    """A filter: posts of the part of time that is asked for."""
    keep = np.ones(len(candidates), bool)
    created, post_ids = candidates.created_ms, candidates.post_ids
    if query.walk.before is not None:
        at_ms, at_id = query.walk.before
        keep &= (created < at_ms) | ((created == at_ms) & (post_ids < at_id))
    if query.walk.after is not None:
        at_ms, at_id = query.walk.after
        keep &= (created > at_ms) | ((created == at_ms) & (post_ids > at_id))
    return keep


def newest_first(query: Query, candidates: Candidates) -> npt.NDArray[np.int64]:
    """A selection: the newest posts, `limit` of them; what is left over is for another page."""
    order = np.lexsort((-candidates.post_ids, -candidates.created_ms))
    rows = order[: query.limit]
    if len(rows) < len(order):
        query.reached = _place(candidates, int(rows[-1]))
    return rows


def cursors_of_ordered(product: int, query: Query, shown: Candidates) -> PageCursors:
    """Cursors of a page of a timeline ordered by time."""
    walk, reached = query.walk, query.reached
    plain = Cursor(
        *(product, query.viewer_id, query.now_ms, 0, 0, np.empty(0, np.uint32)),
        subject_id=walk.list_id,
    )
    if query.context is None:
        return PageCursors()
    newest = _place(shown, 0) if len(shown) else reached or walk.after
    newer = _at(plain, CursorKind.NEWER, after=newest)
    if walk.kind in (CursorKind.NEWER, CursorKind.GAP):
        gap = _at(plain, CursorKind.GAP, reached, walk.after) if reached else None
        return PageCursors(None, newer if walk.kind is CursorKind.NEWER else None, gap)
    if reached is None and query.degraded and len(shown):
        # Whoever does not answer now may have more further down.
        reached = _place(shown, -1)
    older = _at(plain, CursorKind.OLDER, reached) if reached else None
    return PageCursors(older, newer if walk.kind is None else None)


def cursors_of_ranked(
    product: int, query: Query, shown: Candidates, above: Ids | None = None
) -> PageCursors:
    """Cursors of a page of a ranked timeline; none where the chain has become too long.

    `above` are posts that stand above replies, and were shown with them.
    """
    both = [shown.post_ids, originals_of(shown), *([] if above is None else [above])]
    chain = np.union1d(query.chain, chain_hashes(np.concatenate(both)))
    if query.context is None or len(chain) > query.settings.for_you.max_chain:
        return PageCursors()
    newer = Cursor(product, query.viewer_id, query.now_ms, 0, 0, chain, CursorKind.NEWER)
    older = replace(newer, kind=CursorKind.OLDER) if len(shown) else None
    return PageCursors(older, newer)


def _at(
    plain: Cursor, kind: CursorKind, before: Place | None = None, after: Place | None = None
) -> Cursor:
    below, above = before or _NO_PLACE, after or _NO_PLACE
    return replace(
        plain,
        kind=kind,
        before_ms=below.created_ms,
        before_id=below.post_id,
        after_ms=above.created_ms,
        after_id=above.post_id,
    )


def _place(candidates: Candidates, row: int) -> Place:
    return Place(int(candidates.created_ms[row]), int(candidates.post_ids[row]))


_NO_PLACE = Place(0, 0)
