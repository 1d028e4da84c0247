from dataclasses import replace
from typing import Any

import numpy as np

from actors.questions import AskApplied, AskPosts
from actors.router import Gathered, Reply, Wave
from actors.state import Failed, Question
from actors.viewer_questions import AskCountry
from tests.timeline.candidate_rows import query
from timeline.findings import (
    Finding,
    Questions,
    Shared,
    _told,
    ask_together,
    in_time,
    together,
)


class Adder:
    """A router whose shards answer a question with its number; even shards fail at 13."""

    n_shards = 2

    def __init__(self) -> None:
        self.waves: list[dict[int, int]] = []

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        self.waves.append({shard: len(questions) - 1 for shard, questions in wave.items()})
        return Gathered(
            {
                shard: Reply([self._answer(shard, q) for q in questions], 0, {})
                for shard, questions in wave.items()
            }
        )

    def _answer(self, shard: int, question: Any) -> Any:
        if isinstance(question, AskApplied):
            return {}
        number = int(question.post_ids[0])
        return Failed("unlucky") if (shard, number) == (0, 13) else number + shard


def ask(*numbers: int, shards: tuple[int, ...] = (0, 1)) -> Questions:
    questions: list[Question] = [AskPosts(np.array([number]), "", 0) for number in numbers]
    return dict.fromkeys(shards, questions)


def once(*numbers: int) -> Finding[Any]:
    answers = yield ask(*numbers)
    return dict(answers)


def twice(first: int) -> Finding[Any]:
    answers = yield ask(first, shards=(0,))
    more = yield ask(answers[0][0] * 10, shards=(1,))
    return more[1][0]


def nothing() -> Finding[Any]:
    return "asked nobody"
    yield


def broken() -> Finding[Any]:
    yield ask(1)
    raise RuntimeError("out of order")


def run(**findings: Finding[Any]) -> tuple[dict[str, Any], Adder, list[str]]:
    router = Adder()
    asked = replace(query(), router=router)
    return ask_together(asked, findings, 0.5), router, asked.degraded


def test_findings_share_waves_and_get_their_own_answers() -> None:
    found, router, degraded = run(one=once(5, 6), two=twice(3), none=nothing())
    assert found == {"one": {0: [5, 6], 1: [6, 7]}, "two": 31, "none": "asked nobody"}
    assert list(found) == ["one", "two", "none"]
    assert router.waves == [{0: 3, 1: 2}, {1: 1}]
    assert degraded == []


def test_a_shared_finding_runs_once_in_the_waves_of_whoever_comes_first() -> None:
    shared = Shared(twice(3))
    findings = {name: shared.result() for name in ("leader", "follower")}
    found, router, degraded = run(other=once(5), **findings)
    assert found["leader"] == found["follower"] == 31
    assert router.waves == [{0: 2, 1: 1}, {1: 1}]
    assert degraded == []
    late, router, _ = run(late=shared.result())
    assert late == {"late": 31}
    assert router.waves == []


def test_a_shared_finding_that_fails_is_found_by_nobody() -> None:
    shared = Shared(broken())
    findings = {name: shared.result() for name in ("leader", "follower")}
    found, _, degraded = run(**findings, good=once(4))
    assert found == {"leader": None, "follower": None, "good": {0: [4], 1: [5]}}
    assert degraded == ["leader", "follower"]


def test_a_finding_asks_no_more_once_its_time_is_over() -> None:
    over, ample = (replace(query(), deadline_s=at_s) for at_s in (0.0, 1e9))
    found, router, degraded = run(late=in_time(over, twice(3)), early=in_time(ample, twice(3)))
    assert found == {"late": None, "early": 31}
    assert router.waves == [{0: 1}, {1: 1}]
    assert degraded == []


def test_what_fails_costs_itself_only() -> None:
    found, _, degraded = run(bad=broken(), unlucky=once(13), good=once(4))
    assert found == {"bad": None, "unlucky": {1: [14]}, "good": {0: [4], 1: [5]}}
    assert sorted(degraded) == ["bad", "unlucky"]


def test_findings_made_of_findings_share_the_same_waves() -> None:
    asked = replace(query(), router=Adder())

    def both() -> Finding[Any]:
        inner = yield from together(asked, {"a": twice(1), "b": once(13), "c": once(2)})
        last = yield ask(inner["a"], shards=(1,))
        return inner, last[1][0]

    found = ask_together(asked, {"mixer": both(), "other": twice(2)}, 0.5)
    inner = {"a": 11, "b": {1: [14]}, "c": {0: [2], 1: [3]}}
    assert found == {"mixer": (inner, 12), "other": 21}
    assert asked.router.waves == [{0: 4, 1: 2}, {1: 2}, {1: 1}]  # type: ignore[attr-defined]
    # The failure is the inner finding's: the mixer lost nothing else by it.
    assert asked.degraded == ["b"]


def test_what_was_told_before_takes_no_wave() -> None:
    asked = replace(query(), router=Adder())
    home = asked.viewer_shard
    country = AskCountry(1)
    asked.told[AskCountry] = (country, "de")

    def told(question: Question) -> Finding[Any]:
        answers = yield {home: [question]}
        more = yield ask(7, shards=(1,))
        return answers[home], more[1]

    found = ask_together(asked, {"told": told(AskCountry(1))}, 0.5)
    assert found == {"told": (["de"], [8])}
    assert asked.router.waves == [{1: 1}]  # type: ignore[attr-defined]
    # Another question of the kind is no such question, nor is the same one beside it.
    asked.told[AskPosts] = (AskPosts(np.array([1]), "", 0), "never")
    assert _told(asked, {home: [AskCountry(2)]}) is None
    assert _told(asked, {home: [country, AskCountry(2)]}) is None
    assert _told(asked, {1 - home: [country]}) is None
    assert _told(asked, {}) is None
