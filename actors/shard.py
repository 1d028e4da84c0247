"""The shard actor: a thin shell around one shard's state."""

import os
import time
from collections.abc import Sequence
from typing import Any

from ray.util import get_node_ip_address

from actors.calls import Address, Answering
from actors.models import ACTIVATED, OF_VECTORS, Models
from actors.near_rebuild import NearRebuilds
from actors.router import Reply
from actors.state import Question, ShardState
from actors.tailer import Tailer
from actors.warm import pass_over_what_stays, prefer_short_waits, warm
from cluster.artifacts import ArtifactStore
from cluster.logs import open_reader
from cluster.settings import Settings

_PREPARED_WITHIN_S = 600.0


class NotReady(RuntimeError):
    """The shard is still being restored."""


class Shard:
    """One shard: restores itself, tails its lanes and answers questions.

    Questions come over sockets and are answered in threads; kernels release the interpreter, so
    queries run side by side. The other methods are called through Ray.
    """

    def __init__(
        self, settings: Settings, shard: int, n_shards: int, until_ms: int | None = None
    ) -> None:
        self._started = time.monotonic()
        self._until_ms = until_ms
        self._artifacts = ArtifactStore(settings.data_dir / "artifacts")
        self._models = Models(self._artifacts)
        self._state = ShardState(settings, self._models, shard, n_shards)
        self._shard = shard
        self._tailer = Tailer(
            self._state,
            lambda: open_reader(settings),
            settings.data_dir / "snapshots",
            until_ms=until_ms,
        )
        self._near_rebuilds = NearRebuilds(
            lambda: self._state.vectors,
            settings.data_dir / "scratch" / f"near-{shard}",
            settings.vectors.rebuild_after,
        )
        warm()
        pass_over_what_stays()
        prefer_short_waits()
        if until_ms is not None:
            self._state.activate_as_of(self._artifacts, until_ms)
        self._tailer.start()
        if "vectors" in settings.shards.kinds:
            self._near_rebuilds.start()
        self._answering = Answering(self.ask, get_node_ip_address(), settings.shards.threads)

    def address(self) -> Address:
        """Where the shard is asked."""
        return self._answering.address

    def ask(self, questions: Sequence[Question]) -> Reply:
        """Answer questions about one state. Raises `NotReady` until it is restored."""
        if not self._tailer.caught_up_ms:
            raise NotReady(f"shard {self._shard} is still restoring")
        answers = self._state.ask(questions)
        return Reply(answers, self._tailer.lag_ms(_now_ms()), self._state.active_versions())

    def preload(self, name: str, version: str) -> None:
        """Make a version ready beside the active one; raises what is wrong with it.

        Embeddings of posts under new communities are made of the engagements of the last two
        days, in slices between events; queries and events go on meanwhile.
        """
        if name in OF_VECTORS:
            models = self._models.vectors(self._state.active_versions() | {name: version})
            work = self._state.vectors.preparing(models, _now_ms())
            if not self._tailer.run_between(work).wait(_PREPARED_WITHIN_S):
                raise TimeoutError(f"{name} {version} is not ready in {_PREPARED_WITHIN_S:.0f} s")
            if models.version not in self._state.vectors.versions:
                raise RuntimeError(f"{name} {version} could not be made ready; see the shard's log")
        elif name in ACTIVATED:
            self._models.load(name, version)

    def snapshot(self) -> None:
        """Ask for a snapshot; `status` says when it is there."""
        self._tailer.request_snapshot()

    def status(self) -> dict[str, Any]:
        """Health, lag, sizes and memory."""
        state = self._state
        return {
            "shard": self._shard,
            "pid": os.getpid(),
            "ready": bool(self._tailer.caught_up_ms),
            "up_s": round(time.monotonic() - self._started, 1),
            "lag_ms": self._tailer.lag_ms(_now_ms()) if self._tailer.caught_up_ms else None,
            "offset": max(self._tailer.positions.values(), default=0),
            "store_bytes": state.memory_bytes,
            "users": len(state.users),
            "counters": dict(state.counters),
            "active": state.active_versions(),
            "last_snapshot": self._tailer.last_snapshot,
            "failure": self._tailer.failure,
            "ended": self._tailer.ended,
            "near_rebuilds": self._near_rebuilds.status(),
            **state.sizes(),
        }

    def stop(self) -> None:
        """End the tailer, finishing a snapshot that is being written."""
        self._answering.close()
        self._near_rebuilds.stop()
        self._tailer.stop()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
