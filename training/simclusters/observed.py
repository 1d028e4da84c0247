"""What SimClusters reads off the archive: who follows and favours whom, topics, languages."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from actors.stores.columns import Array
from cluster.archive import Archive
from cluster.events import Kind
from cluster.ids import Ids
from cluster.training_settings import SimClustersSettings
from training.simclusters.topic_seeds import TopicSeeds, topic_seeds

DAY_MS = 86_400_000
MIN_FAVOURITES = 1e-5
"""Decayed favourites of an author below this count as none (published)."""

_OFF = (Kind.UNFOLLOW, Kind.UNFAVOURITE, Kind.TOPIC_UNFOLLOW, Kind.USER_REACTIVATE)
_STATES = ((Kind.USER_DEACTIVATE, Kind.USER_REACTIVATE), (Kind.USER_SUSPEND, Kind.USER_UNSUSPEND))


@dataclass(frozen=True)
class Favourites:
    """How much users favour authors, by (user, author); arrays of shape (n,)."""

    user_ids: Ids
    author_ids: Ids
    counts: npt.NDArray[np.float64]
    """Decayed, at least `MIN_FAVOURITES`."""


@dataclass(frozen=True)
class Languages:
    """What users say they read; users ascend."""

    user_ids: Ids
    codes: npt.NDArray[np.int32]
    """(n,): places in `names`."""
    names: list[str]
    """Ascending."""

    def of(self, user_ids: Ids) -> npt.NDArray[np.int32]:
        """Codes of users, int32 (k,); −1 where a user never said."""
        if not len(self.user_ids):
            return np.full(len(user_ids), -1, np.int32)
        at = np.minimum(np.searchsorted(self.user_ids, user_ids), len(self.user_ids) - 1)
        known = self.user_ids[at] == user_ids
        return np.where(known, self.codes[at], -1).astype(np.int32)


@dataclass(frozen=True)
class Observed:
    """What held at the end of the archive, without users who had gone by then.

    Gone are the deactivated, the suspended and the deleted, on either side of an edge.
    """

    follower_ids: Ids
    followed_ids: Ids
    """(E,) each: follow edges, by (follower, followed)."""
    favourites: Favourites
    topic_follower_ids: Ids
    topic_ids: Ids
    """(T,) each: follows of topics, by (user, topic)."""
    languages: Languages
    topic_seeds: TopicSeeds
    data_range_ms: tuple[int, int]
    """Times of the events read, half-open; (0, 0) without any."""


def observe(archive: Archive, until_ms: int | None, chosen: SimClustersSettings) -> Observed:
    """Read everything archived before `until_ms` (None: everything).

    Favourites decay until `until_ms`, or until the last event read.
    """
    users = _scan(archive, _USERS, until_ms, "actor_id", "language")
    follows = _scan(archive, (Kind.FOLLOW, Kind.UNFOLLOW), until_ms, "actor_id", "target_id")
    topics = _scan(
        archive, (Kind.TOPIC_FOLLOW, Kind.TOPIC_UNFOLLOW), until_ms, "actor_id", "target_id"
    )
    kinds = (Kind.FAVOURITE, Kind.UNFAVOURITE)
    favours = _scan(archive, kinds, until_ms, "actor_id", "post_id", "author_id")
    spans = [t.column("time_ms").to_numpy() for t in (users, follows, topics, favours) if len(t)]
    first_ms = min((int(times_ms[0]) for times_ms in spans), default=0)
    end_ms = max((int(times_ms[-1]) + 1 for times_ms in spans), default=0)
    gone = _gone(users)
    followers, followed = _held(follows, gone, targets_go=True)
    topic_followers, topic_ids = _held(topics, gone, targets_go=False)
    favours = favours.filter(_staying(favours, gone, "actor_id", "author_id"))
    written = _scan(
        archive, (Kind.POST_CREATE,), until_ms, "post_id", "author_id", "language", "topics"
    )
    seeds = topic_seeds(
        written.filter(_staying(written, gone, "author_id")),
        favours,
        min_share=chosen.min_topic_share,
        per_topic=chosen.producers_per_topic,
    )
    names = ("actor_id", "post_id", "author_id", "kind", "time_ms")
    by, posts, authors, on_off, times_ms = (favours.column(n).to_numpy() for n in names)
    now_ms = end_ms if until_ms is None else until_ms
    favourites = decayed_favourites(
        by, posts, authors, on_off, times_ms, now_ms=now_ms, half_life_days=chosen.half_life_days
    )
    return Observed(
        *(followers, followed, favourites, topic_followers, topic_ids, _languages(users)),
        seeds,
        (first_ms, end_ms),
    )


def decayed_favourites(
    user_ids: Ids,
    post_ids: Ids,
    author_ids: Ids,
    kinds: npt.NDArray[np.uint8],
    times_ms: Ids,
    *,
    now_ms: int,
    half_life_days: float,
) -> Favourites:
    """Favourites per (user, author), each worth 2^(−age / half-life), from events (n,) in order.

    Of a user and a post, a favourite counts 1, and one that was taken back nothing; a repeated
    event says nothing new. Taking back what was never favoured counts −1, as of a favourite
    older than the events (UserUserFavGraph). Sums below `MIN_FAVOURITES` and favourites of
    one's own posts are left out.
    """
    order = np.lexsort((post_ids, user_ids))
    users, posts, on = user_ids[order], post_ids[order], kinds[order] == Kind.FAVOURITE
    begins = _changes(users, posts)
    # What is left of a repeated event is its first: on and off then take turns.
    turns = begins | np.append(True, on[1:] != on[:-1])[: len(on)]
    order, on, begins = order[turns], on[turns], begins[turns]
    ends = np.append(begins[1:], True)[: len(begins)]
    worth = (on & ends).astype(np.float64) - (~on & begins)
    kept = worth != 0
    order, worth = order[kept], worth[kept]
    worth *= np.exp2(-(now_ms - times_ms[order]) / (half_life_days * DAY_MS))
    users, authors = user_ids[order], author_ids[order]
    by_pair = np.lexsort((authors, users))
    users, authors, worth = users[by_pair], authors[by_pair], worth[by_pair]
    first = np.flatnonzero(_changes(users, authors))
    sums = np.add.reduceat(worth, first) if len(first) else worth
    users, authors = users[first], authors[first]
    strong = (sums >= MIN_FAVOURITES) & (users != authors)
    return Favourites(users[strong], authors[strong], sums[strong])


_USERS = (
    *(Kind.USER_CREATE, Kind.USER_UPDATE, Kind.USER_DELETE),
    *(kind for pair in _STATES for kind in pair),
)


def _scan(archive: Archive, kinds: Sequence[Kind], until_ms: int | None, *columns: str) -> pa.Table:
    """Events in order of (time, event id), of one chunk."""
    names = ["kind", "time_ms", *columns]
    return archive.scan(kinds, until_ms=until_ms, columns=names).combine_chunks()


def _changes(firsts: Array, seconds: Array) -> npt.NDArray[np.bool_]:
    """Where a sorted pair differs from the one before it."""
    new = np.ones(len(firsts), np.bool_)
    new[1:] = (firsts[1:] != firsts[:-1]) | (seconds[1:] != seconds[:-1])
    return new


def _newest(firsts: Array, seconds: Array) -> Ids:
    """Rows of the last event of each pair, by pair; events are in order of time."""
    order = np.lexsort((seconds, firsts))
    begins = _changes(firsts[order], seconds[order])
    newest: Ids = order[np.append(begins[1:], True)[: len(order)]]
    return newest


def _gone(users: pa.Table) -> Ids:
    """Who is deactivated, suspended or deleted, ascending; a deletion is for good."""
    ids, kinds = users.column("actor_id").to_numpy(), users.column("kind").to_numpy()
    parts = [ids[kinds == Kind.USER_DELETE]]
    for off, on in _STATES:
        told = np.flatnonzero((kinds == off) | (kinds == on))
        newest = told[_newest(ids[told], ids[told])]
        parts.append(ids[newest[kinds[newest] == off]])
    return np.unique(np.concatenate(parts))


def _staying(table: pa.Table, gone: Ids, *names: str) -> npt.NDArray[np.bool_]:
    staying = np.ones(len(table), np.bool_)
    for name in names:
        staying &= ~np.isin(table.column(name).to_numpy(), gone)
    return staying


def _held(table: pa.Table, gone: Ids, *, targets_go: bool) -> tuple[Ids, Ids]:
    """(actors, targets) of the edges that hold in the end."""
    names = ("actor_id", "target_id") if targets_go else ("actor_id",)
    table = table.filter(_staying(table, gone, *names))
    actors, targets, kinds = (
        table.column(name).to_numpy() for name in ("actor_id", "target_id", "kind")
    )
    newest = _newest(actors, targets)
    newest = newest[~np.isin(kinds[newest], _OFF)]
    if targets_go:
        newest = newest[actors[newest] != targets[newest]]
    return actors[newest], targets[newest]


def _languages(users: pa.Table) -> Languages:
    """The language each user named last."""
    said = users.filter(pc.is_valid(users.column("language"))).combine_chunks()
    ids = said.column("actor_id").to_numpy()
    newest = _newest(ids, ids)
    words = np.asarray(said.column("language").take(pa.array(newest)).to_pylist(), object)
    names, codes = np.unique(words, return_inverse=True) if len(words) else (words, words)
    return Languages(ids[newest], codes.astype(np.int32), [str(name) for name in names])
