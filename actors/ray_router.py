"""The router of a running system: shard actors on a Ray cluster."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from actors.calls import Call, CallFailed, asking_actor
from actors.log_writer import RemoteLog
from actors.router import Breaker, Gathered, Reply, Router, Wave
from cluster.ingest import Appender
from cluster.logs import open_writer
from cluster.settings import Settings

LOG_WRITER = "log-writer"
KEEPER = "keeper"
LABELLER = "labeller"


def shard_name(shard: int) -> str:
    """The name under which a shard's actor is found in the namespace."""
    return f"shard-{shard}"


def connect_router(settings: Settings) -> Router:
    """The router to the running shards. Raises `ValueError` where one does not exist."""
    names = [shard_name(shard) for shard in range(settings.shards.count)]
    return ShardRouter([ray.get_actor(name, settings.namespace) for name in names])


def connect_log(settings: Settings) -> Appender:
    """What appends to the log: JetStream itself, or the actor that owns the SQLite file."""
    if settings.log.kind == "jetstream":
        return open_writer(settings)
    writer = ray.get_actor(LOG_WRITER, settings.namespace)
    return RemoteLog(writer, settings.log.append_timeout_s)


class ShardRouter:
    """Asks shard actors over sockets, having found them through Ray; thread-safe."""

    def __init__(self, actors: Sequence[Any]) -> None:
        self._shards = [asking_actor(actor) for actor in actors]
        self._breakers = [Breaker() for _ in actors]

    @property
    def n_shards(self) -> int:
        """How many shards there are."""
        return len(self._shards)

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        """One call per shard, all in flight at once; late and failed shards are missing."""
        until_s = time.monotonic() + timeout_s
        calls: dict[int, Call] = {}
        replies: dict[int, Reply] = {}
        missing: dict[int, str] = {}
        for shard, questions in wave.items():
            if not self._breakers[shard].allows():
                missing[shard] = "breaker open"
                continue
            with self._told(shard, missing, timeout_s):
                calls[shard] = self._shards[shard].begin(list(questions), until_s)
        for shard, call in calls.items():
            with self._told(shard, missing, timeout_s):
                replies[shard] = call.answer()
                self._breakers[shard].succeeded()
        return Gathered(replies, missing)

    @contextmanager
    def _told(self, shard: int, missing: dict[int, str], timeout_s: float) -> Iterator[None]:
        """Tell the breaker of a failure, and the wave why the shard's answers are missing."""
        try:
            yield
        except (TimeoutError, CallFailed) as error:
            self._breakers[shard].failed()
            late = isinstance(error, TimeoutError)
            missing[shard] = f"no answer in {timeout_s * 1000:.0f} ms" if late else str(error)[:200]
