"""What came on screen, request by request: the examples before they are labelled."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.light import positions_in
from cluster.events import Kind
from cluster.ids import Ids
from training.facts import SESSION_MS, pair_keys
from training.heavy_ranker.labels import Shown

COLUMNS = ("kind", "time_ms", "actor_id", "post_id", "author_id", "request_id", "source")
KINDS = (Kind.SERVED, Kind.IMPRESSION)


def shown_of(exposures: pa.Table, since_ms: int, until_ms: int) -> Shown:
    """Posts shown by requests served in `[since_ms, until_ms)`, from `COLUMNS` of exposures.

    Each post of a request counts once, as of when it first came on screen, in order of (time
    of the request, viewer, post). A request was served when the server said so, or where it did
    not (or later than its first impression, by clocks that differ) at its first impression;
    impressions that name no request and fall together are taken for one request's.
    """
    names = exposures.column("request_id").combine_chunks().dictionary_encode()
    codes = names.indices.fill_null(-1).to_numpy().astype(np.int64)
    viewers, posts, authors, times_ms = (
        exposures.column(name).to_numpy()
        for name in ("actor_id", "post_id", "author_id", "time_ms")
    )
    # A name that two viewers use is two requests; without one, a few minutes of a viewer are.
    requests = pair_keys(pair_keys(viewers, codes), np.where(codes < 0, times_ms // SESSION_MS, 0))
    kinds = exposures.column("kind").to_numpy()
    on_screen, served = np.flatnonzero(kinds == Kind.IMPRESSION), kinds == Kind.SERVED
    served_rows = np.flatnonzero(served & (codes >= 0))
    known, began_ms = _earliest(
        requests[np.concatenate([on_screen, served_rows])],
        times_ms[np.concatenate([on_screen, served_rows])],
    )
    items = pair_keys(requests, posts)
    order = on_screen[np.lexsort((times_ms[on_screen], items[on_screen]))]
    first = np.ones(len(order), bool)
    first[1:] = items[order[1:]] != items[order[:-1]]
    rows = order[first]
    asked_ms = began_ms[positions_in(known, requests[rows])] if len(rows) else times_ms[rows]
    within = (asked_ms >= since_ms) & (asked_ms < until_ms)
    rows, asked_ms = rows[within], asked_ms[within]
    order = np.lexsort((posts[rows], viewers[rows], asked_ms))
    rows, asked_ms = rows[order], asked_ms[order]
    return Shown(
        viewer_ids=viewers[rows],
        post_ids=posts[rows],
        author_ids=authors[rows],
        asked_ms=asked_ms,
        shown_ms=times_ms[rows],
        request_ids=exposures.column("request_id").combine_chunks().take(pa.array(rows)),
        sources=_sources(exposures, items, served_rows, rows),
    )


def _earliest(keys: Ids, times_ms: Ids) -> tuple[Ids, Ids]:
    """Each key once, ascending, and its earliest time."""
    order = np.lexsort((times_ms, keys))
    known, first = np.unique(keys[order], return_index=True)
    return known, times_ms[order][first]


def _sources(exposures: pa.Table, items: Ids, served_rows: Ids, rows: Ids) -> pa.Array:
    """By which source each row's post was served; null where nothing says so."""
    known, first = np.unique(items[served_rows], return_index=True)
    at = positions_in(known, items[rows])
    column = exposures.column("source").combine_chunks()
    if not len(known):
        return pa.nulls(len(rows), pa.string())
    told = column.take(pa.array(served_rows[first][np.maximum(at, 0)]))
    return pc.if_else(pa.array(at >= 0), told, pa.scalar(None, pa.string()))
