"""What people do besides reading and writing: find each other, choose topics, keep lists."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cluster.events import Kind
from cluster.ids import Ids
from simulation.follows import follow_backs
from simulation.reactions import relate
from simulation.recorder import Recorder
from simulation.rhythm import DAY_MS, HOUR_MS
from simulation.text import word
from simulation.vocabulary import LANGUAGES, N_TOPICS

if TYPE_CHECKING:
    from simulation.world import World

FOLLOWS_PER_DAY, UNFOLLOWS_PER_DAY = 0.25, 0.04
TOPIC_FOLLOWS_PER_DAY, KEYWORD_MUTES_PER_DAY, LIST_CHANGES_PER_DAY = 0.03, 0.02, 0.02
"""Per user, outside the timeline."""
FIRST_LIST_ID = 1_000_000_000


def record_past(world: "World", recorder: Recorder, rng: np.random.Generator) -> None:
    """Record what people set up before the start: follows, topics, lists."""
    population, start_ms = world.population, world.start_ms
    sources, targets, times_ms = world.initial_follows
    user_ids = population.user_ids
    recorder.add(Kind.FOLLOW, times_ms, actor_id=user_ids[sources], target_id=user_ids[targets])
    users = np.flatnonzero(rng.random(len(population)) < 0.6)
    since_ms = population.created_ms[users]
    _follow_topics(world, recorder, users, _between(since_ms, start_ms, rng), rng)
    users = np.flatnonzero(rng.random(len(population)) < 0.15)
    since_ms = population.created_ms[users]
    _mute_keywords(world, recorder, users, _between(since_ms, start_ms, rng), rng)
    owners = np.flatnonzero(rng.random(len(population)) < 0.05)
    made_ms = _between(population.created_ms[owners], start_ms - DAY_MS, rng)
    recorder.add(
        Kind.LIST_CREATE,
        made_ms,
        actor_id=user_ids[owners],
        target_id=FIRST_LIST_ID + owners,
        name=[f"List {number}" for number in range(len(owners))],
    )
    world.list_owners = owners
    members = np.repeat(owners, 6)
    _add_to_lists(world, recorder, members, _between(np.repeat(made_ms, 6), start_ms, rng), rng)


def run_errands(
    world: "World",
    hour_ms: int,
    active: npt.NDArray[np.float64],
    recorder: Recorder,
    rng: np.random.Generator,
) -> None:
    """One hour of everything outside the timeline; `active` is each user's activity now."""

    def some(per_day: float) -> Ids:
        return np.flatnonzero(rng.random(len(active)) < per_day / 24 * active)

    def times_ms(users: Ids) -> Ids:
        return hour_ms + rng.integers(0, HOUR_MS, len(users))

    follows, population = world.follows, world.population
    users = some(FOLLOWS_PER_DAY)
    places, targets = world.encounters.draw(users, rng)
    sources = users[places]
    new = ~follows.contain(sources, targets) & ~world.hidden.contain(sources, targets)
    sources, targets = sources[new], targets[new]
    followed_ms = times_ms(sources)
    relate(world, recorder, Kind.FOLLOW, sources, targets, followed_ms)
    back = follow_backs(population, sources, targets, rng)
    back &= ~follows.contain(targets, sources) & ~world.hidden.contain(targets, sources)
    waits_ms = 1 + (600_000 * rng.lognormal(0, 1.0, len(sources))).astype(np.int64)
    relate(
        world,
        recorder,
        Kind.FOLLOW,
        targets[back],
        sources[back],
        (followed_ms + waits_ms)[back],
    )
    leavers = some(UNFOLLOWS_PER_DAY)
    starts, followees = follows.targets_by_source()
    degrees = np.diff(starts)[leavers]
    leavers, degrees = leavers[degrees > 0], degrees[degrees > 0]
    left = followees[starts[leavers] + rng.integers(0, degrees)]
    relate(world, recorder, Kind.UNFOLLOW, leavers, left, times_ms(leavers))

    users = some(TOPIC_FOLLOWS_PER_DAY)
    _follow_topics(world, recorder, users, times_ms(users), rng)
    users = some(KEYWORD_MUTES_PER_DAY)
    _mute_keywords(world, recorder, users, times_ms(users), rng)
    users = np.intersect1d(some(LIST_CHANGES_PER_DAY), world.list_owners)
    _add_to_lists(world, recorder, users, times_ms(users), rng)


def _between(since_ms: Ids, until_ms: int, rng: np.random.Generator) -> Ids:
    return since_ms + ((until_ms - since_ms) * rng.random(len(since_ms))).astype(np.int64)


def _follow_topics(
    world: "World", recorder: Recorder, users: Ids, times_ms: Ids, rng: np.random.Generator
) -> None:
    """People follow topics they like."""
    topics = world.population.draw_topics(users, 1, rng)[:, 0]
    recorder.add(
        Kind.TOPIC_FOLLOW,
        times_ms,
        actor_id=world.population.user_ids[users],
        target_id=1 + topics,
    )


def _mute_keywords(
    world: "World", recorder: Recorder, users: Ids, times_ms: Ids, rng: np.random.Generator
) -> None:
    """People mute words of topics that leave them cold."""
    cold = np.argmin(world.population.tastes[users] + rng.random((len(users), N_TOPICS)), axis=1)
    languages = world.population.languages[users].tolist()
    draws = rng.random(len(users)).tolist()
    recorder.add(
        Kind.KEYWORD_MUTE,
        times_ms,
        actor_id=world.population.user_ids[users],
        keyword=[
            word(LANGUAGES[language], topic, draw)
            for language, topic, draw in zip(languages, cold.tolist(), draws, strict=True)
        ],
    )


def _add_to_lists(
    world: "World", recorder: Recorder, owners: Ids, times_ms: Ids, rng: np.random.Generator
) -> None:
    """Owners add somebody they might follow to their list."""
    places, members = world.encounters.draw(owners, rng)
    user_ids = world.population.user_ids
    recorder.add(
        Kind.LIST_ADD,
        times_ms[places],
        actor_id=user_ids[owners[places]],
        target_id=FIRST_LIST_ID + owners[places],
        author_id=user_ids[members],
    )
