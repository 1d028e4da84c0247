"""The closed loop: people see what a feed shows them, react to it, and so change what comes.

Each feed (an *arm*) gets a society of its own, and all begin as the same one. What does not
depend on feeds, who writes when, who opens a timeline when and how far down they scroll, is
drawn alike in all of them, so that arms are compared session by session: what differs between
people and sessions drops out of the comparison, and every arm has every session. Splitting one
society's users among arms would do neither, and what one arm makes popular would reach another.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import Kind
from cluster.ids import Ids
from simulation.errands import record_past, run_errands
from simulation.feeds import Chronological, FeedPolicy, Moment, best_values, values
from simulation.outcomes import Outcomes
from simulation.population import record_users
from simulation.publishing import look_after, publish
from simulation.reactions import Reactions, react
from simulation.recorder import Recorder
from simulation.rhythm import DAY_MS, HOUR_MS, activity
from simulation.run import DEFAULT_START_MS
from simulation.shown import Feed
from simulation.world import World

N_POSTS = 20
"""In a feed; about ten of them get on screen."""
SLICE_MS = HOUR_MS // 4
"""Feeds know what happened before the quarter of an hour in which they are asked."""


class Listener(Protocol):
    """Follows what happens, to make feeds of it, and records what it serves."""

    def hear(self, events: pa.RecordBatch) -> None:
        """Events that happened, in order of time."""

    def learn(self, now_ms: int) -> None:
        """A day is over."""


@dataclass(frozen=True)
class Plan:
    """What all arms of a comparison share."""

    users: int
    days: int
    """Measured; before them goes a day on which everybody's feed is chronological."""
    seed: int = 0
    sessions_per_day: int = 2_000
    """About how many are served by the arm's policy: those of a panel drawn at random, which
    is the same in all arms. Everybody else's feed is chronological, in every arm."""
    judged_share: float = 0.25
    """Of the panel's sessions, for which the best feed is sought."""
    start_ms: int = DEFAULT_START_MS


class _Draw(IntEnum):
    """What is drawn by chance, each from a stream of its own that begins anew every hour.

    So a draw more or less in one arm does not shift what comes after it.
    """

    WORLD = 0
    PANEL = 1
    PAST = 2
    POSTS = 3
    ERRANDS = 4
    CARE = 5
    SESSIONS = 6
    JUDGED = 7
    FEEDS = 8
    REACTIONS = 9
    OTHERS = 10


class Society:
    """A world and its clock, in which somebody else decides what is shown."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.now_ms = plan.start_ms
        self.world = World(plan.users, plan.start_ms, self.rng(_Draw.WORLD, 0))
        self.panel = self._draw_panel()
        """(users,) bool: whose feeds an arm decides."""
        self._recorder = Recorder()
        self._n_cared_for = 0

    def past(self) -> pa.RecordBatch:
        """What led up to the start: accounts, follows, topics, lists."""
        rng = self.rng(_Draw.PAST, 0)
        record_users(self.world.population, self._recorder, rng)
        record_past(self.world, self._recorder, rng)
        events = self.events(self.now_ms)
        if events is None:
            raise AssertionError("a world of users has a past")
        return events

    def copied(self, *, heard: bool) -> "Society":
        """Another society that is the same so far; where nobody listens, it records nothing."""
        other = copy.deepcopy(self)
        if not heard:
            other._recorder = _Deaf()
        return other

    def events(self, until_ms: int) -> pa.RecordBatch | None:
        """What happened before an instant and was not yet told; None if nothing did."""
        return self._recorder.take(until_ms)

    def hours(self, n_hours: int) -> Iterator[list[tuple[Ids, Ids]]]:
        """Let hours pass: gives, of each slice of an hour, the (viewers, starts_ms).

        Posts are written and errands run before; `now_ms` is the beginning of the hour.
        """
        for _ in range(n_hours):
            world, hour_ms = self.world, self.now_ms
            active = activity(hour_ms, world.population.utc_offsets_h)
            if hour_ms % DAY_MS == 0:
                world.seen.forget_older()
            publish(world, hour_ms, active, self._recorder, self.rng(_Draw.POSTS, hour_ms))
            run_errands(world, hour_ms, active, self._recorder, self.rng(_Draw.ERRANDS, hour_ms))
            new_posts = np.arange(self._n_cared_for, len(world.posts))
            look_after(world, new_posts, hour_ms, self._recorder, self.rng(_Draw.CARE, hour_ms))
            self._n_cared_for = len(world.posts)
            yield self._sessions(hour_ms, active)
            self.now_ms = hour_ms + HOUR_MS

    def moment(self, viewers: Ids, starts_ms: Ids, known_ms: int) -> Moment:
        """The sessions of one slice."""
        ids = self.world.population.user_ids[viewers].tolist()
        requests = [f"sim-{user}-{ms}" for user, ms in zip(ids, starts_ms.tolist(), strict=True)]
        return Moment(self.world, viewers, starts_ms, known_ms, requests)

    def react(self, moment: Moment, feeds: Ids, draw: int, *, told: bool) -> Reactions:
        """Let everybody of a moment see a feed (V, n); the world changes.

        `told`: what was served is recorded, as what happens always is.
        """
        feed = _as_shown(moment, feeds)
        if told:
            self._tell_served(feed)
        return react(self.world, feed, self._recorder, self.rng(draw, moment.known_ms))

    def rng(self, draw: int, at_ms: int) -> np.random.Generator:
        """The stream of what is drawn at one instant."""
        return np.random.default_rng([self.plan.seed, draw, at_ms])

    def _sessions(self, hour_ms: int, active: npt.NDArray[np.float64]) -> list[tuple[Ids, Ids]]:
        """(viewers, starts_ms) of each slice of an hour, in order; at most one per user."""
        rng = self.rng(_Draw.SESSIONS, hour_ms)
        rates = self.world.population.sessions_per_day / 24 * active
        viewers = np.flatnonzero(rng.random(len(rates)) < -np.expm1(-rates))
        starts_ms = hour_ms + rng.integers(0, HOUR_MS, len(viewers))
        order = np.argsort(starts_ms, kind="stable")
        viewers, starts_ms = viewers[order], starts_ms[order]
        cuts = np.searchsorted(starts_ms, np.arange(hour_ms, hour_ms + HOUR_MS, SLICE_MS)[1:])
        return list(zip(np.split(viewers, cuts), np.split(starts_ms, cuts), strict=True))

    def _draw_panel(self) -> npt.NDArray[np.bool_]:
        rates = self.world.population.sessions_per_day
        order = self.rng(_Draw.PANEL, 0).permutation(len(rates))
        panel = np.zeros(len(rates), bool)
        panel[order[np.cumsum(rates[order]) <= self.plan.sessions_per_day]] = True
        panel[order[0]] = True
        return panel

    def _tell_served(self, feed: Feed) -> None:
        posts, user_ids = self.world.posts.rows[feed.posts], self.world.population.user_ids
        self._recorder.add(
            Kind.SERVED,
            feed.starts_ms[feed.sessions],
            actor_id=user_ids[feed.viewers[feed.sessions]],
            post_id=posts["id"],
            author_id=user_ids[posts["author"]],
            request_id=feed.request_ids.take(feed.sessions),
            position=feed.positions.astype(np.int16),
            source="following",
            surface="home",
        )


def warm_up(society: Society, listener: Listener | None = None) -> None:
    """The day before the first: every feed is chronological, so that there is something to show."""
    past = society.past()
    if listener:
        listener.hear(past)
    for slices in society.hours(24):
        for number, (viewers, starts_ms) in enumerate(slices):
            known_ms = society.now_ms + number * SLICE_MS
            _show_others(society, society.moment(viewers, starts_ms, known_ms))
        _tell(society, listener, society.now_ms + HOUR_MS)


def run_arm(
    society: Society, policy: FeedPolicy, listener: Listener | None = None
) -> Iterator[Outcomes]:
    """Serve the panel by a policy; yields what became of each day's sessions.

    A listener hears what happened before each slice that is served, and learns at the end of
    each day but the last.
    """
    plan = society.plan
    for day in range(1, plan.days + 1):
        outcomes = []
        for slices in society.hours(24):
            for number, (viewers, starts_ms) in enumerate(slices):
                known_ms = society.now_ms + number * SLICE_MS
                _tell(society, listener, known_ms)
                ours = society.panel[viewers]
                moment = society.moment(viewers[ours], starts_ms[ours], known_ms)
                outcomes.append(_show_panel(society, moment, policy, day))
                moment = society.moment(viewers[~ours], starts_ms[~ours], known_ms)
                _show_others(society, moment)
        _tell(society, listener, society.now_ms)
        if listener and day < plan.days:
            listener.learn(society.now_ms)
        yield Outcomes.joined(outcomes)


def _show_panel(society: Society, moment: Moment, policy: FeedPolicy, day: int) -> Outcomes:
    known_ms = moment.known_ms
    feeds = policy.serve(moment, N_POSTS, society.rng(_Draw.FEEDS, known_ms))
    worth = values(moment, feeds)
    drawn = society.rng(_Draw.JUDGED, known_ms).random(len(feeds))
    judged = np.flatnonzero(drawn < society.plan.judged_share)
    best_worth = np.full(len(feeds), np.nan)
    # The same sums in another order: without the maximum some are 1e-7 less.
    best_worth[judged] = np.maximum(best_values(moment.take(judged), feeds[judged]), worth[judged])
    reactions = society.react(moment, feeds, _Draw.REACTIONS, told=False)
    return Outcomes.of(day, moment.viewers, feeds, worth, best_worth, reactions)


def _show_others(society: Society, moment: Moment) -> None:
    feeds = Chronological().serve(moment, N_POSTS, society.rng(_Draw.FEEDS, moment.known_ms))
    society.react(moment, feeds, _Draw.OTHERS, told=True)


def _tell(society: Society, listener: Listener | None, until_ms: int) -> None:
    events = society.events(until_ms)
    if listener and events is not None:
        listener.hear(events)


def _as_shown(moment: Moment, feeds: Ids) -> Feed:
    sessions, positions = np.nonzero(feeds >= 0)
    return Feed(
        viewers=moment.viewers,
        starts_ms=moment.starts_ms,
        request_ids=pa.array(moment.request_ids, pa.string()),
        sessions=sessions,
        posts=feeds[sessions, positions],
        positions=positions,
    )


class _Deaf(Recorder):
    """Where nobody listens."""

    def add(self, kind: Kind, times_ms: Ids, **columns: Any) -> None:
        """Nothing."""
