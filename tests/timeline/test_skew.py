"""No skew between serving and training: a replay to where the shards were makes the same inputs.

Shards apply events, cut anywhere, while pages are made. Each wave of a request says how far they
were; states replayed to those places answer the request once more.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from actors.features.inputs import Level
from actors.features.logged import Applied, pack_pages, read_pages
from actors.models import HEAVY_RANKER, Models
from actors.questions import AskApplied
from actors.router import Gathered, LocalRouter, Reply, Wave
from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.ids import lanes_of_shard
from cluster.routing import PARTITION, decode, encode, route
from cluster.settings import Settings
from tests.actors.ranker_inputs.rich_worlds import (
    USER_IDS,
    count_aggregates,
    rich_events,
    rich_settings,
    write_random_models,
)
from tests.timeline.test_heavy_ranker import write_ranker
from tests.worlds import DAY_MS, N_LANES, NOW_MS, SECRET, checked
from timeline.pages import Page
from timeline.served import logged_pages
from timeline.timelines import Timelines
from training.heavy_ranker.loaded import LoadedRankers

N_SHARDS = 2
EVENTS_PER_RECORD = 150


@dataclass(frozen=True)
class Log:
    """Records of every lane, from offset 1."""

    records: list[dict[int, pa.RecordBatch]]

    @staticmethod
    def of(events: Sequence[dict]) -> "Log":
        cuts = range(0, len(events), EVENTS_PER_RECORD)
        parts = (checked(events[cut : cut + EVENTS_PER_RECORD]) for cut in cuts)
        return Log(
            [
                {
                    lane: decode(encode(batch)).replace_schema_metadata(None)
                    for lane, batch in route(part, N_LANES).items()
                }
                for part in parts
            ]
        )

    def apply(self, states: Sequence[ShardState], first: int, end: int) -> None:
        """Have states apply records first … end − 1 as their tailers would."""
        for at in range(first, end):
            for state in states:
                for lane in state.lanes:
                    rows = self.records[at].get(lane)
                    if rows is not None:
                        state.apply(rows, np.full(rows.num_rows, at + 1), True)


class Replayed:
    """A router that answers each wave from states as far as `applied` says they were."""

    def __init__(self, log: Log, states: Sequence[ShardState], applied: Sequence[Applied]) -> None:
        self._log, self._states, self._applied = log, states, list(applied)
        self._done: dict[int, tuple[int, int]] = {}
        self._whole = LocalRouter(states)

    @property
    def n_shards(self) -> int:
        return len(self._states)

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        # Waves after the ranker's, of which nothing is logged, change nothing of its inputs.
        if self._applied and any(AskApplied() in questions for questions in wave.values()):
            self._replay(self._applied.pop(0))
        replies = self._whole.ask(wave, timeout_s).replies
        return Gathered({s: Reply(r.answers, 0, r.active) for s, r in replies.items()})

    def _replay(self, until: Applied) -> None:
        for shard, state in enumerate(self._states):
            for lane in lanes_of_shard(shard, N_SHARDS, N_LANES):
                if lane in until:
                    self._replay_lane(state, lane, until[lane])

    def _replay_lane(self, state: ShardState, lane: int, until: tuple[int, int]) -> None:
        offset, n_rows = self._done.get(lane, (1, 0))
        while (offset, n_rows) < until:
            rows = self._mine(state, lane, offset)
            end = until[1] if offset == until[0] else len(rows)
            part = rows.slice(n_rows, end - n_rows)
            if part.num_rows:
                state.apply(part, np.full(part.num_rows, offset), True)
            if offset == until[0]:
                break
            offset, n_rows = offset + 1, 0
        self._done[lane] = until

    def _mine(self, state: ShardState, lane: int, offset: int) -> pa.RecordBatch:
        rows = self._log.records[offset - 1].get(lane)
        if rows is None:
            return pa.RecordBatch.from_pydict({})
        at = rows.column(PARTITION).to_numpy()
        return rows.filter(pa.array((at >= state.first_partition) & (at < state.end_partition)))


class World:
    def __init__(self, folder: Path) -> None:
        events = sorted(rich_events(), key=lambda event: (event["time_ms"], event["event_id"]))
        self.log = Log.of(events)
        chosen = rich_settings(folder, "laptop")
        shards = chosen.shards.model_copy(update={"slice_rows": 23})
        self.settings: Settings = chosen.model_copy(update={"shards": shards})
        self.store = ArtifactStore(folder / "artifacts")
        version = write_ranker(self.store, self.settings)
        self.versions = write_random_models(folder) | count_aggregates(folder, events, "laptop")
        self.versions[HEAVY_RANKER] = version
        self.models = Models(self.store)
        self.ranker = LoadedRankers(self.store, self.settings)
        self.ranker.load(version)

    def states(self) -> list[ShardState]:
        states = [ShardState(self.settings, self.models, k, N_SHARDS) for k in range(N_SHARDS)]
        for state in states:
            for name, version in self.versions.items():
                state.activate(name, version, NOW_MS - 30 * DAY_MS)
        return states

    def timelines(self, router: LocalRouter | Replayed) -> Timelines:
        return Timelines(self.settings, router, self.models, SECRET, self.ranker)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("skew"))


def moved(page: Page) -> int:
    """How many lanes were applied further while the page was made."""
    waves = page.predictions.applied  # type: ignore[union-attr]
    return sum(
        later[lane] != at
        for earlier, later in pairwise(waves)
        for lane, at in earlier.items()
        if lane in later
    )


def test_a_replay_to_where_the_shards_were_makes_the_same_inputs(world: World) -> None:
    states, n = world.states(), len(world.log.records)
    begun = n * 2 // 3
    world.log.apply(states, 0, begun)
    timelines = world.timelines(LocalRouter(states))
    go = threading.Semaphore(0)

    def apply() -> None:
        for at in range(begun, n):
            go.acquire()
            world.log.apply(states, at, at + 1)

    applier = threading.Thread(target=apply)
    applier.start()
    pages: list[Page] = []
    for turn in range(n - begun):
        go.release()
        page = timelines.for_you(USER_IDS[turn % len(USER_IDS)], 20, now_ms=NOW_MS)
        if page.predictions is not None and len(page.predictions.post_ids):
            pages.append(page)
    applier.join()
    chosen = sorted(pages, key=moved)[-2:]
    assert moved(chosen[0]) > 0, "no page was made while events were applied"
    for page in chosen:
        assert_remade(world, page)


def assert_remade(world: World, page: Page) -> None:
    served = page.predictions
    assert served is not None
    router = Replayed(world.log, world.states(), served.applied)
    again = world.timelines(router).for_you(page.viewer_id, 20, now_ms=NOW_MS).predictions
    assert again is not None
    np.testing.assert_array_equal(again.post_ids, served.post_ids)
    for level in Level:
        np.testing.assert_allclose(
            again.inputs.values[level], served.inputs.values[level], rtol=1e-6, atol=1e-6
        )
        np.testing.assert_array_equal(again.inputs.discrete[level], served.inputs.discrete[level])
    for name, vectors in served.inputs.embeddings.items():
        np.testing.assert_allclose(again.inputs.embeddings[name], vectors, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(again.probabilities, served.probabilities, atol=1e-5)


def test_the_log_keeps_where_the_shards_were(world: World) -> None:
    states = world.states()
    world.log.apply(states, 0, len(world.log.records))
    page = world.timelines(LocalRouter(states)).for_you(USER_IDS[1], 20, now_ms=NOW_MS)
    logged = logged_pages([page], 1.0, np.random.default_rng(0))
    [read] = read_pages(pack_pages(logged))
    assert page.predictions is not None
    assert read.applied == page.predictions.applied
