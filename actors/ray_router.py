"""The router of a running system: shard actors on a Ray cluster."""

import time
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError

from actors.log_writer import RemoteLog
from actors.router import Breaker, Gathered, Reply, Router, Wave
from actors.shared_waves import SharedWaves
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
    return SharedWaves(RayRouter([ray.get_actor(name, settings.namespace) for name in names]))


def connect_log(settings: Settings) -> Appender:
    """What appends to the log: JetStream itself, or the actor that owns the SQLite file."""
    if settings.log.kind == "jetstream":
        return open_writer(settings)
    writer = ray.get_actor(LOG_WRITER, settings.namespace)
    return RemoteLog(writer, settings.log.append_timeout_s)


class RayRouter:
    """Asks shard actors by handle; thread-safe as far as handles are."""

    def __init__(self, actors: list[Any]) -> None:
        self._actors = actors
        self._breakers = [Breaker() for _ in actors]

    @property
    def n_shards(self) -> int:
        """How many shards there are."""
        return len(self._actors)

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        """One call per shard, all in flight at once; late and failed shards are missing."""
        deadline = time.monotonic() + timeout_s
        calls: dict[int, Any] = {}
        missing: dict[int, str] = {}
        for shard, questions in wave.items():
            if not self._breakers[shard].allows():
                missing[shard] = "breaker open"
                continue
            try:
                calls[shard] = self._actors[shard].ask.remote(list(questions))
            except RayError as error:
                self._fail(shard, error, missing)
        replies = _all_at_once(calls, timeout_s)
        for shard in replies:
            self._breakers[shard].succeeded()
        for shard, call in calls.items():
            if shard in replies:
                continue
            try:
                left_s = max(deadline - time.monotonic(), 0.0)
                replies[shard] = ray.get(call, timeout=left_s)
                self._breakers[shard].succeeded()
            except GetTimeoutError:
                self._breakers[shard].failed()
                missing[shard] = f"no answer in {timeout_s * 1000:.0f} ms"
                ray.cancel(call)
            except RayError as error:
                self._fail(shard, error, missing)
        return Gathered(replies, missing)

    def _fail(self, shard: int, error: RayError, missing: dict[int, str]) -> None:
        self._breakers[shard].failed()
        missing[shard] = f"{type(error).__name__}: {str(error).strip().splitlines()[-1][:200]}"


def _all_at_once(calls: dict[int, Any], timeout_s: float) -> dict[int, Reply]:
    """All replies in one look-up, the cheapest way; none where any is late or failed."""
    try:
        replies: list[Reply] = ray.get(list(calls.values()), timeout=timeout_s)
    except (GetTimeoutError, RayError):
        return {}
    return dict(zip(calls, replies, strict=True))
