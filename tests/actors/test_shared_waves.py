import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from actors.router import Gathered, Reply, Wave
from actors.shared_waves import SharedWaves

LONG_S = 20.0


class Gate:
    """A router whose shards answer with the questions themselves, once they are let."""

    n_shards = 2

    def __init__(self) -> None:
        self.waves: list[tuple[Wave, float]] = []
        self.open = threading.Event()
        self.dead: set[int] = set()

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        self.waves.append((wave, timeout_s))
        if not self.open.wait(min(timeout_s, LONG_S)):
            return Gathered({}, dict.fromkeys(wave, "late"))
        living = {shard: list(asked) for shard, asked in wave.items() if shard not in self.dead}
        replies = {shard: Reply(asked, shard, {"model": "v1"}) for shard, asked in living.items()}
        return Gathered(replies, {shard: "dead" for shard in wave if shard in self.dead})


@contextmanager
def asking(router: SharedWaves) -> Iterator[Any]:
    with ThreadPoolExecutor(16) as pool:
        yield lambda wave, timeout_s=LONG_S: pool.submit(router.ask, wave, timeout_s)


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def start_together(
    router: SharedWaves, gate: Gate, ask: Any, waves: list[dict[int, list[Any]]]
) -> list[Future[Gathered]]:
    """The first wave is on its way, the others wait, and all may then go on."""
    asked = [ask(waves[0])]
    wait_for(lambda: len(gate.waves) == 1)
    asked += [ask(wave) for wave in waves[1:]]
    wait_for(lambda: len(router._waiting) == len(waves) - 1)
    gate.open.set()
    return asked


def test_who_is_alone_asks_at_once() -> None:
    gate = Gate()
    gate.open.set()
    gathered = SharedWaves(gate).ask({0: ["a"], 1: ["b", "c"]}, 5.0)
    assert gathered.answers(0) == {0: "a", 1: "b"}
    assert len(gate.waves) == 1
    assert gate.waves[0][1] <= 5.0


def test_waves_that_wait_go_as_one_and_each_gets_its_own_answers() -> None:
    gate = Gate()
    router = SharedWaves(gate, in_flight=1, patience_s=LONG_S)
    waves = [{0: [f"a{i}"], 1: [f"b{i}", f"c{i}"]} if i % 2 else {1: [f"d{i}"]} for i in range(7)]
    with asking(router) as ask:
        asked = start_together(router, gate, ask, waves)
        for wave, future in zip(waves, asked, strict=True):
            gathered = future.result(LONG_S)
            assert {s: r.answers for s, r in gathered.replies.items()} == wave
            assert all(reply.active == {"model": "v1"} for reply in gathered.replies.values())
            assert gathered.missing == {}
    assert len(gate.waves) == 2


def test_a_dead_shard_is_missing_for_those_who_asked_it() -> None:
    gate = Gate()
    gate.dead = {1}
    router = SharedWaves(gate, in_flight=1, patience_s=LONG_S)
    with asking(router) as ask:
        asked = start_together(router, gate, ask, [{0: ["x"]}, {0: ["y"]}, {0: ["z"], 1: ["w"]}])
        found = [future.result(LONG_S) for future in asked]
    assert [gathered.missing for gathered in found] == [{}, {}, {1: "dead"}]
    assert [gathered.answers(0) for gathered in found] == [{0: "x"}, {0: "y"}, {0: "z"}]


def test_a_wave_that_hangs_holds_nobody_up_for_longer_than_the_patience() -> None:
    gate = Gate()
    router = SharedWaves(gate, in_flight=1, patience_s=0.01)
    with asking(router) as ask:
        first = ask({0: ["x"]})
        wait_for(lambda: len(gate.waves) == 1)
        second = ask({1: ["y"]})
        wait_for(lambda: len(gate.waves) == 2)
        gate.open.set()
        assert first.result(LONG_S).answers(0) == {0: "x"}
        assert second.result(LONG_S).answers(0) == {1: "y"}
    assert router._in_flight == 0


def test_who_is_in_a_hurry_does_not_shorten_the_time_of_others() -> None:
    gate = Gate()
    router = SharedWaves(gate, in_flight=1, patience_s=LONG_S)
    with asking(router) as ask:
        first = ask({0: ["x"]})
        wait_for(lambda: len(gate.waves) == 1)
        slow, hasty = ask({0: ["y"]}), ask({0: ["z"]}, 0.05)
        wait_for(lambda: len(gate.waves) == 2)
        # The hasty one set out by itself, and is answered late, not never.
        assert hasty.result(LONG_S).missing == {0: "late"}
        assert gate.waves[1][0] == {0: ["z"]}
        gate.open.set()
        assert first.result(LONG_S).answers(0) == {0: "x"}
        assert slow.result(LONG_S).answers(0) == {0: "y"}


def test_a_router_that_fails_lets_the_others_go() -> None:
    class Broken(Gate):
        def ask(self, wave: Wave, timeout_s: float) -> Gathered:
            super().ask(wave, timeout_s)
            raise RuntimeError("broken")

    gate = Broken()
    router = SharedWaves(gate, in_flight=1, patience_s=LONG_S)
    with asking(router) as ask:
        asked = start_together(router, gate, ask, [{0: ["x"]}, {0: ["y"]}, {0: ["z"]}])
        with pytest.raises(RuntimeError, match="broken"):
            asked[0].result(LONG_S)
        # One of the others carried both: it fails, and the other finds nothing.
        outcomes = [future.exception(LONG_S) for future in asked[1:]]
        assert sum(outcome is not None for outcome in outcomes) == 1
        nothing = next(f for f, e in zip(asked[1:], outcomes, strict=True) if e is None)
        assert set(nothing.result().missing) == {0}
    assert router._in_flight == 0


def test_many_threads_lose_and_mix_nothing() -> None:
    gate = Gate()
    gate.open.set()
    router = SharedWaves(gate, in_flight=2, patience_s=0.005)

    def ask(number: int) -> None:
        for turn in range(50):
            wave = {(number + turn) % 2: [(number, turn)], 2: [number]}
            gathered = router.ask(wave, LONG_S)
            assert {s: r.answers for s, r in gathered.replies.items()} == wave

    with ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(ask, number) for number in range(12)]:
            done.result(LONG_S)
    assert len(gate.waves) <= 600
    assert router._in_flight == 0
    assert router._waiting == []
