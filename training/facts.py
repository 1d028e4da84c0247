"""What happened, as far as examples are made of it: impressions, engagements and posts."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.rows import Engagements, Rows
from actors.stores.columns import Array
from cluster.events import ENGAGEMENTS, NEGATIVE_FEEDBACK, UNDONE_BY, Kind
from cluster.ids import Ids, mix64
from cluster.routing import PARTITION

MIN_WATCHED = 0.5
"""Share of a video that has to be watched to count (the published label `video 50 %`)."""
SESSION_MS = 300_000
"""Impressions that name no request and fall within this time are taken for one request's."""

_SHOWN = pa.schema(
    [
        *(pa.field(name, pa.int64()) for name in ("actor_id", "post_id", "time_ms")),
        pa.field("request_id", pa.string()),
    ]
)
_CREATED = pa.schema(
    [
        pa.field(name, pa.int64())
        for name in ("post_id", "author_id", "time_ms", "video_duration_ms")
    ]
)
_NO_ROWS = pa.table({})
_TOLD = np.isin(np.arange(256), (*ENGAGEMENTS, *NEGATIVE_FEEDBACK, *UNDONE_BY))
_NEEDED = (
    *("kind", "time_ms", "actor_id", "post_id", "author_id", "value"),
    *("reply_to_id", "reply_to_author_id", "quote_of_id", "quote_of_author_id"),
    *("repost_of_id", "repost_of_author_id"),
)
Columns = tuple[Array, ...]
"""(actors, posts, authors, kinds, times, values) of engagements."""


@dataclass(frozen=True)
class Impressions:
    """What was on screen; arrays of shape (n,)."""

    viewer_ids: Ids
    post_ids: Ids
    times_ms: Ids
    asked_ms: Ids
    """When the timeline was asked for, at which features are computed; ≤ `times_ms`."""
    requests: Ids
    """A number for each request, from 0 in order of the first impression."""
    request_ids: pa.Array
    """Strings, null where the impression named none."""


@dataclass(frozen=True)
class Engaged:
    """Engagements, feedback and their undos, in order of time; arrays of shape (n,)."""

    actor_ids: Ids
    post_ids: Ids
    author_ids: Ids
    kinds: npt.NDArray[np.uint8]
    times_ms: Ids


@dataclass(frozen=True)
class Posts:
    """Posts in order of their creation; arrays of shape (n,)."""

    post_ids: Ids
    author_ids: Ids
    created_ms: Ids


@dataclass(frozen=True)
class Facts:
    """All that examples are made of."""

    impressions: Impressions
    engaged: Engaged
    posts: Posts


def pair_keys(firsts: Ids, seconds: Ids) -> Ids:
    """63-bit keys of pairs of integers; at 100 M pairs two share a key with chance 0.0005."""
    mixed = mix64(mix64(firsts) + seconds.astype(np.uint64))
    return (mixed >> np.uint64(1)).astype(np.int64)


def collect(batches: Iterable[pa.RecordBatch]) -> Facts:
    """Read the facts off batches of events in order of time."""
    impressions, served, posts = [_NO_ROWS], [_NO_ROWS], [_NO_ROWS]
    engaged: list[Columns] = []
    watched: list[Columns] = []
    for batch in batches:
        kinds = batch.column("kind").to_numpy()
        impressions.append(_rows(batch, (kinds == Kind.IMPRESSION) & ~_own(batch), _SHOWN))
        served.append(_rows(batch, kinds == Kind.SERVED, _SHOWN))
        posts.append(_rows(batch, kinds == Kind.POST_CREATE, _CREATED))
        told = _TOLD[kinds] & (kinds != Kind.VIDEO_WATCH) | (kinds == Kind.POST_CREATE)
        engaged.append(_engagements(batch, told))
        watched.append(_engagements(batch, kinds == Kind.VIDEO_WATCH))
    created = _concatenated(posts)
    engaged.append(_watched_enough(_stacked(watched), created))
    return Facts(
        _impressions(_concatenated(impressions), _concatenated(served)),
        _in_order(_stacked(engaged)),
        Posts(*_columns(created, "post_id", "author_id", "time_ms")),
    )


def _own(batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    """Rows about a post of the actor's own, which is shown in Following but never recommended."""
    named = batch.schema.names
    if "actor_id" not in named or "author_id" not in named:
        return np.zeros(batch.num_rows, bool)
    same = pc.equal(batch.column("actor_id"), batch.column("author_id")).fill_null(False)
    own: npt.NDArray[np.bool_] = same.to_numpy(zero_copy_only=False)
    return own


def _rows(batch: pa.RecordBatch, mask: npt.NDArray[np.bool_], schema: pa.Schema) -> pa.Table:
    """Rows of a mask with the columns of `schema`, null where the batch lacks them."""
    table = pa.Table.from_batches([batch])
    given = [name for name in schema.names if name in batch.schema.names]
    rows = table.select(given).filter(pa.array(mask))
    return pa.concat_tables([schema.empty_table(), rows], promote_options="permissive")


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables, promote_options="permissive").combine_chunks()


def _columns(table: pa.Table, *names: str) -> list[Ids]:
    if not len(table):
        return [np.empty(0, np.int64) for _ in names]
    return [table.column(name).to_numpy() for name in names]


def _engagements(batch: pa.RecordBatch, mask: npt.NDArray[np.bool_]) -> Columns:
    """Engagements in rows of a mask, by the appliers' own rule."""
    rows = batch.select([name for name in _NEEDED if name in batch.schema.names])
    rows = rows.filter(pa.array(mask))
    # Nothing is routed here: which partition a row is meant for does not matter.
    rows = rows.append_column(PARTITION, pa.array(np.zeros(len(rows), np.uint16)))
    found = Engagements.of(Rows(rows))
    values = np.zeros(len(found.kinds), np.float32)
    if len(values) == len(rows):
        values = rows.column("value").to_numpy()
    return found.actor_ids, found.post_ids, found.author_ids, found.kinds, found.times_ms, values


def _stacked(parts: list[Columns]) -> Columns:
    if not parts:
        return tuple(np.empty(0, np.int64) for _ in range(6))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _watched_enough(watched: Columns, created: pa.Table) -> Columns:
    """Watches of half a video; where nobody said how long the video is, every watch."""
    if not len(watched[0]) or not len(created):
        return watched
    videos = created.filter(pc.is_valid(created.column("video_duration_ms")))
    if not len(videos):
        return watched
    at = pc.index_in(pa.array(watched[1]), videos.column("post_id")).fill_null(-1).to_numpy()
    durations_ms = videos.column("video_duration_ms").to_numpy()
    enough = (at < 0) | (watched[5] >= MIN_WATCHED * durations_ms[at])
    return tuple(column[enough] for column in watched)


def _in_order(columns: Columns) -> Engaged:
    actors, posts, authors, kinds, times_ms, _ = columns
    order = np.lexsort((kinds, posts, actors, times_ms))
    return Engaged(*(c[order] for c in (actors, posts, authors, kinds, times_ms)))


def _impressions(shown: pa.Table, served: pa.Table) -> Impressions:
    """Impressions with the times of their requests, by what the server or the client said."""
    viewers, posts, times_ms = _columns(shown, "actor_id", "post_id", "time_ms")
    if not len(viewers):
        none = np.empty(0, np.int64)
        return Impressions(none, none, none, none, none, pa.array([], pa.string()))
    names = shown.column("request_id").combine_chunks()
    codes = names.dictionary_encode().indices.fill_null(-1).to_numpy().astype(np.int64)
    # Without a request's name: what one viewer saw within a few minutes.
    sessions = np.where(codes < 0, times_ms // SESSION_MS, -1)
    keys = pair_keys(np.where(codes < 0, viewers, codes), sessions)
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    requests = np.argsort(np.argsort(first))[group]
    began_ms = np.full(len(first), np.iinfo(np.int64).max)
    np.minimum.at(began_ms, group, times_ms)
    asked_ms = began_ms[group]
    if len(served):
        known = pc.drop_null(served.column("request_id"))
        served = served.filter(pc.is_valid(served.column("request_id")))
        at = pc.index_in(names, known).fill_null(-1).to_numpy()
        actors, served_ms = _columns(served, "actor_id", "time_ms")
        said = (at >= 0) & (actors[at] == viewers) & (served_ms[at] <= asked_ms)
        asked_ms = np.where(said, served_ms[at], asked_ms)
    return Impressions(viewers, posts, times_ms, asked_ms, requests, names)
