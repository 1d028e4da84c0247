"""Walking a timeline up and down: what a page covers, and the cursors that go on from it.

An answer has up to three cursors, and a client keeps the latest that it was given of each:

- `older` goes on below the page, and is missing where there is nothing below;
- `newer` asks for what has come since; it never ends;
- `gap`, of timelines ordered by time, asks for what lies between a page of newer posts that
  was full and what was shown before.

In timelines ordered by time a cursor is a place, or two, and what of the part of time between them
was shown already (see `timeline.threads`), so that any order of asking works. In ranked ones it
carries all that was shown, so the cursors of the last answer are those to use.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from actors.stores.newest_between import Place
from cluster.ids import Ids
from timeline.candidates import Candidates, Mask
from timeline.cursors import Cursor, CursorKind, Walk
from timeline.filters import chain_hashes, originals_of
from timeline.mixer import posts_since_ad, posts_until_ad
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


def unshown(query: Query, candidates: Candidates) -> Mask:
    """A filter: the same, less what stood above replies on earlier pages."""
    keep = within(query, candidates)
    if len(query.carried):
        keep &= ~np.isin(chain_hashes(candidates.post_ids), query.carried)
    return keep


def cursors_of_ordered(
    product: int,
    query: Query,
    shown: Candidates,
    above: Sequence[Place] = (),
    page: Sequence[object] = (),
) -> PageCursors:
    """Cursors of a page of a timeline ordered by time; `above` is what stands above replies.

    `page` are all its entries, between which ads stand.
    """
    walk, reached = query.walk, query.reached
    plain = Cursor(
        *(product, query.viewer_id, query.now_ms, 0, 0, np.empty(0, np.uint32)),
        subject_id=walk.list_id,
    )
    if query.context is None:
        return PageCursors()
    newest = _place(shown, 0) if len(shown) else reached or walk.after
    # Below a page that was full lies a gap, which may get an ad at its upper end.
    until_ad = posts_until_ad(page, None if reached else walk.until_ad)
    newer = replace(_at(plain, CursorKind.NEWER, after=newest), until_ad=until_ad)
    since_ad = posts_since_ad(page, None if walk.kind is CursorKind.NEWER else walk.since_ad)
    if walk.kind in (CursorKind.NEWER, CursorKind.GAP):
        down = replace(
            plain,
            chain=_carried(query, reached, above),
            since_ad=since_ad,
            until_ad=walk.until_ad,
        )
        gap = _at(down, CursorKind.GAP, reached, walk.after) if reached else None
        return PageCursors(None, newer if walk.kind is CursorKind.NEWER else None, gap)
    if reached is None and query.degraded and len(shown):
        # Whoever does not answer now may have more further down.
        reached = _place(shown, -1)
    down = replace(plain, chain=_carried(query, reached, above), since_ad=since_ad)
    older = _at(down, CursorKind.OLDER, reached) if reached else None
    return PageCursors(older, newer if walk.kind is None else None)


def cursors_of_ranked(
    product: int,
    query: Query,
    shown: Candidates,
    above: Ids | None = None,
    page: Sequence[object] = (),
) -> PageCursors:
    """Cursors of a page of a ranked timeline; none where the chain has become too long.

    `above` are posts that stand above replies, and were shown with them; `page` are all entries,
    between which ads stand.
    """
    both = [shown.post_ids, originals_of(shown), *([] if above is None else [above])]
    chain = np.union1d(query.chain, chain_hashes(np.concatenate(both)))
    if query.context is None or len(chain) > query.settings.for_you.max_chain:
        return PageCursors()
    since_ad, until_ad = ads_around(query.walk, page)
    newer = Cursor(
        *(product, query.viewer_id, query.now_ms, 0, 0, chain, CursorKind.NEWER),
        since_ad=since_ad,
        until_ad=until_ad,
    )
    older = replace(newer, kind=CursorKind.OLDER) if len(shown) else None
    return PageCursors(older, newer)


def ads_around(walk: Walk, page: Sequence[object]) -> tuple[int | None, int]:
    """How far the nearest ads are from the lower and the upper end of all that a ranked chain
    showed, once it has this page too; see `Cursor.since_ad`. At least so far, where the page had
    the first ad of the chain."""
    if walk.kind is CursorKind.NEWER:
        since = posts_since_ad(page, None) if walk.since_ad is None else walk.since_ad
        return since, posts_until_ad(page, walk.until_ad)
    until = posts_until_ad(page, None) if walk.until_ad is None else walk.until_ad
    return posts_since_ad(page, walk.since_ad), until


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


def _carried(query: Query, reached: Place | None, above: Sequence[Place]) -> npt.NDArray[np.uint32]:
    """What of the part of time below `reached` was shown above it, by this page and before."""
    lower = [place.post_id for place in above if reached and place < reached]
    return np.union1d(query.carried, chain_hashes(np.array(lower, np.int64)))


def _place(candidates: Candidates, row: int) -> Place:
    return Place(int(candidates.created_ms[row]), int(candidates.post_ids[row]))


_NO_PLACE = Place(0, 0)
