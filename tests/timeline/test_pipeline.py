from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from actors.questions import AskApplied, AskPosts
from actors.router import Gathered, Reply, Wave
from actors.state import Failed
from tests.timeline.candidate_rows import query, rows
from timeline.candidates import NONE, Candidates, best_of, concatenate, first_copies
from timeline.findings import Finding
from timeline.pipeline import (
    Extend,
    Filter,
    FoundBy,
    Pipeline,
    Prepare,
    Rescore,
    Retrieve,
    Score,
    Select,
    Trace,
)
from timeline.query import Query

POSTS = rows(*({"post_ids": 10 + k} for k in range(6)))


class Fixed:
    """A source that asks each shard its own number of questions and finds given posts."""

    gated = True

    def __init__(self, name: str, found: Candidates, questions: int = 1) -> None:
        self.name = name
        self._found = replace(found, source=np.full(len(found), -1, np.int8))
        self._questions = questions
        self.given: Mapping[int, Sequence[Any]] = {}

    def find(self, query: Query) -> Finding[Candidates]:
        asked = [AskPosts(np.array([k]), self.name, 0) for k in range(self._questions)]
        self.given = yield {0: asked, 1: asked}
        return self._found


class Broken(Fixed):
    def find(self, query: Query) -> Finding[Candidates]:
        yield {}
        raise RuntimeError("out of order")


class Echo:
    """A router whose shards answer a question with its words; some fail, some are missing."""

    n_shards = 2

    def __init__(self, failing: tuple[int, str] = (-1, ""), missing: int = -1) -> None:
        self._failing = failing
        self._missing = missing
        self.waves = 0

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        self.waves += 1
        replies = {}
        for shard, questions in wave.items():
            if shard == self._missing:
                continue
            *questions, applied = questions
            assert applied == AskApplied()
            said: list[Any] = [(shard, q.language, int(q.post_ids[0])) for q in questions]  # type: ignore[attr-defined]
            broken = [(shard, q.language) == self._failing for q in questions]  # type: ignore[attr-defined]
            said = [Failed("no") if b else s for b, s in zip(broken, said, strict=True)]
            replies[shard] = Reply([*said, {}], 0, {})
        return Gathered(replies)


def run(*stages: Any, router: Any = None) -> tuple[Candidates, Trace, Query]:
    asked = replace(query(), router=router or Echo())
    found, trace = Pipeline("test", stages).run(asked)
    return found, trace, asked


def test_stages_run_in_order_and_what_they_did_is_recorded() -> None:
    found, trace, _ = run(
        Prepare("viewer", lambda _: True),
        Retrieve("candidates", [Fixed("one", POSTS.take(np.arange(4))), Fixed("two", POSTS)]),
        Extend("facts", lambda _, c: replace(c, created_ms=c.created_ms + 1)),
        Filter("odd", lambda _, c: c.post_ids % 2 == 0),
        Filter("all", lambda _, c: np.ones(len(c), bool)),
        Score("score", lambda _, c: c.post_ids.astype(np.float32)),
        Rescore("half", lambda _, c: np.where(c.post_ids == 12, 0.5, 1).astype(np.float32)),
        Select("best", lambda _, c: np.argsort(-c.scores)[:2]),
    )
    assert found.post_ids.tolist() == [14, 10]
    assert found.scores.tolist() == [14, 10]
    assert trace.funnel() == [
        *(("candidates", 0, 6), ("facts", 6, 6), ("odd", 6, 3), ("all", 3, 3)),
        *(("score", 3, 3), ("half", 3, 3), ("best", 3, 2)),
    ]
    assert trace.sources == {"one": FoundBy(4, 0), "two": FoundBy(6, 2)}
    assert trace.found.post_ids.tolist() == [10, 11, 12, 13, 14, 15]
    stages = {stage.name: stage for stage in trace.stages}
    assert stages["odd"].dropped is not None
    assert stages["odd"].dropped.tolist() == [11, 13, 15]
    assert stages["all"].dropped is None
    assert plain(stages["score"].post_ids) == plain(stages["score"].values) == [10, 12, 14]
    assert (plain(stages["half"].post_ids), plain(stages["half"].values)) == ([12], [0.5])
    assert plain(stages["best"].dropped) == [12]
    assert set(trace.timings_ms()) == {"viewer", *stages}


def plain(values: Any) -> Any:
    return values.tolist()


def test_every_post_that_was_found_is_shown_or_was_dropped_by_one_stage() -> None:
    found, trace, _ = run(
        Retrieve("candidates", [Fixed("one", POSTS)]),
        Extend("facts", lambda _, c: c),
        Filter("first", lambda _, c: c.post_ids != 11),
        Filter("second", lambda _, c: c.post_ids != 13),
        Select("page", lambda _, c: np.array([2, 0])),
    )
    dropped = [post for s in trace.stages if s.dropped is not None for post in s.dropped.tolist()]
    assert sorted([*dropped, *found.post_ids.tolist()]) == trace.found.post_ids.tolist()


def test_a_stage_may_end_the_request() -> None:
    found, trace, _ = run(
        Prepare("viewer", lambda _: False), Retrieve("candidates", [Fixed("one", POSTS)])
    )
    assert len(found) == 0
    assert [stage.name for stage in trace.stages] == ["viewer"]


def test_all_sources_ask_in_one_wave_and_get_their_own_answers() -> None:
    one, two = Fixed("one", POSTS, questions=2), Fixed("two", POSTS)
    router = Echo()
    run(Retrieve("candidates", [one, two]), router=router)
    assert router.waves == 1
    assert one.given == {s: [(s, "one", 0), (s, "one", 1)] for s in (0, 1)}
    assert two.given == {s: [(s, "two", 0)] for s in (0, 1)}


def test_a_source_that_fails_costs_its_candidates_only() -> None:
    found, trace, asked = run(Retrieve("candidates", [Broken("bad", POSTS), Fixed("good", POSTS)]))
    assert len(found) == 6
    assert trace.sources == {"bad": FoundBy(0, 0), "good": FoundBy(6, 6)}
    assert asked.degraded == ["bad"]


def test_a_shard_that_could_not_answer_is_left_out_of_that_source() -> None:
    one, two = Fixed("one", POSTS), Fixed("two", POSTS)
    _, _, asked = run(Retrieve("candidates", [one, two]), router=Echo(failing=(1, "two")))
    assert set(one.given) == {0, 1}
    assert set(two.given) == {0}
    assert asked.degraded == ["two"]


def test_a_missing_shard_is_named() -> None:
    one = Fixed("one", POSTS)
    found, _, asked = run(Retrieve("candidates", [one]), router=Echo(missing=1))
    assert set(one.given) == {0}
    assert asked.degraded == ["shard_1"]
    assert len(found) == 6


def test_copies_of_a_post_become_one() -> None:
    parts = [
        rows({"post_ids": 5, "sources": 1, "scores": 3}, {"post_ids": 6, "sources": 1}),
        rows(*({"post_ids": post, "sources": 2, "source": 1} for post in (7, 5))),
    ]
    merged = first_copies(concatenate(parts))
    assert merged.post_ids.tolist() == [5, 6, 7]
    assert merged.sources.tolist() == [3, 1, 2]
    assert merged.source.tolist() == [0, 0, 1]
    assert merged.scores.tolist() == [3, 0, 0]
    assert len(first_copies(NONE)) == 0
    assert len(best_of([], 5)) == 0
