"""What people did, as far as the heavy ranker's labels are made of it, and what posts are."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.features.light import positions_in
from actors.stores.columns import Array
from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids
from training.facts import pair_keys

NEVER_MS = np.iinfo(np.int64).max

ACTIONS = (
    *(Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE, Kind.CLICK, Kind.DWELL),
    *(Kind.PROFILE_CLICK, Kind.VIDEO_WATCH, Kind.SHOW_LESS, Kind.NOT_INTERESTED, Kind.REPORT),
)
ON_USERS = (Kind.FOLLOW, Kind.MUTE, Kind.BLOCK)
UNDOS = {undo: kind for undo, kind in UNDONE_BY.items() if kind in ACTIONS} | {
    Kind.UNFOLLOW: Kind.FOLLOW,
    Kind.UNMUTE: Kind.MUTE,
    Kind.UNBLOCK: Kind.BLOCK,
}
"""Undo kind → the kind it takes back."""
KINDS = (*ACTIONS, *ON_USERS, *UNDOS, Kind.POST_CREATE)
COLUMNS = (
    *("kind", "time_ms", "actor_id", "post_id", "author_id", "target_id", "value"),
    *("reply_to_id", "reply_to_author_id", "quote_of_id", "quote_of_author_id"),
    *("repost_of_id", "repost_of_author_id", "root_id", "video_duration_ms"),
)
"""Columns of events that are read, in no order."""

_LINKS = ((Kind.REPLY, "reply_to"), (Kind.QUOTE, "quote_of"), (Kind.REPOST, "repost_of"))
_MAX_DEPTH = 256
"""Replies above a post that are followed, should they go round in a circle."""
_IS_ACTION = np.isin(np.arange(256), ACTIONS)
_IS_ON_USER = np.isin(np.arange(256), (*ON_USERS, *(u for u, k in UNDOS.items() if k in ON_USERS)))
_SUBJECT = np.arange(256, dtype=np.uint8)
for _undo, _kind in UNDOS.items():
    _SUBJECT[_undo] = _kind
_IS_UNDO = np.isin(np.arange(256), list(UNDOS))
_TOLD = ("actor_id", "post_id", "author_id", "kind", "time_ms", "value")
_DTYPES = (np.int64, np.int64, np.int64, np.uint8, np.int64, np.float32, np.int64)
_NOTHING: tuple[Array, ...] = tuple(np.empty(0, dtype) for dtype in _DTYPES)


class Timeline:
    """Events of keys in order of time: finds those before and between given instants."""

    def __init__(self, keys: Ids, times_ms: Ids) -> None:
        """`keys` and `times_ms` of shape (n,), in any order; of equals the later given is later."""
        self._order = np.lexsort((times_ms, keys))
        ordered, times_ms = keys[self._order], times_ms[self._order]
        self._keys, codes = np.unique(ordered, return_inverse=True)
        self._first_ms = int(times_ms.min()) if len(times_ms) else 0
        self._span_ms = (int(times_ms.max()) if len(times_ms) else 0) - self._first_ms + 2
        self._places = codes * self._span_ms + (times_ms - self._first_ms)

    def last_until(self, keys: Ids, times_ms: Ids) -> npt.NDArray[np.int64]:
        """Rows of the last event of each key at or before an instant; −1 where there is none."""
        codes, ends = self._find(keys, times_ms + 1)
        starts = np.searchsorted(self._places, codes * self._span_ms)
        found = (codes >= 0) & (ends > starts)
        rows = np.full(len(keys), -1, np.int64)
        rows[found] = self._order[ends[found] - 1]
        return rows

    def first_from(self, keys: Ids, times_ms: Ids) -> npt.NDArray[np.int64]:
        """Rows of the first event of each key at or after an instant; −1 where there is none."""
        codes, at = self._find(keys, times_ms)
        ends = np.searchsorted(self._places, (codes + 1) * self._span_ms)
        found = (codes >= 0) & (at < ends)
        rows = np.full(len(keys), -1, np.int64)
        rows[found] = self._order[at[found]]
        return rows

    def between(
        self, keys: Ids, since_ms: Ids, until_ms: Ids
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """(place among `keys`, row of an event of that key in `[since, until)`), all pairs."""
        codes, starts = self._find(keys, since_ms)
        _, ends = self._find(keys, until_ms)
        counts = np.where(codes >= 0, np.maximum(ends - starts, 0), 0)
        asked = np.repeat(np.arange(len(keys)), counts)
        within = np.arange(len(asked)) - np.repeat(np.cumsum(counts) - counts, counts)
        return asked, self._order[starts[asked] + within]

    def _find(self, keys: Ids, times_ms: Ids) -> tuple[Ids, npt.NDArray[np.int64]]:
        """The number of each key, −1 for none, and where its events from an instant on begin."""
        codes = positions_in(self._keys, keys)
        since_first = np.clip(times_ms - self._first_ms, 0, self._span_ms - 1)
        return codes, np.searchsorted(self._places, codes * self._span_ms + since_first)


@dataclass(frozen=True)
class Actions:
    """Engagements, feedback and edges that were not taken back at once; arrays of shape (n,)."""

    actor_ids: Ids
    post_ids: Ids
    """0 of an edge, and of a visit of a profile that names no post."""
    author_ids: Ids
    """The post's author; of an edge whom it leads to."""
    kinds: npt.NDArray[np.uint8]
    times_ms: Ids
    values: npt.NDArray[np.float32]
    made_ids: Ids
    """The post that a reply, quote or repost is; 0 where none is known."""
    undone_ms: Ids
    """When it was next taken back; `NEVER_MS` where it was not."""

    def __len__(self) -> int:
        return len(self.kinds)

    def of(self, *kinds: Kind) -> "Actions":
        """Those of some kinds."""
        return self.where(np.isin(self.kinds, kinds))

    def where(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "Actions":
        """Those of a mask, or at given places."""
        return Actions(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True)
class Posts:
    """Replies and videos among posts, by id; what is neither is not kept."""

    reply_ids: Ids
    """Ascending."""
    parent_ids: Ids
    """What each replies to."""
    root_ids: Ids
    """The first post of each conversation; 0 where nobody said."""
    video_ids: Ids
    """Ascending."""
    durations_ms: Ids

    def are_under(self, post_ids: Ids, above_ids: Ids) -> npt.NDArray[np.bool_]:
        """Whether posts (n,) are others (n,), or stand below them in a conversation."""
        under: npt.NDArray[np.bool_] = post_ids == above_ids
        climbing = np.flatnonzero(~under & (post_ids != 0))
        at = post_ids[climbing]
        for _ in range(_MAX_DEPTH):
            rows = positions_in(self.reply_ids, at)
            climbing, rows = climbing[rows >= 0], rows[rows >= 0]
            if not len(climbing):
                break
            at, above = self.parent_ids[rows], above_ids[climbing]
            found = (at == above) | (self.root_ids[rows] == above)
            under[climbing[found]] = True
            climbing, at = climbing[~found], at[~found]
        return under

    def video_ms(self, post_ids: Ids) -> Ids:
        """How long the video of each post is; 0 where it has none."""
        rows = positions_in(self.video_ids, post_ids)
        if not len(self.video_ids):
            return np.zeros(len(post_ids), np.int64)
        found: Ids = np.where(rows >= 0, self.durations_ms[rows], 0)
        return found


def read_actions(batches: Iterable[pa.RecordBatch]) -> Actions:
    """The actions in batches of events that hold `COLUMNS` (optional ones may be missing).

    Replies, quotes and reposts that are posts of their own count as what they are.
    """
    parts: list[tuple[Array, ...]] = [_NOTHING]
    for batch in batches:
        table = _compact(batch)
        kinds = table["kind"]
        on_posts = _IS_ACTION[_SUBJECT[kinds]] & (table["actor_id"] != 0)
        on_posts &= (table["post_id"] != 0) | (kinds == Kind.PROFILE_CLICK)
        none = np.zeros(int(on_posts.sum()), np.int64)
        parts.append((*(table[name][on_posts] for name in _TOLD), none))
        edges = _IS_ON_USER[kinds]
        none = np.zeros(int(edges.sum()), np.int64)
        actors, targets, at_ms = (table[n][edges] for n in ("actor_id", "target_id", "time_ms"))
        parts.append((actors, none, targets, kinds[edges], at_ms, none.astype(np.float32), none))
        for kind, link in _LINKS:
            linked = (kinds == Kind.POST_CREATE) & (table[f"{link}_id"] != 0)
            n = int(linked.sum())
            parts.append(
                (
                    *(table[n][linked] for n in ("author_id", f"{link}_id", f"{link}_author_id")),
                    *(np.full(n, kind, np.uint8), table["time_ms"][linked]),
                    *(np.zeros(n, np.float32), table["post_id"][linked]),
                )
            )
    return _with_undos(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def read_posts(batches: Iterable[pa.RecordBatch]) -> Posts:
    """Replies and videos among the posts created in batches of events.

    Some 24 bytes a reply and 16 a video, which is all that is held of the past.
    """
    replies: list[tuple[Array, ...]] = []
    videos: list[tuple[Array, ...]] = []
    for batch in batches:
        table = _compact(batch)
        created = table["kind"] == Kind.POST_CREATE
        is_reply = created & (table["reply_to_id"] != 0)
        names = ("post_id", "reply_to_id", "root_id")
        replies.append(tuple(table[name][is_reply] for name in names))
        has_video = created & (table["video_duration_ms"] > 0)
        videos.append(tuple(table[n][has_video] for n in ("post_id", "video_duration_ms")))
    return Posts(*_by_id(replies, 3), *_by_id(videos, 2))


def _with_undos(
    actors: Ids,
    posts: Ids,
    authors: Ids,
    kinds: npt.NDArray[np.uint8],
    times_ms: Ids,
    values: npt.NDArray[np.float32],
    made: Ids,
) -> Actions:
    """What was done, each with the time at which it was next taken back."""
    subjects = np.where(_IS_ON_USER[kinds], authors, posts)
    keys = pair_keys(pair_keys(actors, _SUBJECT[kinds].astype(np.int64)), subjects)
    is_undo = _IS_UNDO[kinds]
    undos = Timeline(keys[is_undo], times_ms[is_undo])
    done = np.flatnonzero(~is_undo)
    # In one instant the undo has the last word.
    rows = undos.first_from(keys[done], times_ms[done])
    undone_ms = np.full(len(done), NEVER_MS)
    undone_ms[rows >= 0] = times_ms[is_undo][rows[rows >= 0]]
    return Actions(
        *(actors[done], posts[done], authors[done], kinds[done]),
        *(times_ms[done], values[done], made[done], undone_ms),
    )


def _compact(batch: pa.RecordBatch) -> dict[str, Array]:
    """The columns as arrays; 0 for what is null or absent."""
    given = set(batch.schema.names)
    table = {}
    for name in COLUMNS:
        if name not in given:
            table[name] = np.zeros(batch.num_rows, np.int64)
            continue
        column = batch.column(name)
        table[name] = (pc.fill_null(column, 0) if column.null_count else column).to_numpy()
    return table


def _by_id(parts: list[tuple[Array, ...]], n_columns: int) -> list[Ids]:
    """Columns in order of the first, which are ids."""
    parts = [tuple(np.empty(0, np.int64) for _ in range(n_columns)), *parts]
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    ids, first = np.unique(columns[0], return_index=True)
    return [ids, *(column[first] for column in columns[1:])]
