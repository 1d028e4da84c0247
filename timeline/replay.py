"""The system as of a past instant: the log replayed in this process, with nothing later."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from actors.models import HEAVY_RANKER, Models
from actors.ranker import NO_RANKER, Ranker
from actors.router import LocalRouter
from actors.state import ShardState
from actors.tailer import Tailer
from cluster.archive import Archive
from cluster.artifacts import ArtifactStore
from cluster.log import EventLog
from cluster.routing import route
from cluster.settings import Settings
from timeline.timelines import Timelines

_REPLAY_TIMEOUT_S = 3_600.0


def timelines_as_of(
    settings: Settings,
    until_ms: int,
    open_log: Callable[[], EventLog],
    secret: bytes,
    ranker_of: Callable[[str], Ranker] = lambda version: NO_RANKER,
) -> Timelines:
    """Timelines over one in-process shard that holds exactly the events up to `until_ms`.

    Starts from the newest snapshot that holds nothing later and reads the log from there,
    or the archive where the log no longer reaches back so far. The newest artifacts whose
    data ends by then are the active ones; `ranker_of` gives the heavy ranker of a version.
    """
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    models = Models(artifacts)
    state = ShardState(settings, models)
    snapshots = settings.data_dir / "snapshots"
    with open_log() as log:
        trimmed = max(log.first_offsets().values(), default=1) > 1
    if trimmed:
        _replay_archive(state, settings, until_ms)
    else:
        _replay_log(state, open_log, snapshots, until_ms)
    state.activate_as_of(artifacts, until_ms)
    version = state.active_versions().get(HEAVY_RANKER)
    ranker = ranker_of(version) if version else NO_RANKER
    return Timelines(settings, LocalRouter([state]), models, secret, ranker)


def _replay_log(
    state: ShardState, open_log: Callable[[], EventLog], snapshots: Path, until_ms: int
) -> None:
    tailer = Tailer(state, open_log, snapshots, until_ms=until_ms)
    started_ms = time.time_ns() // 1_000_000
    deadline = time.monotonic() + _REPLAY_TIMEOUT_S
    tailer.start()
    try:
        while tailer.caught_up_ms < started_ms:
            if tailer.failure or time.monotonic() > deadline:
                raise RuntimeError(f"the log was not replayed: {tailer.failure or 'too slow'}")
            time.sleep(0.01)
    finally:
        tailer.stop()


def _replay_archive(state: ShardState, settings: Settings, until_ms: int) -> None:
    for batch in Archive(settings.archive_root).batches(until_ms=until_ms + 1):
        for part in route(batch, settings.log.lanes).values():
            state.apply(part, np.ones(part.num_rows, np.int64), imported=True)
