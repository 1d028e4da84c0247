"""The system as of a past instant: the log replayed in this process, with nothing later."""

import time
from collections.abc import Callable
from pathlib import Path

from actors.models import HEAVY_RANKER, Models
from actors.ranker import NO_RANKER, Ranker
from actors.router import LocalRouter
from actors.state import ShardState
from actors.tailer import Tailer
from cluster.artifacts import ArtifactStore
from cluster.log import EventLog
from cluster.settings import Settings
from timeline.timelines import Timelines

_REPLAY_TIMEOUT_S = 3_600.0


class NotReplayed(RuntimeError):
    """The past cannot be had; the message says why."""


def timelines_as_of(
    settings: Settings,
    until_ms: int,
    open_log: Callable[[], EventLog],
    secret: bytes,
    ranker_of: Callable[[str], Ranker] = lambda version: NO_RANKER,
) -> Timelines:
    """Timelines over one in-process shard that holds exactly the events up to `until_ms`.

    It begins as shards do: from the newest snapshot that holds nothing later, or from the
    archive where the log no longer reaches back so far. The newest artifacts whose data ends by
    then are the active ones; `ranker_of` gives the heavy ranker of a version. Raises
    `NotReplayed`.
    """
    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    models = Models(artifacts)
    state = ShardState(settings, models)
    _replay(state, open_log, settings.data_dir / "snapshots", until_ms)
    state.activate_as_of(artifacts, until_ms)
    version = state.active_versions().get(HEAVY_RANKER)
    ranker = ranker_of(version) if version else NO_RANKER
    return Timelines(settings, LocalRouter([state]), models, secret, ranker)


def _replay(
    state: ShardState, open_log: Callable[[], EventLog], snapshots: Path, until_ms: int
) -> None:
    tailer = Tailer(state, open_log, snapshots, until_ms=until_ms)
    started_ms = time.time_ns() // 1_000_000
    deadline = time.monotonic() + _REPLAY_TIMEOUT_S
    tailer.start()
    try:
        while tailer.caught_up_ms < started_ms:
            if tailer.failure or time.monotonic() > deadline:
                raise NotReplayed(f"the log was not replayed: {tailer.failure or 'too slow'}")
            time.sleep(0.01)
    finally:
        tailer.stop()
