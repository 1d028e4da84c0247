"""Cached posts: which are used, which gates they close, and what is kept of a request."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from actors.router import Gathered, LocalRouter, Wave
from actors.scored_posts import NOTHING_SCORED, ScoredPosts
from actors.signal_lists import unvalued
from actors.signal_types import SignalType
from actors.state import ShardState
from actors.tastes import Tastes
from actors.viewer_questions import AskScored, PutScored
from cluster.settings import load
from tests.timeline import small_worlds
from tests.timeline.candidate_rows import NOW_MS, VIEWER, query, rows
from tests.timeline.sources.finding import unanswered
from tests.worlds import Clock, states_of, timelines_of
from timeline.candidates import Candidates
from timeline.filters import chain_hashes
from timeline.query import Query
from timeline.retrieval import retrieve
from timeline.sources.cached import Cached, gate, known_scores, to_cache, usable
from timeline.sources.popular import Popular
from timeline.stages import Retrieve


class Noting(LocalRouter):
    """A router that keeps the kinds of all questions."""

    def __init__(self, states: Sequence[ShardState]) -> None:
        super().__init__(states)
        self.asked: set[type] = set()

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        self.asked.update(type(question) for asked in wave.values() for question in asked)
        return super().ask(wave, timeout_s)


MODEL, LIKED = "v1", SignalType.TWEET_FAVORITE_90D
NAMES = ("cached", "in_network", "lists", "popular_videos")


def asked(cached: ScoredPosts = NOTHING_SCORED, **context: Any) -> Query:
    return replace(query(**context), cached=cached)


def kept(*given: dict[str, Any], scores: list[float] | None = None) -> ScoredPosts:
    """What is cached of candidates made by hand, found by `in_network` unless told."""
    found = rows(*({"source": 1, "sources": 2} | post for post in given))
    said = np.array(scores or np.linspace(0.9, 0.1, len(given)), np.float32)
    return to_cache(found, found.post_ids, said, NAMES, MODEL, NOTHING_SCORED, NOW_MS)


def find(made: Query) -> Candidates:
    return unanswered(Cached(NAMES), made)


def test_a_request_is_kept_and_found_again() -> None:
    proofs = np.arange(10)
    cached = kept(
        {"post_ids": 5, "author_ids": 50, "signal_ids": 9, "signals": LIKED, "engines": 4},
        {"post_ids": 3, "author_ids": 30, "source": 2, "sources": 6, "proof_ids": proofs},
    )
    liked = unvalued(np.array([9]), np.array([77]), np.array([NOW_MS - 5]))
    tastes = Tastes(signals={LIKED: liked})
    made = replace(asked(cached, follows=[*range(1, 10), 50]), tastes=tastes)
    found = find(made)
    assert found.post_ids.tolist() == [5, 3]
    assert found.author_ids.tolist() == [50, 30]
    assert found.source.tolist() == [1, 2]
    assert found.sources.tolist() == [2, 6]
    assert (found.signal_ids.tolist(), found.signals.tolist()) == ([9, 0], [LIKED, -1])
    assert found.engines.tolist() == [4, 0]
    assert found.proof_ids[1].tolist() == proofs.tolist()
    assert found.scores.tolist() == pytest.approx([0.9, 0.1])
    # Facts and features are looked up again, so that every filter can do its work.
    assert found.created_ms.tolist() == [0, 0]
    # Nobody is named who was muted or is followed no more, nor a like taken back.
    muted = find(asked(cached, follows=range(1, 8), mutes=[4]))
    assert muted.proof_ids[1].tolist() == [0, 1, 2, 3, 0, 5, 6, 7, 0, 0]
    assert (muted.signal_ids.tolist(), muted.signals.tolist()) == ([0, 0], [-1, -1])
    hidden = find(replace(made, context=replace(made.viewer, blocked_by=np.array([77]))))
    assert hidden.signals.tolist()[0] == -1


def test_without_a_cache_nothing_is_found() -> None:
    assert len(find(query())) == 0
    assert len(find(asked(kept()))) == 0
    other = replace(kept({}), source_names=("cached", "lists"))
    assert len(find(asked(other))) == 0


def test_usable_is_what_the_viewer_may_still_be_shown() -> None:
    cached = kept(*({"source": 2, "author_ids": 50 + k} for k in range(6)))
    every = [100, 101, 102, 103, 104, 105]

    def left(**context: Any) -> list[int]:
        return [int(post) for post in usable(asked(**context), cached).post_ids]

    assert left() == every
    assert left(seen_ids=[101, 103]) == [100, 102, 104, 105]
    assert left(blocks=[50], blocked_by=[51], mutes=[52]) == [103, 104, 105]
    assert left(hidden_post_ids=[104]) == [100, 101, 102, 103, 105]
    mine = kept({"source": 2, "author_ids": VIEWER})
    assert len(usable(asked(), mine)) == 0
    # A fresh page may show again what was served and not seen, a second one may not.
    assert left(served_ids=[100]) == every
    paging = replace(asked(served_ids=[100]), chain=np.sort(chain_hashes(np.array([102, 105]))))
    assert usable(paging, cached).post_ids.tolist() == [101, 103, 104]
    assert usable(asked(), NOTHING_SCORED) is NOTHING_SCORED


def test_whom_the_viewer_follows_no_more_is_not_in_network() -> None:
    cached = kept({"author_ids": 50}, {"author_ids": 51}, {"author_ids": 51, "source": 2})
    assert usable(asked(follows=[50]), cached).post_ids.tolist() == [100, 102]


def test_the_gate_counts_posts_of_the_same_source() -> None:
    cached = kept(*({"source": 1} for _ in range(29)), *({"source": 2} for _ in range(30)))
    assert gate(cached, "in_network")
    assert not gate(cached, "lists")
    assert gate(cached, "lists", enough=31)
    assert gate(cached, "popular_videos")
    assert gate(cached, "of no product")
    assert gate(NOTHING_SCORED, "lists")


def test_scores_known_before() -> None:
    cached = kept({}, {}, scores=[0.5, 0.25])
    known, scores = known_scores(cached, np.array([101, 7, 100]), MODEL)
    assert known.tolist() == [True, False, True]
    assert scores.tolist() == [0.25, 0.0, 0.5]
    assert known_scores(NOTHING_SCORED, np.array([1]), MODEL)[0].tolist() == [False]
    # What another version said is nothing to this one.
    assert not known_scores(cached, np.array([101, 100]), "v2")[0].any()


def test_what_is_kept_is_as_old_as_its_score() -> None:
    before = replace(kept({}, {}), scored_ms=np.array([NOW_MS - 70, NOW_MS - 80]))
    found = rows({}, {"source": 1}, {"source": 2}, {"author_ids": 77, "source": 3})
    ids = np.array([103, 101, 102])
    said = np.array([0.5, 0.25, 0.0], np.float32)
    after = to_cache(found, ids, said, NAMES, MODEL, before, NOW_MS)
    # Nothing that the model gave no score; candidates that were not scored are not there.
    assert after.post_ids.tolist() == [103, 101]
    assert after.author_ids.tolist() == [77, 51]
    assert after.source.tolist() == [3, 1]
    assert after.scored_ms.tolist() == [NOW_MS, NOW_MS - 80]
    none = to_cache(rows(), ids[:0], said[:0], NAMES, MODEL, before, NOW_MS)
    assert (len(none), none.source_names) == (0, NAMES)


def test_from_one_request_to_the_next() -> None:
    """What a request's trace says is enough for the next one to find all that it scored."""
    states = states_of(small_worlds.small_world(Clock()), 2)
    viewer = small_worlds.VIEWER
    page = timelines_of(states).for_you(viewer, 2, now_ms=NOW_MS)
    names, trace = tuple(page.source_names), page.trace
    record = next(stage for stage in trace.stages if stage.name == "light_ranker")
    assert record.post_ids is not None
    assert record.values is not None
    scored = (record.post_ids, record.values)
    made = to_cache(trace.found, *scored, names, MODEL, NOTHING_SCORED, NOW_MS)
    for state in states:
        state.ask([PutScored(viewer, made, NOW_MS)])
        [told] = state.ask([AskScored(viewer, NOW_MS + 60_000)])
        found = unanswered(
            Cached(names), asked(told, follows=[small_worlds.FRIEND, small_worlds.OTHER])
        )
        assert sorted(found.post_ids.tolist()) == sorted(record.post_ids.tolist())
        known, scores = known_scores(told, record.post_ids, MODEL)
        assert known.all()
        assert scores.tolist() == record.values.tolist()
        # The post that a friend liked is still known to be so.
        assert found.proof_ids[found.post_ids == 300][0][0] == small_worlds.FRIEND


@pytest.mark.parametrize("off", [["cached"], []])
def test_without_the_source_of_cached_posts_no_gate_is_closed(off: list[str]) -> None:
    """A source not asked because enough of its posts are cached would otherwise be lost."""
    enough = kept(*({"source": 1} for _ in range(30)))
    cached = replace(enough, source_names=("cached", "popular"))
    stage = Retrieve("candidates", [Cached(cached.source_names), Popular()])
    states = states_of(small_worlds.small_world(Clock()), 2)
    asked_for = replace(
        asked(cached), settings=load(sources={"off": off}), router=LocalRouter(states)
    )
    _, found_by = retrieve(stage, asked_for)
    assert set(found_by) == ({"popular"} if off else {"cached"})


@pytest.mark.parametrize("sources", [{}, {"off": ["cached"]}, {"cached": {"ttl_ms": 0}}])
def test_what_is_not_to_be_cached_is_not_fetched(sources: dict[str, Any]) -> None:
    settings = load(sources=sources)
    states = states_of(small_worlds.small_world(Clock()), 2)
    router = Noting(states)
    timelines_of(states, settings, router).for_you(
        small_worlds.VIEWER, 2, now_ms=NOW_MS, recorded=True
    )
    assert (AskScored in router.asked) == settings.sources.caches == (not sources)
