"""Explanations: what a hand-made trace says of each of its posts."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.binned import BinnedModel, LightRanker
from actors.features.light import FEATURES
from actors.graph import PUBLIC_CODES
from actors.signal_types import SignalType
from cluster.events import Kind
from cluster.settings import Settings
from timeline.candidates import NONE, Candidates, concatenate
from timeline.explain import UnreadableTrace, half_precision, pack_trace, stage_kinds, why
from timeline.pages import Page
from timeline.pipeline import (
    Extend,
    Filter,
    Gate,
    Pipeline,
    Prepare,
    Refine,
    Rescore,
    Score,
    Select,
    Trace,
)
from timeline.pipeline import StageTrace as Did

KINDS = {
    "viewer_context": "prepare",
    "candidates": "retrieve",
    "hydration": "extend",
    "window": "filter",
    "seen": "filter",
    "light_ranker": "score",
    "author_diversity": "rescore",
    "page": "select",
}
SHOWN_FIRST, SHOWN_SECOND, TOO_OLD, SEEN, NOT_ON_THE_PAGE = 50, 40, 30, 20, 10


def five_posts() -> Candidates:
    n = 5
    columns = {k: np.zeros((n, *v.shape[1:]), v.dtype) for k, v in vars(NONE).items()}
    columns["post_ids"] = np.array([SHOWN_SECOND, TOO_OLD, SHOWN_FIRST, SEEN, NOT_ON_THE_PAGE])
    columns["author_ids"] = columns["post_ids"] + 1
    columns["sources"] = np.array([1, 2, 3, 1, 1], np.uint32)
    columns["features"][:, FEATURES.index("age_hours")] = [1, 30, 2, 3, 4]
    columns["source"] = np.array([0, 1, 0, 0, 0], np.int8)
    columns["signals"] = np.full(n, -1, np.int16)
    columns["signals"][0] = int(SignalType.TWEET_FAVORITE_90D)
    columns["signal_ids"][0] = 77
    columns["engines"][0] = 0b101
    columns["proof_ids"][2, :2] = [7, 8]
    columns["proof_kinds"][2, :2] = [PUBLIC_CODES[Kind.FAVOURITE], PUBLIC_CODES[Kind.REPOST]]
    return Candidates(**columns)


def a_page() -> Page:
    found = five_posts()
    ids = np.array
    ranked = ids([SHOWN_SECOND, SHOWN_FIRST, NOT_ON_THE_PAGE])
    stages = [
        Did("viewer_context", 1.0, 0, 0),
        Did("candidates", 2.0, 0, 5),
        Did("hydration", 0.5, 5, 5),
        Did("window", 0.1, 5, 4, dropped=ids([TOO_OLD])),
        replace(
            Did("seen", 0.1, 4, 3, dropped=ids([SEEN])),
            judged_ids=ids([SEEN, SHOWN_FIRST]),
            reasons=ids([1, 0], np.int16),
            reason_names=("twice", "long_ago"),
        ),
        Did("light_ranker", 0.1, 3, 3, None, ranked, np.array([0.5, 0.75, 0.25], np.float32)),
        Did("author_diversity", 0.1, 3, 3, None, ids([SHOWN_SECOND]), np.array([0.625], "f4")),
        Did("page", 0.1, 3, 2, dropped=ids([NOT_ON_THE_PAGE]), ordered=ids([50, 40])),
    ]
    return Page(
        product="for_you",
        viewer_id=2**62,
        request_id="r",
        now_ms=123,
        items=[],
        cursor=None,
        reason=None,
        degraded=["shard_1"],
        timings_ms={},
        shown=found.take(np.array([2, 0])),
        trace=Trace(stages, found),
        source_names=["in_network", "popular"],
        settings=Settings(),
        model_version="v1",
    )


def a_model(version: str = "v1") -> LightRanker:
    """Two bins a feature; only age and favourites weigh anything, and more where followed."""
    edges = np.full((len(FEATURES), 1), 1.5, np.float32)
    weights = np.zeros((len(FEATURES), 2), np.float32)
    weights[FEATURES.index("age_hours")] = [1.0, -2.0]
    weights[FEATURES.index("favourites")] = [0.5, 3.0]
    strangers = BinnedModel(FEATURES, edges, weights, -1.0, version)
    return LightRanker(BinnedModel(FEATURES, edges, 2 * weights, -3.0, version), strangers)


def explained(post_id: int) -> dict:  # type: ignore[type-arg]
    return why(pack_trace(a_page(), KINDS), post_id, a_model)


def test_a_shown_post() -> None:
    told = explained(SHOWN_FIRST)
    assert told["found"]
    assert told["verdict"] == "shown"
    assert told["position"] == 0
    assert told["post_id"] == str(SHOWN_FIRST)
    assert told["author_id"] == str(SHOWN_FIRST + 1)
    assert told["user_id"] == str(2**62)
    assert told["found_by"] == ["in_network", "popular"]
    assert told["dropped_by"] is None
    assert told["degraded"] == ["shard_1"]
    assert told["filters"] == [
        {"name": "window", "passed": True},
        {"name": "seen", "passed": True, "rule": "twice"},
        {"name": "page", "passed": True},
    ]
    assert told["path"] == {"source": "in_network", "engines": []}
    assert told["ranks"] == [
        {"stage": "light_ranker", "before": None, "after": 0},
        {"stage": "author_diversity", "before": 0, "after": 0},
        {"stage": "page", "before": 0, "after": 0},
    ]
    assert told["proofs"] == [
        {"user_id": "7", "kind": "favourite"},
        {"user_id": "8", "kind": "repost"},
    ]
    assert told["features"]["age_hours"] == 2.0
    assert told["score"] == {
        "light_ranker": 0.75,
        "bias": -1.0,
        "logit": -2.5,
        "contributions": [
            {"feature": "favourites", "value": 0.0, "adds": 0.5},
            {"feature": "age_hours", "value": 2.0, "adds": -2.0},
        ],
        "others": 0.0,
        "factors": {"author_diversity": 1.0},
        "final": 0.75,
    }


def test_a_rescored_post() -> None:
    told = explained(SHOWN_SECOND)
    assert told["position"] == 1
    assert told["found_by"] == ["in_network"]
    assert told["score"]["factors"] == {"author_diversity": 0.625}
    assert told["score"]["final"] == 0.3125
    assert [(one["before"], one["after"]) for one in told["ranks"]] == [(None, 1), (1, 1), (1, 1)]
    assert told["path"] == {
        "source": "in_network",
        "engines": ["simclusters_ann", "user_tweet_graph"],
        "signal": "tweet_favorite_90d",
        "signal_id": "77",
    }


@pytest.mark.parametrize(
    ("post_id", "stage", "passed", "rule"),
    [
        (TOO_OLD, "window", [], {}),
        (SEEN, "seen", ["window"], {"rule": "long_ago"}),
        (NOT_ON_THE_PAGE, "page", ["window", "seen"], {}),
    ],
)
def test_a_dropped_post(post_id: int, stage: str, passed: list[str], rule: dict[str, str]) -> None:
    told = explained(post_id)
    assert told["verdict"] == "dropped"
    assert told["dropped_by"] == stage
    assert told["position"] is None
    assert [f["name"] for f in told["filters"] if f["passed"]] == passed
    assert told["filters"][-1] == {"name": stage, "passed": False} | rule
    assert (told["score"] is None) == (stage != "page")


def test_a_post_that_nobody_found() -> None:
    told = explained(99)
    assert told["found"] is False
    assert told["verdict"] == "not_a_candidate"
    assert "in_network, popular" in told["detail"]
    assert [stage["out"] for stage in told["stages"]] == [0, 5, 5, 4, 3, 3, 3, 2]


def test_an_empty_page() -> None:
    page = replace(a_page(), shown=NONE, trace=Trace([Did("viewer_context", 1.0, 0, 0)]))
    told = why(pack_trace(page, KINDS), 50, a_model)
    assert told["verdict"] == "not_a_candidate"


def test_a_model_that_is_gone_costs_only_the_contributions() -> None:
    def gone(version: str) -> LightRanker:
        raise LookupError(version)

    told = why(pack_trace(a_page(), KINDS), SHOWN_FIRST, gone)
    assert told["score"] == {
        "light_ranker": 0.75,
        "factors": {"author_diversity": 1.0},
        "final": 0.75,
    }


def test_a_damaged_trace_is_refused() -> None:
    trace = pack_trace(a_page(), KINDS)
    for bad in (b"", trace[:20], b"\x09" + trace[1:], trace[:9] + b"no trace at all"):
        with pytest.raises(UnreadableTrace):
            why(bad, 1, a_model)


def test_what_stages_did_not_do_is_said() -> None:
    stages = a_page().trace.stages
    stages[4] = Did("seen", 0.0, 4, 4, skipped="first_page is closed")
    stages[5] = replace(stages[5], failed="KeyError", late=True)
    page = replace(a_page(), trace=Trace(stages, five_posts()))
    told = why(pack_trace(page, KINDS), SHOWN_FIRST, a_model)
    assert [one["name"] for one in told["filters"]] == ["window", "page"]
    assert told["stages"][4] == {
        **{"name": "seen", "kind": "filter", "ms": 0.0, "in": 4, "out": 4},
        "skipped": "first_page is closed",
    }
    assert (told["stages"][5]["failed"], told["stages"][5]["late"]) == ("KeyError", True)
    assert set(told["stages"][0]) == {"name", "kind", "ms", "in", "out"}


def test_kinds_of_stages() -> None:
    late = Filter("h", lambda q, c: np.ones(len(c), bool))
    stages = [
        Prepare("a", lambda q: True),
        Extend("b", lambda q, c: c),
        Filter("c", lambda q, c: np.ones(len(c), bool)),
        Score("d", lambda q, c: c.scores),
        Rescore("e", lambda q, c: c.scores),
        Select("f", lambda q, c: np.arange(len(c))),
        Refine("g", lambda q, c: c, [late], lambda q, c: True, lambda q: 9),
        Gate("i", lambda q: True, over=()),
    ]
    assert stage_kinds(Pipeline("p", stages)) == {
        "a": "prepare",
        "b": "extend",
        "c": "filter",
        "d": "score",
        "e": "rescore",
        "f": "select",
        "g": "refine",
        "h": "filter",
        "i": "gate",
    }


def test_a_large_trace_is_small() -> None:
    found = concatenate([five_posts()] * 300)
    posts = np.arange(1, len(found) + 1)
    page = replace(a_page(), trace=Trace(a_page().trace.stages, replace(found, post_ids=posts)))
    assert len(pack_trace(page, KINDS)) < 64 * 1024


@given(st.lists(st.floats(width=32), max_size=20))
def test_half_precision_is_finite_and_close(values: list[float]) -> None:
    kept = half_precision(np.array(values, np.float32))
    assert np.isfinite(kept).all()
    for value, half in zip(values, kept.tolist(), strict=True):
        if abs(value) <= 65_504:
            assert half == pytest.approx(value, rel=1e-3, abs=1e-7)
