"""Let the world run: the events of a simulated society, hour by hour."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.ids import Ids
from simulation.errands import record_past, run_errands
from simulation.population import record_users
from simulation.publishing import look_after, publish
from simulation.reactions import react
from simulation.recorder import Recorder
from simulation.rhythm import DAY_MS, HOUR_MS, activity
from simulation.timeline import serve
from simulation.world import World

DEFAULT_START_MS = 1_704_067_200_000
"""2024-01-01 00:00 UTC, a Monday."""
_PAST_BATCH_ROWS = 32_768


def simulate(
    users: int, days: float, seed: int, start_ms: int = DEFAULT_START_MS
) -> Iterator[pa.RecordBatch]:
    """The events of `users` users: what led up to `start_ms`, then `days` days from it.

    Valid batches in time order: the past in batches of 32,768 rows, then one an hour, made
    as they are asked for. What is still to happen at the end (a deletion hours later) is
    left out. The same arguments give the same events, ids included.
    """
    simulation = Simulation(users, seed, start_ms)
    yield from simulation.past()
    for _ in range(round(days * 24)):
        batch = simulation.hour()
        if batch is not None:
            yield batch


class Simulation:
    """A world and its clock.

    With `timelines=False` people write posts and run errands but read nothing: whoever
    drives the simulation shows them posts through `world.react`.
    """

    def __init__(
        self,
        users: int,
        seed: int,
        start_ms: int = DEFAULT_START_MS,
        *,
        timelines: bool = True,
    ) -> None:
        self._rng = np.random.default_rng(seed)
        self._recorder = Recorder()
        self._timelines = timelines
        self._n_cared_for = 0
        self.world = World(users, start_ms, self._rng)
        self.now_ms = start_ms

    def past(self) -> Iterator[pa.RecordBatch]:
        """Events from before the start: accounts, follows, topics, lists. Call it first."""
        record_users(self.world.population, self._recorder, self._rng)
        record_past(self.world, self._recorder, self._rng)
        batch = self._recorder.take(self.now_ms)
        if batch is not None:
            for first in range(0, batch.num_rows, _PAST_BATCH_ROWS):
                yield batch.slice(first, _PAST_BATCH_ROWS)

    def hour(self) -> pa.RecordBatch | None:
        """Advance by one hour and return its events; None if nothing happened."""
        world, recorder, rng, hour_ms = self.world, self._recorder, self._rng, self.now_ms
        active = activity(hour_ms, world.population.utc_offsets_h)
        if hour_ms % DAY_MS == 0:
            world.seen.forget_older()
        publish(world, hour_ms, active, recorder, rng)
        if self._timelines:
            viewers, starts_ms = self._sessions(active)
            feed = serve(world, viewers, starts_ms, recorder, rng)
            react(world, feed, recorder, rng)
        run_errands(world, hour_ms, active, recorder, rng)
        new_posts = np.arange(self._n_cared_for, len(world.posts))
        look_after(world, new_posts, hour_ms, recorder, rng)
        self._n_cared_for = len(world.posts)
        self.now_ms += HOUR_MS
        return recorder.take(self.now_ms)

    def _sessions(self, active: npt.NDArray[np.float64]) -> tuple[Ids, Ids]:
        """(viewers, starts_ms) of the hour's sessions, at most one per user."""
        rates = self.world.population.sessions_per_day / 24 * active
        viewers = np.flatnonzero(self._rng.random(len(rates)) < -np.expm1(-rates))
        return viewers, self.now_ms + self._rng.integers(0, HOUR_MS, len(viewers))
