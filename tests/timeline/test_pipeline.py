import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.questions import AskApplied, AskPosts
from actors.router import Gathered, Reply, Wave
from actors.state import Failed
from cluster.settings import load
from tests.timeline.candidate_rows import query, rows
from timeline.candidates import NONE, Candidates, best_of, concatenate, first_copies
from timeline.findings import Finding
from timeline.pipeline import (
    Extend,
    Filter,
    FoundBy,
    Gate,
    Judged,
    Misbuilt,
    Pipeline,
    Prepare,
    Refine,
    Rescore,
    Retrieve,
    Score,
    Select,
    StageTrace,
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


# Several factors


def floats(*values: float) -> Any:
    return np.array(values, np.float32)


FOUND = Retrieve("candidates", [Fixed("one", POSTS)])
FIRST = Select("first", lambda _, c: np.arange(3))
BY_ID = Score("score", lambda _, c: c.post_ids.astype(np.float32))


def test_several_factors_are_traced_one_by_one() -> None:
    found, trace, _ = run(
        FOUND,
        FIRST,
        BY_ID,
        Rescore("heuristics", lambda _, c: [("half", floats(0.5, 1, 1)), ("odd", floats(2, 3, 1))]),
    )
    assert found.scores.tolist() == [10, 33, 12]
    did = trace.stages[-1]
    assert (plain(did.post_ids), plain(did.values)) == ([10, 11], [1, 3])
    assert {k: plain(v) for k, v in did.factors.items()} == {"half": [0.5, 1], "odd": [2, 3]}


@pytest.mark.parametrize(
    "said",
    [
        [("a", floats(1, 1, 1)), ("a", floats(1, 1, 1))],
        [("a", floats(1, 1))],
        floats(1, 1, 1, 1),
    ],
)
def test_factors_that_do_not_fit_are_refused(said: Any) -> None:
    with pytest.raises(ValueError, match=r"stage|heuristics"):
        run(FOUND, FIRST, BY_ID, Rescore("heuristics", lambda _, c: said))
    found, trace, asked = run(
        FOUND, FIRST, BY_ID, Rescore("heuristics", lambda _, c: said, optional=True)
    )
    assert found.scores.tolist() == [10, 11, 12]
    assert asked.degraded == ["heuristics"]
    assert trace.stages[-1].failed == "ValueError"
    assert trace.stages[-1].values is None


# What failures cost


def fails(*_: Any) -> Any:
    raise ZeroDivisionError


FAILING = [
    Gate("it", fails, over=("last",)),
    Prepare("it", fails),
    Extend("it", fails),
    Filter("it", fails),
    Score("it", fails),
    Rescore("it", fails),
    Select("it", fails),
    Refine("it", fails, [], lambda q, c: True, lambda q: 5),
]
LAST = Filter("last", lambda _, c: c.post_ids != 15)


@pytest.mark.parametrize("stage", FAILING, ids=lambda stage: type(stage).__name__)
def test_a_failing_stage_is_raised_unless_it_is_optional(stage: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        run(FOUND, stage, LAST)
    found, trace, asked = run(FOUND, replace(stage, optional=True), LAST)
    assert found.post_ids.tolist() == [10, 11, 12, 13, 14]
    assert asked.degraded == ["it"]
    assert [(s.name, s.failed) for s in trace.stages] == [
        *(("candidates", ""), ("it", "ZeroDivisionError"), ("last", "")),
    ]
    assert trace.stages[1].n_in == trace.stages[1].n_out == 6


@pytest.mark.parametrize(
    "said", [np.ones(5, bool), np.ones(6, np.int8), Judged(np.ones(6, bool), np.zeros(5, int), ())]
)
def test_a_filter_that_says_nonsense_fails(said: Any) -> None:
    with pytest.raises(ValueError, match="odd said"):
        run(FOUND, Filter("odd", lambda q, c: said))


def test_a_failing_filter_of_safety_lets_nothing_through() -> None:
    found, trace, asked = run(FOUND, Filter("visibility", fails, safety=True), LAST, BY_ID)
    assert len(found) == 0
    assert asked.degraded == ["visibility"]
    did = trace.stages[1]
    assert (did.failed, plain(did.dropped)) == ("ZeroDivisionError", list(range(10, 16)))
    assert trace.found.post_ids.tolist() == list(range(10, 16))


def test_reasons_of_a_filter_are_kept_also_of_what_stays() -> None:
    def judge(query: Query, candidates: Candidates) -> Judged:
        rules = np.array([-1, 0, 1, -1, 1, -1])
        return Judged(candidates.post_ids != 11, rules, ("gore", "spam"))

    _, trace, _ = run(FOUND, Filter("visibility", judge))
    did = trace.stages[-1]
    assert (plain(did.judged_ids), plain(did.reasons)) == ([11, 12, 14], [0, 1, 1])
    assert did.reason_names == ("gore", "spam")
    assert plain(did.dropped) == [11]


# Gates, needs, budgets


@pytest.mark.parametrize("is_open", [True, False])
def test_a_closed_gate_skips_what_it_is_over(is_open: bool) -> None:
    odd = Filter("odd", lambda _, c: c.post_ids % 2 == 0)
    found, trace, asked = run(FOUND, Gate("on", lambda q: is_open, over=("odd",)), odd, LAST)
    assert found.post_ids.tolist() == ([10, 12, 14] if is_open else [10, 11, 12, 13, 14])
    assert asked.degraded == []
    assert trace.stages[2].skipped == ("" if is_open else "on is closed")


def test_what_lacks_what_it_needs_is_skipped() -> None:
    stages = [
        Prepare("learn", fails, gives=("state",), optional=True),
        FOUND,
        Filter("odd", lambda _, c: c.post_ids % 2 == 0, needs=("state",), optional=True),
    ]
    found, trace, asked = run(*stages)
    assert len(found) == 6
    assert trace.stages[-1].skipped == "there is no state"
    assert asked.degraded == ["learn", "odd"]
    stages[0] = replace(stages[0], run=lambda q: True)
    found, trace, asked = run(*stages)
    assert found.post_ids.tolist() == [10, 12, 14]
    assert asked.degraded == []


def test_a_stage_sees_no_later_deadline_than_its_budget() -> None:
    seen: list[float] = []

    def look(query: Query) -> bool:
        seen.append(query.left_s())
        return True

    stages = [Prepare("short", look, budget_ms=50.0), Prepare("long", look)]
    asked = replace(query(), deadline_s=time.monotonic() + 100)
    Pipeline("test", stages).run(asked)
    assert seen[0] <= 0.05
    assert 90 < seen[1] <= 100
    # A request without a deadline is not to depend on how fast a machine is.
    Pipeline("test", stages).run(query())
    assert seen[2] > 1e6


def test_a_stage_that_takes_too_long_is_late() -> None:
    _, trace, _ = run(Prepare("slow", lambda _: True, budget_ms=0.0), Prepare("p", lambda _: True))
    assert [stage.late for stage in trace.stages] == [True, False]


def test_optional_stages_do_not_begin_without_time() -> None:
    odd = Filter("odd", lambda _, c: c.post_ids % 2 == 0, optional=True)
    asked = replace(query(), router=Echo(), deadline_s=time.monotonic() - 1)
    found, trace = Pipeline("test", [FOUND, odd, LAST]).run(asked)
    assert found.post_ids.tolist() == [10, 11, 12, 13, 14]
    assert trace.stages[1].skipped == "no time was left"
    assert asked.degraded == ["odd"]


# Sources that are off, and what was found


def test_a_source_that_is_off_is_not_asked_and_keeps_its_number() -> None:
    sources = [Fixed("lists", POSTS.take(np.arange(2))), Fixed("popular", POSTS)]
    product = Pipeline("test", [Retrieve("candidates", sources), LAST])

    def without(*off: str) -> Query:
        return replace(query(), router=Echo(), settings=load(sources={"off": off}))

    found, trace = product.run(without("lists"))
    assert set(trace.sources) == {"popular"}
    assert set(found.sources.tolist()) == {2}
    found, _ = product.run(without("lists", "popular"))
    assert len(found) == 0
    assert set(product.run(without())[1].sources) == {"lists", "popular"}


def test_completing_late_leaves_what_was_found() -> None:
    found, trace, _ = run(
        FOUND,
        Extend("early", lambda _, c: replace(c, created_ms=c.created_ms * 0 + 1)),
        LAST,
        Extend("late", lambda _, c: c.take(np.arange(2))),
    )
    assert found.post_ids.tolist() == [10, 11]
    assert trace.found.post_ids.tolist() == list(range(10, 16))
    assert set(trace.found.created_ms.tolist()) == {1}
    assert plain(trace.stages[-1].dropped) == [12, 13, 14]


# Products that do not fit together


def nothing(name: str, **declared: Any) -> Any:
    return Prepare(name, lambda _: True, **declared)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([nothing("a"), nothing("a")], "'a' has the name of an earlier one"),
        (
            [LAST, Refine("r", lambda q, c: c, [LAST], lambda q, c: True, lambda q: 5)],
            "'last' has the name of an earlier one",
        ),
        ([nothing("a", needs=("x",))], "'a' needs 'x', which no earlier stage gives"),
        ([nothing("a", needs=("x",)), nothing("b", gives=("x",))], "no earlier stage gives"),
        (
            [nothing("a", gives=("x",), optional=True), nothing("b", needs=("x",))],
            "'b' needs 'x', but 'a', which gives it, may not run",
        ),
        (
            [
                Gate("g", lambda q: True, over=("a",)),
                nothing("a", gives=("x",)),
                nothing("b", needs=("x",)),
            ],
            "'b' needs 'x', but 'a', which gives it, may not run",
        ),
        ([Gate("g", lambda q: True, over=("a",))], "'g' is over 'a', which is no later stage"),
        (
            [Filter("f", fails, safety=True, optional=True)],
            "'f' may not be optional: 'f' is a filter of safety",
        ),
        (
            [
                Refine(
                    "r",
                    lambda q, c: c,
                    [Filter("f", fails, safety=True)],
                    lambda q, c: True,
                    lambda q: 5,
                    optional=True,
                )
            ],
            "'r' may not be optional: 'f' is a filter of safety",
        ),
    ],
)
def test_misbuilt_products_are_refused(stages: list[Any], message: str) -> None:
    with pytest.raises(Misbuilt, match=f"^test: stage .*{message}"):
        Pipeline("test", stages)


def test_what_may_be_needed() -> None:
    Pipeline("test", [nothing("a", needs=("now",))], given={"now"})
    Pipeline("test", [nothing("a", gives=("x",)), nothing("b", needs=("x",))])
    # Both are skipped by the same gate.
    gate = Gate("g", lambda q: False, over=("a", "b"))
    under = [nothing("a", gives=("x",)), nothing("b", needs=("x",))]
    _, trace = Pipeline("test", [gate, *under]).run(query())
    assert [stage.skipped for stage in trace.stages] == ["", "g is closed", "g is closed"]
    # Of two that give it, one is sure to run.
    gives = [nothing("a", gives=("x",), optional=True), nothing("b", gives=("x",))]
    Pipeline("test", [*gives, nothing("c", needs=("x",))])


def test_steps_are_named_as_traces_name_them() -> None:
    refine = Refine("best", lambda q, c: c, [LAST], lambda q, c: True, lambda q: 5)
    product = Pipeline("test", [FOUND, refine, BY_ID])
    _, trace = product.run(replace(query(), router=Echo()))
    names = [stage.name for stage in product.steps]
    assert names == ["candidates", "best", "last", "score"] == [s.name for s in trace.stages]
    assert isinstance(trace.stages[0], StageTrace)
