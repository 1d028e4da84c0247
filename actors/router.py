"""From partitions to shards: one call per shard per wave, with deadlines and breakers."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from actors.state import Question, ShardState
from cluster.ids import Ids, owners_of, partitions_of


@dataclass(frozen=True)
class Reply:
    """One shard's answers, and how fresh the state was that gave them."""

    answers: list[Any]
    lag_ms: int
    """How far the shard was behind the log's acknowledged head."""
    active: dict[str, str]
    """The artifact versions it serves."""


@dataclass(frozen=True)
class Gathered:
    """What a wave brought: replies by shard, and why the others are missing."""

    replies: dict[int, Reply]
    missing: dict[int, str] = field(default_factory=dict)

    def answers(self, place: int) -> dict[int, Any]:
        """The answer at one place of each shard's question list."""
        return {
            shard: reply.answers[place]
            for shard, reply in self.replies.items()
            if place < len(reply.answers)
        }


Wave = Mapping[int, Sequence[Question]]


class Router(Protocol):
    """Knows where users live and asks their shards."""

    @property
    def n_shards(self) -> int:
        """How many shards there are."""

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        """Ask every shard of the wave at once; slow and dead ones are left out."""


def shards_of(user_ids: Ids, n_shards: int) -> npt.NDArray[np.int64]:
    """The shard in which each user, and so each author's post, lives."""
    return owners_of(partitions_of(user_ids), n_shards)


class LocalRouter:
    """Asks states in this process: for replays, tests and training."""

    def __init__(self, states: Sequence[ShardState]) -> None:
        self._states = states

    @property
    def n_shards(self) -> int:
        """How many shards there are."""
        return len(self._states)

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        """Ask one state after the other; nothing can be late."""
        replies = {}
        for shard, questions in wave.items():
            state = self._states[shard]
            replies[shard] = Reply(state.ask(questions), 0, state.active_versions())
        return Gathered(replies)


@dataclass
class Breaker:
    """Stops asking a shard that keeps failing, and tries it again after a while.

    Closed while calls succeed; open for `pause_s` after `threshold` failures in a row; then
    one call is let through, whose outcome closes it or opens it again.
    """

    threshold: int = 2
    pause_s: float = 0.5
    clock: Callable[[], float] = time.monotonic
    _failures: int = 0
    _open_until: float = 0.0

    def allows(self) -> bool:
        """Whether a call may be made now."""
        if self._failures < self.threshold:
            return True
        now = self.clock()
        if now < self._open_until:
            return False
        self._open_until = now + self.pause_s
        return True

    def succeeded(self) -> None:
        """Record a call that was answered."""
        self._failures = 0

    def failed(self) -> None:
        """Record a call that was not."""
        self._failures += 1
        self._open_until = self.clock() + self.pause_s
