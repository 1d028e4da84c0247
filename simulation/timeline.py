"""The timeline simulated users are shown: followed and discovered posts, by age and popularity.

There is enough chance in it to learn from: noise on every score, and some random orders.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import Kind
from cluster.ids import Ids
from simulation.posts import PostRows
from simulation.recorder import Recorder
from simulation.rhythm import HOUR_MS
from simulation.shown import Feed
from simulation.vocabulary import N_TOPICS

if TYPE_CHECKING:
    from simulation.world import World

WINDOW_MS = 48 * HOUR_MS
N_SERVED = 20
N_CANDIDATES = {"followed": 48, "topic": 14, "popular": 8, "random": 6}
"""Draws per session from each source: what followed people posted or reposted, popular
posts of the viewer's topics, popular posts of all, and any recent post."""
SOURCES = tuple(N_CANDIDATES)
_SOURCE_OF_DRAW = np.repeat(np.arange(len(SOURCES)), list(N_CANDIDATES.values()))
SOURCE_BONUS = np.array([0.8, 0.0, 0.0, 0.0])
AGE_SCALE_H = 6.0
POPULARITY_WEIGHT = 0.35
NOISE = 0.6
"""Scale of the Gumbel noise on every score: the order is a draw, not a sort."""
EXPLORATION_SHARE = 0.1
"""Share of sessions whose candidates are shown in random order (arm `explore`)."""
ARMS = ("mixture", "explore")


def serve(
    world: "World",
    viewers: Ids,
    starts_ms: Ids,
    recorder: Recorder,
    rng: np.random.Generator,
) -> Feed:
    """Make one timeline for each viewer (a row) at the given times, and record it as served."""
    if not len(world.posts) or not len(viewers):
        none = np.empty(0, np.int64)
        return Feed(viewers, starts_ms, pa.array([""] * len(viewers)), none, none, none)
    now_ms = int(starts_ms.min())
    window = world.posts.since(now_ms - WINDOW_MS)
    candidates = np.concatenate(
        [
            _followed(world, viewers, window, now_ms, rng),
            _discovered(world, viewers, window, now_ms, rng),
        ],
        axis=1,
    )
    posts = world.posts.rows[candidates]
    scores = _scores(posts, starts_ms, rng)
    exploring = rng.random(len(viewers)) < EXPLORATION_SHARE
    scores[exploring] = rng.random((int(exploring.sum()), scores.shape[1]))
    scores[~_eligible(world, viewers, starts_ms, candidates, posts)] = -np.inf
    best = np.argsort(-scores, axis=1, kind="stable")[:, :N_SERVED]
    sessions, positions = np.nonzero(np.take_along_axis(scores, best, axis=1) > -np.inf)
    columns = best[sessions, positions]
    user_ids = world.population.user_ids[viewers]
    requests = zip(user_ids.tolist(), starts_ms.tolist(), strict=True)
    feed = Feed(
        viewers=viewers,
        starts_ms=starts_ms,
        request_ids=pa.array([f"sim-{user_id}-{start_ms}" for user_id, start_ms in requests]),
        sessions=sessions,
        posts=candidates[sessions, columns],
        positions=positions,
    )
    shown = world.posts.rows[feed.posts]
    recorder.add(
        Kind.SERVED,
        starts_ms[sessions],
        actor_id=user_ids[sessions],
        post_id=shown["id"],
        author_id=world.population.user_ids[shown["author"]],
        value=scores[sessions, columns].astype(np.float32),
        request_id=feed.request_ids.take(sessions),
        position=positions.astype(np.int16),
        source=pa.array(SOURCES).take(_SOURCE_OF_DRAW[columns]),
        experiment_arm=pa.array(ARMS).take(exploring[sessions].astype(np.int64)),
        surface="home",
    )
    return feed


def _scores(posts: PostRows, starts_ms: Ids, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    ages_h = (starts_ms[:, None] - posts["created_ms"]) / HOUR_MS
    scores: npt.NDArray[np.float64] = (
        SOURCE_BONUS[_SOURCE_OF_DRAW]
        - ages_h / AGE_SCALE_H
        + POPULARITY_WEIGHT * np.log1p(posts["popularity"])
        + rng.gumbel(scale=NOISE, size=posts.shape)
    )
    return scores


def _eligible(
    world: "World", viewers: Ids, starts_ms: Ids, candidates: Ids, posts: PostRows
) -> npt.NDArray[np.bool_]:
    """Which candidates (sessions, draws; -1 for none) may be shown, each once."""
    order = np.argsort(candidates, axis=1, kind="stable")
    ordered = np.take_along_axis(candidates, order, axis=1)
    repeats = np.zeros(candidates.shape, bool)
    np.put_along_axis(repeats, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    shown = may_be_shown(world, viewers, starts_ms, candidates, posts)
    return (candidates >= 0) & ~repeats & shown


def may_be_shown(
    world: "World", viewers: Ids, starts_ms: Ids, rows: Ids, posts: PostRows
) -> npt.NDArray[np.bool_]:
    """(sessions, posts): whether each viewer may be shown each post, and has not seen it.

    `rows` and `posts`, of that shape or broadcast to it, are the posts' rows and themselves.
    """
    users, now_ms, authors = viewers[:, None], starts_ms[:, None], posts["author"]
    shown: npt.NDArray[np.bool_] = (
        (authors != users)
        & (posts["created_ms"] < now_ms)
        & (posts["deleted_ms"] > now_ms)
        & ~world.hidden.contain(users, authors)
        & ~world.seen.contains(users, rows)
    )
    protected = world.population.protected[authors]
    if protected.any():
        shown &= ~protected | world.follows.contain(users, authors)
    return shown


def _followed(
    world: "World", viewers: Ids, window: Ids, now_ms: int, rng: np.random.Generator
) -> Ids:
    """(sessions, draws): posts and reposts of followed people, newer ones more often."""
    actors, posts, times_ms = _activity(world, window, now_ms)
    order = np.lexsort((-times_ms, actors))
    posts = posts[order]
    n_users = len(world.population)
    firsts = np.searchsorted(actors[order], np.arange(n_users + 1))
    counts = np.diff(firsts)

    starts, targets = world.follows.targets_by_source()
    degrees = starts[viewers + 1] - starts[viewers]
    ends = np.cumsum(degrees)
    sessions = np.repeat(np.arange(len(viewers)), degrees)
    within = np.arange(len(sessions)) - (ends - degrees)[sessions]
    followed = targets[starts[viewers][sessions] + within]
    # The root keeps those who post a lot from filling every timeline.
    masses = np.concatenate([[0.0], np.cumsum(np.sqrt(counts[followed]))])
    low, high = masses[ends - degrees], masses[ends]

    draws = rng.random((len(viewers), N_CANDIDATES["followed"]))
    at = np.searchsorted(masses, low[:, None] + draws * (high - low)[:, None], side="right") - 1
    someone = (high > low)[:, None] & (at < len(followed))
    if not len(followed):
        return np.full(draws.shape, -1, np.int64)
    author = followed[np.minimum(at, len(followed) - 1)]
    someone &= counts[author] > 0
    back = (counts[author] * rng.random(draws.shape) ** 2).astype(np.int64)
    rows = np.minimum(firsts[author] + back, len(posts) - 1)
    return np.where(someone, posts[rows] if len(posts) else -1, -1)


def _activity(world: "World", window: Ids, now_ms: int) -> tuple[Ids, Ids, Ids]:
    """(actors, posts, times_ms) of posts and reposts within the window."""
    since_ms = now_ms - WINDOW_MS
    world.reposts = [chunk for chunk in world.reposts if chunk[2].max(initial=0) >= since_ms]
    posts = world.posts.rows[window]
    chunks = [(posts["author"], window, posts["created_ms"]), *world.reposts]
    actors, rows, times_ms = (np.concatenate(parts) for parts in zip(*chunks, strict=True))
    return actors, rows, times_ms


def _discovered(
    world: "World", viewers: Ids, window: Ids, now_ms: int, rng: np.random.Generator
) -> Ids:
    """(sessions, draws): posts by topic, by popularity, and by chance."""
    n_sessions = len(viewers)
    widths = [N_CANDIDATES[name] for name in ("topic", "popular", "random")]
    posts = world.posts.rows[window]
    # Neither replies nor what protected people write can be discovered.
    open_to_all = ~world.population.protected[posts["author"]] & (posts["reply_to"] < 0)
    recent, posts = window[open_to_all], posts[open_to_all]
    if not len(recent):
        return np.full((n_sessions, sum(widths)), -1, np.int64)
    ages_h = np.maximum(now_ms - posts["created_ms"], 0) / HOUR_MS
    weights = (1 + posts["popularity"].astype(np.float64)) ** 0.7 * np.exp2(-ages_h / 8)

    order = np.argsort(posts["topic"], kind="stable")
    masses = np.concatenate([[0.0], np.cumsum(weights[order])])
    bounds = masses[np.searchsorted(posts["topic"][order], np.arange(N_TOPICS + 1))]
    topics = world.population.draw_topics(viewers, widths[0], rng)
    low, high = bounds[topics], bounds[topics + 1]
    at = np.searchsorted(masses, low + rng.random(topics.shape) * (high - low), side="right") - 1
    by_topic = recent[order[np.minimum(at, len(recent) - 1)]]
    by_topic = np.where(high > low, by_topic, -1)

    total = np.cumsum(weights)
    at = np.searchsorted(total, rng.random((n_sessions, widths[1])) * total[-1])
    by_popularity = recent[np.minimum(at, len(recent) - 1)]
    by_chance = recent[rng.integers(0, len(recent), (n_sessions, widths[2]))]
    found = np.concatenate([by_topic, by_popularity, by_chance], axis=1)
    languages = world.posts.rows["language"][np.maximum(found, 0)]
    # Discovery mostly respects what people read; some foreign posts get through.
    readable = world.population.reads[viewers[:, None], languages]
    return np.where(readable | (rng.random(found.shape) < 0.2), found, -1)
