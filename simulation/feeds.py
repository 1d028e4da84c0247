"""Feeds to compare: who opens a timeline, what there is to show, and policies that choose."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from simulation.behaviour import UTILITIES, components, probabilities
from simulation.population import Floats
from simulation.posts import PostRows
from simulation.reactions import on_screen_chance
from simulation.rhythm import HOUR_MS
from simulation.timeline import WINDOW_MS, may_be_shown
from simulation.world import World

NOTHING = -1
"""In the place of a post where a feed has no more."""
POPULARITY_HALF_LIFE_H = 8.0


@dataclass(frozen=True)
class Moment:
    """Who opens a timeline within a few minutes, and the world as feeds may know it.

    V viewers; rows of users and posts, not ids.
    """

    world: World
    viewers: Ids
    """(V,)"""
    starts_ms: Ids
    """(V,)"""
    known_ms: int
    """No feed knows of posts from then on, and none of these starts is earlier."""
    request_ids: list[str]

    def take(self, places: npt.NDArray[np.int64]) -> "Moment":
        """The same for some of the viewers."""
        return Moment(
            self.world,
            self.viewers[places],
            self.starts_ms[places],
            self.known_ms,
            [self.request_ids[place] for place in places.tolist()],
        )


@dataclass(frozen=True)
class Pool:
    """Everything that the viewers of a moment could be shown: the last two days' posts."""

    rows: Ids
    """(P,) of posts, ascending, so nearly from the oldest."""
    posts: PostRows
    """(P,)"""
    allowed: npt.NDArray[np.bool_]
    """(V, P): not the viewer's own, not hidden, protected or deleted, and not yet seen."""


class FeedPolicy(Protocol):
    """Decides what each viewer of a moment is shown."""

    def serve(self, moment: Moment, n_posts: int, rng: np.random.Generator) -> Ids:
        """(V, n_posts) post rows, the top of each feed first; `NOTHING` after its end."""


class Chronological:
    """What those the viewer follows wrote, replies included, newest first."""

    def serve(self, moment: Moment, n_posts: int, rng: np.random.Generator) -> Ids:
        """As `FeedPolicy`."""
        pool = pool_of(moment)
        follows = moment.world.follows
        followed = follows.contain(moment.viewers[:, None], pool.posts["author"])
        newest = np.broadcast_to(pool.posts["created_ms"].astype(np.float64), pool.allowed.shape)
        return best(pool, newest, pool.allowed & followed, n_posts)


class Popular:
    """What everybody engages with, by the language the viewer's account names.

    Favourites count 1, reposts, replies and quotes 2, and all half as much every eight hours
    of the post's age. No replies.
    """

    def serve(self, moment: Moment, n_posts: int, rng: np.random.Generator) -> Ids:
        """As `FeedPolicy`."""
        pool = pool_of(moment)
        posts = pool.posts
        ages_h = (moment.known_ms - posts["created_ms"]) / HOUR_MS
        scores = (1 + posts["popularity"]) * np.exp2(-ages_h / POPULARITY_HALF_LIFE_H)
        languages = moment.world.population.languages[moment.viewers]
        wanted = (posts["language"] == languages[:, None]) & (posts["reply_to"] < 0)
        scores = np.broadcast_to(scores, pool.allowed.shape)
        return best(pool, scores, pool.allowed & wanted, n_posts)


class Random:
    """Anything that may be shown, in any order."""

    def serve(self, moment: Moment, n_posts: int, rng: np.random.Generator) -> Ids:
        """As `FeedPolicy`."""
        pool = pool_of(moment)
        return best(pool, rng.random(pool.allowed.shape), pool.allowed, n_posts)


class Exploring:
    """Another policy, but for a share of sessions, which get a random feed."""

    def __init__(self, policy: FeedPolicy, share: float) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"share is {share}; expected 0 … 1")
        self._policy = policy
        self._share = share

    def serve(self, moment: Moment, n_posts: int, rng: np.random.Generator) -> Ids:
        """As `FeedPolicy`."""
        exploring = rng.random(len(moment.viewers)) < self._share
        feed = np.full((len(moment.viewers), n_posts), NOTHING)
        policies: tuple[FeedPolicy, FeedPolicy] = (self._policy, Random())
        for places, policy in zip(
            (np.flatnonzero(~exploring), np.flatnonzero(exploring)), policies, strict=True
        ):
            if len(places):
                feed[places] = policy.serve(moment.take(places), n_posts, rng)
        return feed


class Oracle:
    """Knows what everything is worth to everybody: the best that may be shown, best first.

    Shows nothing that is worth less than nothing. What gets on screen thins out downwards,
    so that no choice from the same pool is worth more.
    """

    def serve(self, moment: Moment, n_posts: int, rng: np.random.Generator) -> Ids:
        """As `FeedPolicy`."""
        pool = pool_of(moment)
        worth = utilities(moment, pool.posts)
        return best(pool, worth, pool.allowed & (worth > 0), n_posts)


def pool_of(moment: Moment) -> Pool:
    """What the viewers of a moment could be shown."""
    world = moment.world
    rows = world.posts.since(moment.known_ms - WINDOW_MS)
    rows = rows[world.posts.rows["created_ms"][rows] < moment.known_ms]
    posts = world.posts.rows[rows]
    shape = (len(moment.viewers), len(rows))
    allowed = may_be_shown(
        world, moment.viewers, moment.starts_ms, np.broadcast_to(rows, shape), posts[None, :]
    )
    return Pool(rows, posts, np.broadcast_to(allowed, shape))


def best(
    pool: Pool, scores: npt.NDArray[np.floating], wanted: npt.NDArray[np.bool_], n_posts: int
) -> Ids:
    """(V, n_posts) rows of the wanted posts with the highest scores (V, P); ties: the newest."""
    feed = np.full((len(wanted), n_posts), NOTHING)
    for viewer in range(len(wanted)):
        places = np.flatnonzero(wanted[viewer])
        mine = scores[viewer, places]
        if len(places) > n_posts:
            least = np.partition(mine, -n_posts)[-n_posts]
            places, mine = places[mine >= least], mine[mine >= least]
        top = places[np.lexsort((-places, -mine))[:n_posts]]
        feed[viewer, : len(top)] = pool.rows[top]
    return feed


def utilities(moment: Moment, posts: PostRows) -> Floats:
    """(V, P): what each of P posts on screen is worth to each viewer, in favourites.

    By the true model, whether the viewer may be shown the post or not.
    """
    worth = np.empty((len(moment.viewers), len(posts)), np.float32)
    for place, (viewer, start_ms) in enumerate(
        zip(moment.viewers.tolist(), moment.starts_ms.tolist(), strict=True)
    ):
        # One viewer at a time, so that no post is copied for each of them.
        worth[place] = _worth(moment.world, np.full(len(posts), viewer), posts, start_ms)
    return worth


def values(moment: Moment, feed: Ids) -> npt.NDArray[np.float64]:
    """(V,): what each feed (V, n) is worth to its viewer, by the true model, in favourites.

    The sum over its posts of the chance of getting on screen and of the utility there.
    """
    sessions, positions = np.nonzero(feed >= 0)
    posts = moment.world.posts.rows[feed[sessions, positions]]
    worth = _worth(moment.world, moment.viewers[sessions], posts, moment.starts_ms[sessions])
    chances = on_screen_chance(feed.shape[1])[positions]
    found: npt.NDArray[np.float64] = np.bincount(sessions, worth * chances, len(feed)).astype(float)
    return found


def best_values(moment: Moment, feed: Ids) -> npt.NDArray[np.float64]:
    """(V,): what the oracle's feed of that length would have been worth, from the same pool.

    What was shown belongs to the pool, so that no feed is worth more than this, rounding apart.
    """
    pool = pool_of(moment)
    n_viewers, n_posts = feed.shape
    worth = np.where(pool.allowed, np.maximum(utilities(moment, pool.posts), 0), 0)
    places = np.searchsorted(pool.rows, feed)
    there = (feed >= 0) & (places < len(pool.rows))
    places = np.where(there, places, 0)
    if len(pool.rows):
        there &= pool.rows[places] == feed
        there &= np.take_along_axis(pool.allowed, places, axis=1)
    sessions, positions = np.nonzero((feed >= 0) & ~there)
    others = np.zeros((n_viewers, n_posts), np.float32)
    others[sessions, positions] = _worth(
        moment.world,
        moment.viewers[sessions],
        moment.world.posts.rows[feed[sessions, positions]],
        moment.starts_ms[sessions],
    )
    both = np.concatenate([worth, np.maximum(others, 0)], axis=1)
    top = -np.sort(np.partition(-both, n_posts - 1, axis=1)[:, :n_posts])
    found: npt.NDArray[np.float64] = top @ on_screen_chance(n_posts)
    return found


def _worth(world: World, viewers: Ids, posts: PostRows, times_ms: npt.ArrayLike) -> Floats:
    found = components(world.population, world.follows, viewers, posts, times_ms)
    worth: Floats = probabilities(found, posts) @ UTILITIES
    return worth
