"""Events of the archive joined with everything known at their instants: records to count.

An archive holds both sides of every event, which no shard does. Who followed whom, what had
been counted of a post and of two people, and who had engaged publicly are those of just before
each event; languages, countries and edits those of the end of its batch.
"""

from dataclasses import fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.aggregate_events import Happenings
from actors.aggregates import NEW_ACCOUNT_MS, events_features, watched_half
from actors.features.aggregate_records import (
    BIT_OF,
    FEATURES,
    Bits,
    Floats,
    Ragged,
    Records,
    hours_of,
    weekdays_of,
)
from actors.features.post_facts import POST_FEATURES, post_features, seen
from actors.lists import Lists
from actors.rows import Rows
from actors.stores.aggregates import tuple_keys
from actors.stores.columns import Array, Columns
from actors.stores.id_map import IdMap
from actors.stores.kernels import kernel
from actors.stores.users import UserTable
from actors.stores.versions import versions_of
from cluster.events import Kind
from cluster.ids import Ids, partitions_of
from cluster.routing import PARTITION
from training.following import Following
from training.joined_posts import COUNTED, JoinedPosts, keys_of_words

GOOD_CLICK_MS = 86_400_000
"""How long after opening a conversation a favourite or reply makes that a good click (chosen)."""
POPULAR_FAVOURITES, DISCUSSED_REPLIES = 10, 5

_USER_KINDS = tuple(kind for kind in Kind if kind.name.startswith("USER_"))
_COUNTER_OF = np.full(256, -1, np.int64)
for _at, _kind in enumerate(COUNTED):
    _COUNTER_OF[_kind] = _at
_PUBLIC = np.isin(np.arange(256), (Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE))
_RECIPROCAL = np.zeros(256, np.uint64)
for _kind, _label in (
    (Kind.IMPRESSION, "is_reply_impressed_by_author"),
    (Kind.REPLY, "is_reply_replied_by_author"),
    (Kind.FAVOURITE, "is_reply_favorited_by_author"),
):
    _RECIPROCAL[_kind] = 1 << BIT_OF[_label]
_GOOD = np.uint64(1 << BIT_OF["is_good_clicked"])
_COUNTERS = ("favorites", "reposts", "replies", "quotes", "clicks", "impressions")
"""What `COUNTED` is called in features."""


class JoinedEvents:
    """All that is known so far, batch by batch in order of time."""

    def __init__(self) -> None:
        self.users, self.posts, self.lists = UserTable(), JoinedPosts(), Lists()
        self.following = Following()
        self._pair_rows, self._click_rows = IdMap(), IdMap()
        self._pairs = Columns({"counts": (np.float32, len(COUNTED)), "engaged_ms": np.int64})
        self._clicks = Columns({"clicked_ms": np.int64})

    def records(self, batch: pa.RecordBatch) -> Records:
        """Take in a batch of events, in order of time; returns what is to be counted of it."""
        actors = batch.column("actor_id").to_numpy()
        partitions = pa.array(partitions_of(actors), pa.uint16())
        rows = Rows(batch.append_column(PARTITION, partitions))
        self._write(rows)
        happened = Happenings.of(rows)
        history, labels = self._observe(happened)
        own = self._records(happened, history, labels, _PUBLIC[happened.kinds])
        answered, bits = self._answered(happened)
        nothing = {name: np.zeros(len(answered), np.float32) for name in history}
        nobody = np.zeros(len(answered), bool)
        return _together(own, self._records(answered, nothing, bits, nobody))

    def _write(self, rows: Rows) -> None:
        users = rows.of(*_USER_KINDS)
        if len(users):
            self.users.write(users.batch, versions_of(users["time_ms"], users["event_id"]))
        posts = rows.of(Kind.POST_CREATE, Kind.POST_EDIT)
        if len(posts):
            self.posts.write(posts.batch)
        follows = rows.of(Kind.FOLLOW, Kind.UNFOLLOW)
        times_ms = follows["time_ms"]
        versions = versions_of(times_ms, follows["event_id"])
        on = follows["kind"] == Kind.FOLLOW
        self.following.write(follows["actor_id"], follows["target_id"], times_ms, versions, on)
        self.lists.apply(rows)

    def _observe(self, happened: Happenings) -> tuple[dict[str, Floats], Bits]:
        """Histories of just before each event, which they then enter; and good clicks."""
        posts = self.posts.rows_for(happened.post_ids)
        pairs = self._pair_rows.get_or_insert(tuple_keys(happened.actor_ids, happened.author_ids))
        self._pairs.extend(len(self._pair_rows) - len(self._pairs))
        visits = tuple_keys(happened.actor_ids, happened.post_ids)
        clicks = happened.kinds == Kind.CLICK
        self._click_rows.get_or_insert(visits[clicks])
        self._clicks.extend(len(self._click_rows) - len(self._clicks))
        n = len(happened)
        of_posts = np.zeros((n, len(COUNTED) + 1), np.float32)
        of_pairs = np.zeros((n, len(COUNTED) + 1), np.float32)
        counters = _COUNTER_OF[happened.kinds]
        for table, at, found, unit_ms in (
            (self.posts.table, posts, of_posts, 60_000),
            (self._pairs, pairs, of_pairs, 86_400_000),
        ):
            times_ms, counts = happened.times_ms, table["counts"]
            _count_on(at, counters, times_ms, counts, table["engaged_ms"], found, unit_ms)
        good = _good_clicks(
            self._click_rows.get(visits),
            clicks,
            (happened.kinds == Kind.FAVOURITE) | (happened.kinds == Kind.REPLY),
            happened.times_ms,
            self._clicks["clicked_ms"],
        )
        history: dict[str, Floats] = {
            "minutes_since_engaged": of_posts[:, -1],
            "days_since_pair_engaged": of_pairs[:, -1],
        }
        for column, name in enumerate(_COUNTERS):
            history[f"post_{name}"] = of_posts[:, column]
            history[f"pair_{name}"] = of_pairs[:, column]
        told: dict[str, npt.NDArray[np.bool_]] = {
            "is_stranger": np.logical_not(of_pairs[:, :-2].any(axis=1)),
            "is_popular": history["post_favorites"] >= POPULAR_FAVOURITES,
            "is_discussed": history["post_replies"] >= DISCUSSED_REPLIES,
        }
        history |= {name: values.astype(np.float32) for name, values in told.items()}
        labels: Bits = happened.labels | np.where(good, _GOOD, np.uint64(0))
        return history, labels

    def _answered(self, happened: Happenings) -> tuple[Happenings, Bits]:
        """What authors did to replies to them, turned round: the replier is the viewer.

        The post is the one that was replied to.
        """
        rows = self.posts.rows_for(happened.post_ids)
        bits = _RECIPROCAL[happened.kinds]
        to_actor = _taken(self.posts["reply_to_author_id"], rows) == happened.actor_ids
        at = np.flatnonzero((bits > 0) & to_actor)
        some = happened.where(_mask(at, len(happened)))
        parents = _taken(self.posts["reply_to_id"], rows[at])
        columns = {f.name: getattr(some, f.name) for f in fields(some)}
        columns |= {
            "actor_ids": some.author_ids,
            "author_ids": some.actor_ids,
            "post_ids": parents,
            "values": np.zeros(len(at), np.float32),
            "positions": np.zeros(len(at), np.float32),
        }
        return Happenings(**columns), bits[at]

    def _records(
        self,
        happened: Happenings,
        history: dict[str, Floats],
        labels: Bits,
        public: npt.NDArray[np.bool_],
    ) -> Records:
        rows, times_ms = self.posts.rows_for(happened.post_ids), happened.times_ms
        there = np.where(seen(self.posts, rows, times_ms), rows, -1).astype(np.int32)
        labels = labels | watched_half(happened, _taken(self.posts["video_duration_ms"], there))
        viewers, authors = happened.actor_ids, happened.author_ids
        viewer_rows, author_rows = (self.users.rows_of(users) for users in (viewers, authors))
        languages, countries = (self._user_keys(name) for name in ("language", "country"))
        country = _taken(countries, viewer_rows)
        language = _taken(self.posts["language"], there)
        keys: dict[str, Ids | Ragged] = {
            "viewer_id": viewers,
            "author_id": authors,
            "post_id": happened.post_ids,
            "original_author_id": _taken(self.posts["original_author_id"], there),
            "topics": self.posts.topics_of(there),
            "engagers": self._engagers(happened, there, public),
            "lists": Ragged(*self.lists.holding(viewers, authors)),
            "country": country,
            "language": language,
            "hour": hours_of(times_ms),
            "weekday": weekdays_of(times_ms),
        }
        created_ms = _taken(self.users["created_ms"], author_rows)
        viewer_since_ms = _taken(self.users["created_ms"], viewer_rows)
        known = there >= 0
        features = events_features(happened) | history
        features |= post_features(self.posts, rows, times_ms, POST_FEATURES)
        told = {
            "is_author_verified": known & _taken(self.users["verified"], author_rows),
            "is_author_new": known & (created_ms > 0) & (times_ms - created_ms < NEW_ACCOUNT_MS),
            "is_viewer_verified": _taken(self.users["verified"], viewer_rows),
            "is_viewer_new": (viewer_since_ms > 0) & (times_ms - viewer_since_ms < NEW_ACCOUNT_MS),
            "is_in_network": self.following.held(viewers, authors, times_ms),
            "is_mutual": self.following.held(authors, viewers, times_ms),
            "is_same_language": (language > 0) & (language == _taken(languages, viewer_rows)),
            "is_same_country": (country > 0) & (country == _taken(countries, author_rows)),
            "author_followers": self.following.followers(authors),
        }
        features |= {name: values.astype(np.float32) for name, values in told.items()}
        assert features.keys() == FEATURES.keys()
        return Records(times_ms, labels, keys, features)

    def _engagers(
        self, happened: Happenings, rows: npt.NDArray[np.int32], public: npt.NDArray[np.bool_]
    ) -> Ragged:
        """Whom the viewer follows of the latest who engaged publicly with each post before;
        the actors of `public` events are the next."""
        counts, ids = _latest_engagers(
            rows,
            happened.actor_ids,
            public,
            self.posts["engagers"],
            self.posts["n_engagers"],
        )
        at = np.repeat(np.arange(len(happened)), counts)
        kept = self.following.held(happened.actor_ids[at], ids, happened.times_ms[at])
        counts = np.bincount(at[kept], minlength=len(happened))
        return Ragged(np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), ids[kept])

    def _user_keys(self, name: str) -> Ids:
        """The language or country of every user as a key."""
        return keys_of_words(self.users.words.words(self.users[name]))


def _together(one: Records, two: Records) -> Records:
    if not len(two):
        return one
    keys: dict[str, Ids | Ragged] = {}
    for name, key in one.keys.items():
        other = two.keys[name]
        if isinstance(key, Ragged) and isinstance(other, Ragged):
            offsets = np.concatenate([key.offsets, key.offsets[-1] + other.offsets[1:]])
            keys[name] = Ragged(offsets, np.concatenate([key.ids, other.ids]))
        elif not isinstance(key, Ragged) and not isinstance(other, Ragged):
            keys[name] = np.concatenate([key, other])
    return Records(
        np.concatenate([one.times_ms, two.times_ms]),
        np.concatenate([one.labels, two.labels]),
        keys,
        {n: np.concatenate([values, two.features[n]]) for n, values in one.features.items()},
    )


def _taken(column: Array, rows: npt.NDArray[np.int32]) -> Array:
    """A column at some rows, 0 at row −1."""
    values = np.zeros(len(rows), column.dtype)
    known = rows >= 0
    values[known] = column[rows[known]]
    return values


def _mask(at: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.bool_]:
    mask = np.zeros(n, bool)
    mask[at] = True
    return mask


@kernel
def _count_on(
    rows: npt.NDArray[np.int32],
    counters: npt.NDArray[np.int64],
    times_ms: Ids,
    counts: Floats,
    engaged_ms: Ids,
    found: Floats,
    unit_ms: int,
) -> None:
    """Write the counts before each event, and the time since the last engagement in units;
    then count it. Impressions, the last counter, are no engagements."""
    n_counters = counts.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        for k in range(n_counters):
            found[i, k] = counts[row, k]
        if engaged_ms[row] > 0:
            found[i, n_counters] = max(times_ms[i] - engaged_ms[row], 0) / unit_ms
        k = counters[i]
        if k < 0:
            continue
        counts[row, k] += np.float32(1)
        if k < n_counters - 1:
            engaged_ms[row] = max(engaged_ms[row], times_ms[i])


@kernel
def _good_clicks(
    rows: npt.NDArray[np.int32],
    clicks: npt.NDArray[np.bool_],
    engaged: npt.NDArray[np.bool_],
    times_ms: Ids,
    clicked_ms: Ids,
) -> npt.NDArray[np.bool_]:
    """Which engagements follow a click of the same viewer on the same post."""
    good = np.zeros(len(rows), np.bool_)
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        if clicks[i]:
            clicked_ms[row] = times_ms[i]
        elif engaged[i] and clicked_ms[row] > 0:
            good[i] = times_ms[i] - clicked_ms[row] <= GOOD_CLICK_MS
    return good


@kernel
def _latest_engagers(
    rows: npt.NDArray[np.int32],
    actor_ids: Ids,
    public: npt.NDArray[np.bool_],
    engagers: Ids,
    n_engagers: npt.NDArray[np.int32],
) -> tuple[Ids, Ids]:
    """How many engagers each event's post had (the actor aside), and who they were; then the
    actor of a public engagement is the latest."""
    room = engagers.shape[1]
    counts = np.zeros(len(rows), np.int64)
    ids = np.empty(len(rows) * room, np.int64)
    at = 0
    for i in range(len(rows)):
        row = rows[i]
        if row < 0:
            continue
        held = -1
        for k in range(min(n_engagers[row], room)):
            if engagers[row, k] == actor_ids[i]:
                held = k
            else:
                ids[at] = engagers[row, k]
                counts[i] += 1
                at += 1
        if public[i] and held < 0:
            engagers[row, n_engagers[row] % room] = actor_ids[i]
            n_engagers[row] += 1
    return counts, ids[:at].copy()
