import numpy as np

from actors.questions import AskContext
from actors.router import Breaker, Gathered, LocalRouter, Reply, shards_of
from cluster.events import Kind
from tests.worlds import NOW_MS, USERS, Clock, states_of


class Watch:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_every_user_lives_in_the_shard_that_says_so() -> None:
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, user, 9_999) for user in USERS]
    for n_shards in (1, 3, 4):
        states = states_of(events, n_shards)
        router = LocalRouter(states)
        homes = shards_of(np.array(USERS), n_shards)
        for user, home in zip(USERS, homes.tolist(), strict=True):
            wave = {shard: [AskContext(user, NOW_MS, 9, 9)] for shard in range(n_shards)}
            found = router.ask(wave, 1.0).answers(0)
            assert [s for s, c in found.items() if len(c.follows)] == [home]


def test_answers_by_place() -> None:
    gathered = Gathered({0: Reply(["a", "b"], 0, {}), 2: Reply(["c"], 0, {})}, {1: "dead"})
    assert gathered.answers(0) == {0: "a", 2: "c"}
    assert gathered.answers(1) == {0: "b"}


def test_a_breaker_opens_after_failures_and_tries_again() -> None:
    watch = Watch()
    breaker = Breaker(threshold=2, pause_s=0.5, clock=watch)
    breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert not breaker.allows()
    watch.now_s += 0.6
    # One call is let through; the others wait for what becomes of it.
    assert [breaker.allows() for _ in range(3)] == [True, False, False]
    breaker.failed()
    assert not breaker.allows()
    watch.now_s += 0.6
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows() for _ in range(3)] == [True] * 3


def test_one_success_closes_a_breaker_that_did_not_open() -> None:
    breaker = Breaker(threshold=2, clock=Watch())
    for _ in range(5):
        breaker.failed()
        breaker.succeeded()
    assert breaker.allows()
