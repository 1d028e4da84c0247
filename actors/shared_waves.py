"""Waves that meet travel together: one call to a shard carries the questions of many requests."""

import threading
import time
from dataclasses import dataclass, field

from actors.router import Gathered, Reply, Router, Wave
from actors.state import Question

_GRACE_S = 0.1
"""How much longer than its own time a wave waits for the group that carries it."""


@dataclass(eq=False)
class _Rider:
    """One request's wave, waiting to be carried."""

    wave: Wave
    until_s: float
    group: "list[_Rider] | None" = None
    """Set where this rider is to carry the others."""
    gathered: Gathered | None = None
    woken: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.woken.acquire()

    def left_s(self) -> float:
        return max(self.until_s - time.monotonic(), 0.0)


class SharedWaves:
    """A router in front of another; thread-safe.

    A remote call costs a millisecond of CPU whatever it carries, so that under load most of
    a machine would go into calls. Here at most `in_flight` waves are on their way, and those
    that arrive meanwhile go as one with the next, as appends share an fsync. Who is alone
    never waits, and nobody waits for longer than `patience_s` before setting out anyhow, so a
    shard that hangs holds nobody up but those already on their way.
    """

    def __init__(self, router: Router, in_flight: int = 2, patience_s: float = 0.02) -> None:
        self._router = router
        self._limit = in_flight
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._waiting: list[_Rider] = []
        self._in_flight = 0

    @property
    def n_shards(self) -> int:
        """How many shards there are."""
        return self._router.n_shards

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        """Ask every shard of the wave at once; slow and dead ones are left out."""
        rider = _Rider(wave, time.monotonic() + timeout_s)
        with self._lock:
            if self._in_flight < self._limit:
                self._set_out(rider)
            else:
                self._waiting.append(rider)
        if rider.group is None:
            rider.woken.acquire(timeout=min(self._patience_s, timeout_s))
            with self._lock:
                if rider in self._waiting:
                    self._waiting.remove(rider)
                    self._set_out(rider)
        if rider.group is not None:
            self._carry(rider, rider.group)
        elif rider.gathered is None:
            rider.woken.acquire(timeout=rider.left_s() + _GRACE_S)
        return rider.gathered or _nothing(wave)

    def _set_out(self, rider: _Rider) -> None:
        """Have a rider carry whoever waits and has about as much time; holds the lock."""
        self._in_flight += 1
        left_s = rider.left_s()
        with_it = [r for r in self._waiting if left_s / 2 <= r.left_s() <= left_s * 2]
        self._waiting = [r for r in self._waiting if r not in with_it]
        rider.group = [rider, *with_it]

    def _carry(self, rider: _Rider, group: list[_Rider]) -> None:
        try:
            _ask_together(self._router, group)
        finally:
            with self._lock:
                self._in_flight -= 1
                if self._waiting and self._in_flight < self._limit:
                    following = self._waiting.pop(0)
                    self._set_out(following)
                    following.woken.release()
            for other in group:
                if other is not rider:
                    other.gathered = other.gathered or _nothing(other.wave)
                    other.woken.release()


def _nothing(wave: Wave) -> Gathered:
    return Gathered({}, dict.fromkeys(wave, "no answer in time"))


def _ask_together(router: Router, group: list[_Rider]) -> None:
    """Ask all questions of a group at once, within the time of whoever has the least."""
    if len(group) == 1:
        group[0].gathered = router.ask(group[0].wave, group[0].left_s())
        return
    together: dict[int, list[Question]] = {}
    places: list[dict[int, slice]] = []
    for rider in group:
        mine = {}
        for shard, questions in rider.wave.items():
            asked = together.setdefault(shard, [])
            mine[shard] = slice(len(asked), len(asked) + len(questions))
            asked.extend(questions)
        places.append(mine)
    gathered = router.ask(together, min(rider.left_s() for rider in group))
    for rider, mine in zip(group, places, strict=True):
        rider.gathered = Gathered(
            {
                shard: Reply(reply.answers[mine[shard]], reply.lag_ms, reply.active)
                for shard, reply in gathered.replies.items()
                if shard in mine
            },
            {shard: why for shard, why in gathered.missing.items() if shard in mine},
        )
