"""The cache of scored posts: what it keeps, for how long, and how much of it."""

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.scored_posts import NOTHING_SCORED, ScoredCache, ScoredPosts
from actors.viewer_questions import AskScored, PutScored
from cluster.source_settings import CachedPostsSettings
from tests.worlds import empty_states

NAMES = ("cached", "in_network", "lists")
VIEWER = 7


def posts(
    *given: tuple[int, float, int], names: tuple[str, ...] = NAMES, model: str = "v1"
) -> ScoredPosts:
    """Each is (post, score, when)."""
    n = len(given)
    ids, scores, times = (np.array(column) for column in zip(*given, strict=True))
    return ScoredPosts(
        *(names, model, ids.astype(np.int64), ids + 1_000, np.ones(n, np.int8)),
        *(scores.astype(np.float32), times.astype(np.int64)),
        {"signal_ids": ids * 2},
    )


def held(cache: ScoredCache, now_ms: int, viewer: int = VIEWER) -> dict[int, tuple[float, int]]:
    found = cache.get(viewer, now_ms)
    assert found.evidence.get("signal_ids", np.empty(0)).tolist() == (2 * found.post_ids).tolist()
    assert found.author_ids.tolist() == (found.post_ids + 1_000).tolist()
    values = zip(found.scores.tolist(), found.scored_ms.tolist(), strict=True)
    return dict(zip(found.post_ids.tolist(), values, strict=True))


def cache(**given: Any) -> ScoredCache:
    return ScoredCache(CachedPostsSettings(**given))


def test_posts_expire_by_when_they_were_scored() -> None:
    kept = cache(ttl_ms=100)
    kept.put(VIEWER, posts((1, 0.5, 1_000), (2, 0.75, 1_050)), 1_050)
    assert held(kept, 1_099) == {2: (0.75, 1_050), 1: (0.5, 1_000)}
    assert held(kept, 1_100) == {2: (0.75, 1_050)}
    assert held(kept, 1_150) == {}
    # As of a past instant nothing of later is known.
    assert held(kept, 1_049) == {1: (0.5, 1_000)}
    assert held(kept, 1_050, viewer=8) == {}
    # Put again, it is as old as before.
    kept.put(VIEWER, posts((2, 0.75, 1_050), (3, 0.25, 1_120)), 1_120)
    assert held(kept, 1_149) == {2: (0.75, 1_050), 3: (0.25, 1_120)}
    assert held(kept, 1_151) == {3: (0.25, 1_120)}


def test_the_best_are_kept_and_come_first() -> None:
    kept = cache(max_posts=3)
    kept.put(VIEWER, posts((1, 0.5, 10), (2, 0.25, 10), (3, 0.75, 10)), 10)
    kept.put(VIEWER, posts((4, 0.5, 11), (5, 0.1, 11)), 11)
    assert list(held(kept, 11)) == [3, 1, 4]


def test_another_versions_posts_are_no_cache() -> None:
    kept = cache()
    kept.put(VIEWER, posts((1, 0.5, 10)), 10)
    kept.put(VIEWER, posts((2, 0.5, 10), names=("cached", "lists")), 10)
    assert list(held(kept, 10)) == [2]
    kept.put(VIEWER, posts((3, 0.5, 10), names=("cached", "lists"), model="v2"), 10)
    assert list(held(kept, 10)) == [3]
    assert NOTHING_SCORED.joined(NOTHING_SCORED) is NOTHING_SCORED


def test_no_time_to_live_is_no_cache() -> None:
    kept = cache(ttl_ms=0)
    kept.put(VIEWER, posts((1, 0.5, 10)), 10)
    assert (held(kept, 10), kept.memory_bytes) == ({}, 0)


def test_memory_is_bounded_and_the_expired_go() -> None:
    one = posts((1, 0.5, 10)).memory_bytes
    kept = cache(max_bytes=3 * one, ttl_ms=100)
    for viewer in range(1, 6):
        kept.put(viewer, posts((1, 0.5, 10)), 10)
    assert [v for v in range(1, 6) if held(kept, 10, v)] == [3, 4, 5]
    assert kept.memory_bytes == 3 * one
    # Whoever is put again is the last to go.
    kept.put(3, posts((1, 0.5, 10)), 10)
    kept.put(6, posts((1, 0.5, 10)), 10)
    assert [v for v in range(1, 7) if held(kept, 10, v)] == [3, 5, 6]
    kept.put(9, posts((1, 0.5, 200)), 200)
    assert kept.memory_bytes == one


_PUTS = st.lists(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from([0.25, 0.5, 0.75]), st.integers(0, 3))),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60)
@given(_PUTS, st.integers(1, 5))
def test_the_cache_against_model(puts: list[list[tuple[int, float, int]]], max_posts: int) -> None:
    kept = cache(ttl_ms=50, max_posts=max_posts)
    model: dict[int, tuple[float, int]] = {}
    now_ms = 0
    for put in puts:
        now_ms += 20
        mine = {post: (score, now_ms - ago) for post, score, ago in put}
        if not mine:
            continue
        kept.put(VIEWER, posts(*((p, s, at) for p, (s, at) in mine.items())), now_ms)
        for post, (score, at) in mine.items():
            if post not in model or at >= model[post][1]:
                model[post] = (score, at)
        fresh = {post: word for post, word in model.items() if word[1] > now_ms - 50}
        order = sorted(fresh, key=lambda post: (-fresh[post][0], post))[:max_posts]
        model = {post: fresh[post] for post in order}
        assert list(held(kept, now_ms).items()) == list(model.items())


def test_rows_are_found_by_post() -> None:
    found = posts((5, 0.5, 10), (3, 0.5, 10), (9, 0.5, 10))
    assert found.rows_of(np.array([9, 4, 5, 3, 99])).tolist() == [2, -1, 0, 1, -1]
    assert NOTHING_SCORED.rows_of(np.array([1])).tolist() == [-1]


def test_questions_put_and_get() -> None:
    [state] = empty_states(1)
    assert len(state.ask([AskScored(VIEWER, 10)])[0]) == 0
    state.ask([PutScored(VIEWER, posts((1, 0.5, 10)), 10)])
    [found] = state.ask([AskScored(VIEWER, 10)])
    assert found.post_ids.tolist() == [1]
    assert found.source_names == NAMES
