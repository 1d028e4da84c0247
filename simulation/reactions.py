"""What people do with what they are shown: impressions, engagements, and their consequences."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids
from simulation.behaviour import HEAD_KINDS, HEADS, components, probabilities
from simulation.posts import PostRows, draw_posts, record_posts
from simulation.recorder import Recorder
from simulation.shown import Feed

if TYPE_CHECKING:
    from simulation.world import World

SCROLL_ON = 0.92
"""Chance of going on from each post to the next: about 10 of 20 posts get on screen."""
SKIPPED = 0.03
"""Share of posts passed too fast to count."""
GLANCE_MS, READ_MS = 1_300, 9_000
"""Median time on a post passed by, and on one that is read."""
DELAY_SIGMA = 1.0
UNDO_SHARE = {Kind.UNFAVOURITE: 0.012, Kind.UNREPOST: 0.02, Kind.UNBOOKMARK: 0.03}
UNDO_DELAY_MS = 90_000
NOTIFICATION_OPENED = 0.35
"""Share of replies whose notification is opened by the author replied to."""
FAME_OF = {Kind.FAVOURITE: 1.0, Kind.REPOST: 2.0, Kind.REPLY: 2.0, Kind.QUOTE: 2.0}
"""What engagement adds to a post's popularity."""
_RELATIONS = (Kind.FOLLOW, Kind.UNFOLLOW, Kind.MUTE, Kind.BLOCK)


@dataclass(frozen=True)
class Reactions:
    """What became of a feed."""

    rows: Ids
    """The rows of the feed that got on screen, in order."""
    done: npt.NDArray[np.bool_]
    """(rows, len(HEADS)): what was done with each."""


@dataclass(frozen=True)
class _OnScreen:
    """Rows of a feed that got on screen."""

    users: Ids
    posts: Ids
    traits: PostRows
    times_ms: Ids
    requests: pa.Array
    positions: Ids


def react(
    world: "World",
    feed: Feed,
    recorder: Recorder,
    rng: np.random.Generator,
    *,
    scroll: bool = True,
) -> Reactions:
    """Draw what the viewers of a feed do, record it, and change the world accordingly."""
    rows = _looked_at(feed, rng) if scroll else np.arange(len(feed.posts))
    if not len(rows):
        return Reactions(rows, np.zeros((0, len(HEADS)), bool))
    sessions = feed.sessions[rows]
    users = feed.viewers[sessions]
    posts = feed.posts[rows]
    traits = world.posts.rows[posts]
    # Age decides by the hour, so the start of the session stands for the moment of looking.
    found = components(world.population, world.follows, users, traits, feed.starts_ms[sessions])
    done = rng.random((len(rows), len(HEADS))) < probabilities(found, traits)
    stays_ms = _stays_ms(done, traits, rng)
    times_ms = feed.starts_ms[sessions] + _elapsed_ms(stays_ms, sessions)
    screen = _OnScreen(
        users, posts, traits, times_ms, feed.request_ids.take(sessions), feed.positions[rows]
    )
    world.seen.add(users, posts)
    _record(world, recorder, Kind.IMPRESSION, screen, np.arange(len(rows)), times_ms)
    for column, head in enumerate(HEADS):
        chosen = np.flatnonzero(done[:, column])
        delays = head.delay_s * 1_000 * rng.lognormal(0, DELAY_SIGMA, len(chosen))
        acted_ms = times_ms[chosen] + 1 + delays.astype(np.int64)
        if head.kind in FAME_OF:
            np.add.at(world.posts.rows["popularity"], posts[chosen], FAME_OF[head.kind])
        if head.kind in (Kind.REPLY, Kind.QUOTE):
            _write(world, recorder, head.kind, screen, chosen, acted_ms, rng)
        elif head.kind not in _RELATIONS:
            values = _values(head.kind, stays_ms[chosen], traits[chosen], rng)
            _record(world, recorder, head.kind, screen, chosen, acted_ms, values)
        if head.kind == Kind.REPOST:
            world.reposts.append((users[chosen], posts[chosen], acted_ms))
        _undo(world, recorder, head.kind, screen, chosen, acted_ms, rng)
    _relate(world, recorder, screen, done, rng)
    return Reactions(rows, done)


def on_screen_chance(n_positions: int) -> npt.NDArray[np.float64]:
    """(n_positions,): how likely the post at each place of a feed gets on screen."""
    chance: npt.NDArray[np.float64] = np.power(SCROLL_ON, np.arange(n_positions, dtype=np.float64))
    return (1 - SKIPPED) * chance


def _looked_at(feed: Feed, rng: np.random.Generator) -> Ids:
    """Rows that get on screen: people start at the top and stop somewhere."""
    depths = rng.geometric(1 - SCROLL_ON, len(feed.viewers))
    noticed = rng.random(len(feed.posts)) >= SKIPPED
    return np.flatnonzero((feed.positions < depths[feed.sessions]) & noticed)


def _stays_ms(done: npt.NDArray[np.bool_], traits: PostRows, rng: np.random.Generator) -> Ids:
    """How long each post stays on screen."""
    stays = GLANCE_MS * rng.lognormal(0, 0.5, len(done))
    read = done[:, HEAD_KINDS.index(Kind.DWELL)]
    stays[read] += READ_MS * rng.lognormal(0, 0.7, int(read.sum()))
    watched = done[:, HEAD_KINDS.index(Kind.VIDEO_WATCH)]
    stays[watched] += 0.6 * traits["video_duration_ms"][watched]
    return np.minimum(stays, 900_000).astype(np.int64)


def _elapsed_ms(stays_ms: Ids, sessions: Ids) -> Ids:
    """When each post comes on screen, from the start of its session; rows by session."""
    before = np.cumsum(stays_ms) - stays_ms
    first = np.searchsorted(sessions, sessions)
    return 1 + before - before[first]


def _record(
    world: "World",
    recorder: Recorder,
    kind: Kind,
    screen: _OnScreen,
    chosen: Ids,
    times_ms: Ids,
    values: npt.NDArray[np.float32] | float = 0.0,
) -> None:
    user_ids = world.population.user_ids
    recorder.add(
        kind,
        times_ms,
        actor_id=user_ids[screen.users[chosen]],
        post_id=screen.traits["id"][chosen],
        author_id=user_ids[screen.traits["author"][chosen]],
        value=values,
        request_id=screen.requests.take(chosen),
        position=screen.positions[chosen].astype(np.int16),
        surface="home",
    )


def _values(
    kind: Kind, stays_ms: Ids, traits: PostRows, rng: np.random.Generator
) -> npt.NDArray[np.float32] | float:
    """Milliseconds, for the kinds that take time."""
    if kind == Kind.DWELL:
        return stays_ms.astype(np.float32)
    if kind == Kind.VIDEO_WATCH:
        return (traits["video_duration_ms"] * rng.beta(2.0, 1.3, len(traits))).astype(np.float32)
    if kind in (Kind.CLICK, Kind.PROFILE_CLICK):
        return np.round(12_000 * rng.lognormal(0, 1.0, len(traits))).astype(np.float32)
    return 0.0


def _undo(
    world: "World",
    recorder: Recorder,
    kind: Kind,
    screen: _OnScreen,
    chosen: Ids,
    acted_ms: Ids,
    rng: np.random.Generator,
) -> None:
    """Some engagements are taken back."""
    for undo, share in UNDO_SHARE.items():
        if UNDONE_BY[undo] == kind:
            regretted = rng.random(len(chosen)) < share
            waits_ms = 1 + (UNDO_DELAY_MS * rng.lognormal(0, 1.5, int(regretted.sum())))
            times_ms = acted_ms[regretted] + waits_ms.astype(np.int64)
            _record(world, recorder, undo, screen, chosen[regretted], times_ms)


def _write(
    world: "World",
    recorder: Recorder,
    kind: Kind,
    screen: _OnScreen,
    chosen: Ids,
    times_ms: Ids,
    rng: np.random.Generator,
) -> None:
    """Replies and quotes are posts of their own; the post they link to is in their event."""
    population = world.population
    parents, parent_rows = screen.traits[chosen], screen.posts[chosen]
    posts = draw_posts(population, screen.users[chosen], times_ms, rng, parents)
    if kind == Kind.QUOTE:
        posts["quote_of"] = parent_rows
    else:
        posts["reply_to"] = parent_rows
        posts["root"] = np.where(parents["root"] >= 0, parents["root"], parent_rows)
    rows = world.posts.append(posts)
    record_posts(population, world.posts, rows, recorder, rng)
    if kind == Kind.REPLY:
        opened = rng.random(len(rows)) < NOTIFICATION_OPENED
        opened &= parents["author"] != posts["author"]
        waits_ms = 1 + 600_000 * rng.lognormal(0, 1.3, int(opened.sum()))
        recorder.add(
            Kind.NOTIFICATION_OPEN,
            times_ms[opened] + waits_ms.astype(np.int64),
            actor_id=population.user_ids[parents["author"][opened]],
            post_id=posts["id"][opened],
            author_id=population.user_ids[posts["author"][opened]],
            surface="notifications",
        )


def _relate(
    world: "World",
    recorder: Recorder,
    screen: _OnScreen,
    done: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> None:
    """Follows, unfollows, mutes and blocks: one per pair of people, the hardest wins."""
    n_users = len(world.population)
    settled = np.empty(0, np.int64)
    for kind in reversed(_RELATIONS):
        delay_ms = 1_000 * HEADS[HEAD_KINDS.index(kind)].delay_s
        rows = np.flatnonzero(done[:, HEAD_KINDS.index(kind)])
        users, authors = screen.users[rows], screen.traits["author"][rows]
        pairs, firsts = np.unique(users * n_users + authors, return_index=True)
        firsts = firsts[~np.isin(pairs, settled) & (users[firsts] != authors[firsts])]
        settled = np.union1d(settled, pairs)
        users, authors = users[firsts], authors[firsts]
        delays_ms = 1 + (delay_ms * rng.lognormal(0, DELAY_SIGMA, len(firsts))).astype(np.int64)
        times_ms = screen.times_ms[rows[firsts]] + delays_ms
        relate(world, recorder, kind, users, authors, times_ms)


def relate(
    world: "World", recorder: Recorder, kind: Kind, users: Ids, others: Ids, times_ms: Ids
) -> None:
    """Record follows, unfollows, mutes or blocks between rows of users, and apply them.

    A block also ends the follows between the two, with an event for each.
    """
    user_ids = world.population.user_ids
    recorder.add(kind, times_ms, actor_id=user_ids[users], target_id=user_ids[others])
    if kind == Kind.FOLLOW:
        world.follows.add(users, others)
    elif kind == Kind.UNFOLLOW:
        world.follows.remove(users, others)
    else:
        world.hidden.add(users, others)
    if kind == Kind.BLOCK:
        world.hidden.add(others, users)
        for one, other in ((users, others), (others, users)):
            ended = world.follows.contain(one, other)
            relate(world, recorder, Kind.UNFOLLOW, one[ended], other[ended], times_ms[ended] + 1)
