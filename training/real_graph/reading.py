"""Reading the archive as Real Graph looks at it: interactions, and what is on or off."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.stores.id_map import IdMap
from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids
from training.facts import MIN_WATCHED, pair_keys
from training.real_graph.interactions import NEVER_MS, Codes, Feature, Interactions, Switches

Arrays = tuple[npt.NDArray[Any], ...]
Kinds = npt.NDArray[np.uint8]
Values = npt.NDArray[np.float32]

_OF_KIND = {
    Kind.REPOST: Feature.NUM_RETWEETS,
    Kind.FAVOURITE: Feature.NUM_FAVORITES,
    Kind.CLICK: Feature.NUM_TWEET_CLICKS,
    Kind.LINK_OPEN: Feature.NUM_LINK_CLICKS,
    Kind.PROFILE_CLICK: Feature.NUM_PROFILE_VIEWS,
    Kind.DWELL: Feature.TOTAL_DWELL_TIME,
    Kind.IMPRESSION: Feature.NUM_INSPECTED_STATUSES,
    Kind.QUOTE: Feature.NUM_TWEET_QUOTES,
    Kind.NOTIFICATION_OPEN: Feature.NUM_NTAB_CLICKS,
    Kind.SHARE: Feature.NUM_SHARES,
    Kind.REPLY: Feature.NUM_REPLIES,
    Kind.BOOKMARK: Feature.NUM_BOOKMARKS,
    Kind.VIDEO_WATCH: Feature.NUM_VIDEO_WATCHES,
    Kind.PHOTO_EXPAND: Feature.NUM_PHOTO_EXPANDS,
}
_ON_RETWEET = {
    Feature.NUM_FAVORITES: Feature.NUM_RT_FAVORITES,
    Feature.NUM_REPLIES: Feature.NUM_RT_REPLIES,
    Feature.NUM_TWEET_QUOTES: Feature.NUM_RT_TWEET_QUOTES,
    Feature.NUM_RETWEETS: Feature.NUM_RT_RETWEETS,
    Feature.NUM_TWEET_CLICKS: Feature.NUM_RT_TWEET_CLICKS,
    Feature.NUM_LINK_CLICKS: Feature.NUM_RT_LINK_CLICKS,
}
_LINKS = ((Kind.REPLY, "reply_to"), (Kind.QUOTE, "quote_of"), (Kind.REPOST, "repost_of"))
_RELATIONS = {
    "follows": (Kind.FOLLOW, Kind.UNFOLLOW, "target_id"),
    "blocks": (Kind.BLOCK, Kind.UNBLOCK, "target_id"),
    "mutes": (Kind.MUTE, Kind.UNMUTE, "target_id"),
    "reports": (Kind.REPORT, Kind.UNDO_REPORT, "author_id"),
    "deactivations": (Kind.USER_DEACTIVATE, Kind.USER_REACTIVATE, "actor_id"),
    "suspensions": (Kind.USER_SUSPEND, Kind.USER_UNSUSPEND, "actor_id"),
    "deletions": (Kind.USER_DELETE, Kind.USER_DELETE, "actor_id"),
}
_UNDOS = {undo: kind for undo, kind in UNDONE_BY.items() if kind in _OF_KIND}
KINDS = (*_OF_KIND, *_UNDOS, Kind.POST_CREATE, *(k for on in _RELATIONS.values() for k in on[:2]))
NEEDED = (
    *("kind", "time_ms", "actor_id", "post_id", "author_id", "target_id", "value"),
    *(
        "video_duration_ms",
        *(f"{link}{end}" for _, link in _LINKS for end in ("_id", "_author_id")),
    ),
)
CHUNK_ROWS = 262_144


def collect(batches: Iterable[pa.RecordBatch]) -> Interactions:
    """Read the interactions off batches of events that hold the `NEEDED` columns in use.

    What a user does to itself is left out, and a video watched for less than half. An
    interaction with a repost counts as one of its own kind, of the user who reposted. All
    that was ever switched on or off, or taken back, keeps its time, so that any past instant
    can be looked at as it was.
    """
    reader = _Reader()
    for table in _in_chunks(batches):
        reader.read(table)
    return reader.result()


def _in_chunks(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Batches, which may be as small as a day, put together."""
    parts: list[pa.Table] = []
    n_rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        parts.append(pa.Table.from_batches([batch]))
        n_rows += batch.num_rows
        if n_rows >= CHUNK_ROWS:
            yield pa.concat_tables(parts, promote_options="default")
            parts, n_rows = [], 0
    if parts:
        yield pa.concat_tables(parts, promote_options="default")


class _Reader:
    def __init__(self) -> None:
        self._users = IdMap()
        self._rows: list[Arrays] = []
        self._undos: list[Arrays] = []
        self._switches: dict[str, list[Arrays]] = {name: [] for name in _RELATIONS}
        self._reposts: list[Ids] = []
        self._videos: list[Arrays] = []
        self._first_ms, self._last_ms = NEVER_MS, 0

    def read(self, table: pa.Table) -> None:
        kinds = table.column("kind").to_numpy()
        times_ms = _integers(table, "time_ms")
        actors, posts, authors, targets = (
            _integers(table, name) for name in ("actor_id", "post_id", "author_id", "target_id")
        )
        self._first_ms = min(self._first_ms, int(times_ms.min()))
        self._last_ms = max(self._last_ms, int(times_ms.max()))
        values = table.column("value").to_numpy() if "value" in table.column_names else None
        self._add(kinds, actors, authors, posts, times_ms, values, _FEATURES[kinds] > 0)
        self._add_undos(kinds, actors, posts, times_ms)
        follows = kinds == Kind.FOLLOW
        self._add(kinds, actors, targets, posts, times_ms, None, follows)
        for name, (on, off, other) in _RELATIONS.items():
            rows = np.flatnonzero((kinds == on) | (kinds == off))
            if len(rows):
                others = _integers(table, other)[rows]
                self._switches[name].append(
                    (
                        self._users.get_or_insert(actors[rows]),
                        self._users.get_or_insert(others),
                        kinds[rows] == on,
                        times_ms[rows],
                    )
                )
        self._add_posts(table, np.flatnonzero(kinds == Kind.POST_CREATE))

    def _add_posts(self, table: pa.Table, rows: Ids) -> None:
        if not len(rows):
            return
        posts, authors, times_ms, durations_ms = (
            _integers(table, name)[rows]
            for name in ("post_id", "author_id", "time_ms", "video_duration_ms")
        )
        kinds = np.full(len(rows), Kind.POST_CREATE, np.uint8)
        self._append(kinds, authors, authors, posts, times_ms, None)
        videos = durations_ms > 0
        self._videos.append((posts[videos], durations_ms[videos]))
        for kind, link in _LINKS:
            linked = _integers(table, f"{link}_id")[rows]
            writers = _integers(table, f"{link}_author_id")[rows]
            some = linked != 0
            self._add(
                np.full(len(rows), kind, np.uint8), authors, writers, linked, times_ms, None, some
            )
            if kind == Kind.REPOST:
                self._reposts.append(posts[some])

    def _add(
        self,
        kinds: Kinds,
        actors: Ids,
        others: Ids,
        posts: Ids,
        times_ms: Ids,
        values: Values | None,
        mask: npt.NDArray[np.bool_],
    ) -> None:
        rows = np.flatnonzero(mask & (actors > 0) & (others > 0) & (actors != others))
        if len(rows):
            some = values[rows] if values is not None else None
            self._append(kinds[rows], actors[rows], others[rows], posts[rows], times_ms[rows], some)

    def _append(
        self,
        kinds: Kinds,
        actors: Ids,
        others: Ids,
        posts: Ids,
        times_ms: Ids,
        values: Values | None,
    ) -> None:
        self._rows.append(
            (
                self._users.get_or_insert(actors),
                self._users.get_or_insert(others),
                kinds.astype(np.uint8),
                posts,
                times_ms,
                np.zeros(len(kinds), np.float32) if values is None else values,
            )
        )

    def _add_undos(self, kinds: Kinds, actors: Ids, posts: Ids, times_ms: Ids) -> None:
        rows = np.flatnonzero(_UNDONE[kinds] > 0)
        if len(rows):
            undone = self._users.get_or_insert(actors[rows]), _UNDONE[kinds[rows]]
            self._undos.append((*undone, posts[rows], times_ms[rows]))

    def result(self) -> Interactions:
        sources, others, kinds, posts, times_ms, values = _stacked(
            self._rows, (np.int32, np.int32, np.uint8, np.int64, np.int64, np.float32)
        )
        undone_ms = self._undone_ms(sources, kinds, posts, times_ms)
        features = _FEATURES[kinds]
        features[kinds == Kind.FOLLOW] = Feature.NUM_FOLLOWS
        features[kinds == Kind.POST_CREATE] = Feature.NUM_CREATE_TWEETS
        reposts = np.concatenate([np.empty(0, np.int64), *self._reposts])
        if len(reposts):
            reposted = np.isin(posts, reposts)
            features[reposted] = _RETWEETED[features[reposted]]
        kept = self._watched(kinds, posts, values)
        dwelt = features == Feature.TOTAL_DWELL_TIME
        # Whole milliseconds: their sums are the same in any order.
        amounts = np.where(dwelt, np.rint(np.maximum(values, 0)), 1).astype(np.float32)
        user_ids, ranks = np.unique(self._users.keys, return_inverse=True)
        codes: Codes = ranks.astype(np.int32)
        relations = {}
        for name, parts in self._switches.items():
            owners, targets, on, at_ms = _stacked(parts, (np.int32, np.int32, np.bool_, np.int64))
            order = np.argsort(at_ms, kind="stable")
            relations[name] = Switches(
                codes[owners[order]], codes[targets[order]], on[order], at_ms[order]
            )
        return Interactions(
            user_ids,
            *(codes[sources[kept]], codes[others[kept]], features[kept], times_ms[kept]),
            *(undone_ms[kept], amounts[kept], relations),
            *(min(self._first_ms, self._last_ms), self._last_ms),
        )

    def _undone_ms(self, sources: Codes, kinds: Kinds, posts: Ids, times_ms: Ids) -> Ids:
        """When each was next taken back, `NEVER_MS` where it was not."""
        undone_ms = np.full(len(sources), NEVER_MS)
        users, which, of_posts, at_ms = _stacked(
            self._undos, (np.int32, np.uint8, np.int64, np.int64)
        )
        if not len(users):
            return undone_ms
        undos = _action_keys(users, which, of_posts)
        rows = np.flatnonzero(_CAN_BE_UNDONE[kinds])
        actions = _action_keys(sources[rows], kinds[rows], posts[rows])
        concerned = np.isin(actions, undos)
        rows, actions = rows[concerned], actions[concerned]
        n = len(rows)
        keys = np.concatenate([actions, undos])
        all_ms = np.concatenate([times_ms[rows], at_ms])
        is_undo = np.arange(len(keys)) >= n
        order = np.lexsort((is_undo, all_ms, keys))
        places = np.where(is_undo[order], np.arange(len(keys)), len(keys) - 1)
        following = np.minimum.accumulate(places[::-1])[::-1]
        found = keys[order[following]] == keys[order]
        next_ms = np.where(found & is_undo[order[following]], all_ms[order[following]], NEVER_MS)
        done = order < n
        undone_ms[rows[order[done]]] = next_ms[done]
        return undone_ms

    def _watched(self, kinds: Kinds, posts: Ids, values: Values) -> npt.NDArray[np.bool_]:
        """All but videos of a known length that were watched for less than half."""
        kept = np.ones(len(kinds), bool)
        videos, durations_ms = _stacked(self._videos, (np.int64, np.int64))
        rows = np.flatnonzero(kinds == Kind.VIDEO_WATCH)
        if len(videos) and len(rows):
            order = np.argsort(videos, kind="stable")
            videos, durations_ms = videos[order], durations_ms[order]
            at = np.minimum(np.searchsorted(videos, posts[rows]), len(videos) - 1)
            known = videos[at] == posts[rows]
            kept[rows] = ~known | (values[rows] >= MIN_WATCHED * durations_ms[at])
        return kept


def _integers(table: pa.Table, name: str) -> Ids:
    """A column as int64, 0 where it is null or absent."""
    if name not in table.column_names:
        return np.zeros(len(table), np.int64)
    column = table.column(name)
    if column.null_count:
        column = pc.fill_null(column, 0)
    values: Ids = column.to_numpy()
    return values


def _stacked(parts: list[Arrays], dtypes: tuple[Any, ...]) -> Arrays:
    """Parts put together, column by column."""
    if not parts:
        return tuple(np.empty(0, dtype) for dtype in dtypes)
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def _action_keys(users: Codes, kinds: Kinds, posts: Ids) -> Ids:
    return pair_keys(pair_keys(users.astype(np.int64), kinds.astype(np.int64)), posts)


def _lookup(pairs: dict[Any, Any]) -> Kinds:
    table = np.zeros(256, np.uint8)
    for key, value in pairs.items():
        table[key] = value
    return table


_FEATURES = _lookup(_OF_KIND)
_RETWEETED = np.where(_lookup(_ON_RETWEET) > 0, _lookup(_ON_RETWEET), np.arange(256)).astype(
    np.uint8
)
_UNDONE = _lookup(_UNDOS)
_CAN_BE_UNDONE = np.isin(np.arange(256), list(_UNDOS.values()))
