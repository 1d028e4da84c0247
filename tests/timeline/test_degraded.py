"""Promise 3: what is answered while shards are dead or too far behind."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from actors.questions import AskContext
from actors.router import Gathered, LocalRouter, Wave, shards_of
from actors.state import ShardState
from cluster.settings import Settings
from tests.timeline.small_worlds import (
    FRIEND,
    OTHER,
    STRANGER,
    VIEWER,
    ids,
    small_world,
)
from tests.worlds import (
    NOW_MS,
    USERS,
    Clock,
    PartialRouter,
    models,
    states_of,
    timelines_of,
)
from timeline.pages import Page
from timeline.products import for_you, for_you_sources

N_SHARDS = 4
HOMES = dict(zip(USERS, shards_of(np.array(USERS), N_SHARDS).tolist(), strict=True))


def degraded(product: str, **router: Any) -> Page:
    states = states_of(small_world(Clock()), N_SHARDS)
    timelines = timelines_of(states, router=PartialRouter(states, **router))
    page: Page = getattr(timelines, product)(VIEWER, 50, now_ms=NOW_MS)
    return page


def test_users_of_these_tests_live_in_different_shards() -> None:
    assert len({HOMES[user] for user in (VIEWER, FRIEND, OTHER, STRANGER)}) == N_SHARDS


STALE_MS = Settings().shards.stale_after_ms
OUT = pytest.mark.parametrize("how", ["missing", "stale"])


def out(how: str, shard: int) -> dict[str, Any]:
    return {"missing": [shard]} if how == "missing" else {"lags_ms": {shard: STALE_MS + 1}}


@OUT
@pytest.mark.parametrize("product", ["for_you", "following"])
def test_without_the_viewers_shard_nothing_is_shown(product: str, how: str) -> None:
    page = degraded(product, **out(how, HOMES[VIEWER]))
    assert page.items == []
    assert page.cursor is None
    assert page.reason is None
    assert set(page.degraded) == {f"shard_{HOMES[VIEWER]}", "viewer_context"}


@OUT
def test_without_another_shard_its_posts_are_missing_and_it_is_named(how: str) -> None:
    page = degraded("for_you", **out(how, HOMES[FRIEND]))
    # The friend's posts, and what only the friend's favourites lead to.
    assert not set(range(100, 105)) & set(ids(page))
    assert set(range(200, 205)) <= set(ids(page))
    assert page.degraded == [f"shard_{HOMES[FRIEND]}"]
    page = degraded("following", **out(how, HOMES[FRIEND]))
    assert ids(page) == [204, 203, 202, 201, 200]
    assert page.degraded == [f"shard_{HOMES[FRIEND]}"]


@OUT
def test_a_post_whose_own_shard_is_silent_might_be_deleted(how: str) -> None:
    page = degraded("for_you", **out(how, HOMES[STRANGER]))
    assert 300 not in ids(page)
    assert set(ids(page)) == {*range(100, 105), *range(200, 205)}
    assert page.degraded == [f"shard_{HOMES[STRANGER]}"]


@OUT
def test_a_repost_of_what_a_silent_shard_holds_might_be_of_something_deleted(how: str) -> None:
    clock = Clock()
    link = {"repost_of_id": 300, "repost_of_author_id": STRANGER}
    states = states_of([*small_world(clock), clock.post(150, FRIEND, **link)], N_SHARDS)
    router = PartialRouter(states, **out(how, HOMES[STRANGER]))
    page = timelines_of(states, router=router).following(VIEWER, 50, now_ms=NOW_MS)
    assert 150 not in ids(page)
    assert len(page.items) == 10
    assert page.degraded == [f"shard_{HOMES[STRANGER]}"]


def test_a_shard_little_behind_still_counts() -> None:
    page = degraded("for_you", lags_ms=dict.fromkeys(range(N_SHARDS), STALE_MS))
    assert page.degraded == []
    assert len(page.items) == 11


def test_all_shards_but_one_gone() -> None:
    others = [shard for shard in range(N_SHARDS) if shard != HOMES[VIEWER]]
    page = degraded("for_you", missing=others)
    assert page.items == []
    assert set(page.degraded) == {f"shard_{shard}" for shard in others}


SOURCES = for_you(models()).source_names


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("when", ["asking", "answered"])
def test_a_source_that_fails_costs_its_candidates_only(
    name: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it is that breaks: the others' posts are shown, and the source is named."""
    states = states_of(small_world(Clock()), N_SHARDS)
    before = timelines_of(states).for_you(VIEWER, 50, now_ms=NOW_MS)

    def broken(self: Any, query: Any) -> Any:
        if when == "answered":
            yield {HOMES[VIEWER]: [AskContext(VIEWER, NOW_MS, 1, 1)]}
        raise RuntimeError("out of order")
        yield

    [source] = [one for one in for_you_sources() if one.name == name]
    monkeypatch.setattr(type(source), "find", broken)
    page = timelines_of(states).for_you(VIEWER, 50, now_ms=NOW_MS)
    assert page.degraded == [name]
    assert set(ids(page)) <= set(ids(before))
    kept = {item.post_id for item in before.items if item.source != name}
    assert kept <= set(ids(page))
    # Elsewhere a post may count under another source that found it too.
    assert page.items


@pytest.mark.parametrize("shard", range(N_SHARDS))
def test_a_shard_too_slow_for_a_wave_costs_its_share_only(shard: int) -> None:
    """F4: what the others answered within the wave's time is shown."""
    states = states_of(small_world(Clock()), N_SHARDS)
    slow = SlowRouter(states, shard, slow_from_wave=1)
    page = timelines_of(states, router=slow).for_you(
        VIEWER, 50, now_ms=NOW_MS, deadline_s=time.monotonic() + 0.15
    )
    assert f"shard_{shard}" in page.degraded
    whole = timelines_of(states).for_you(VIEWER, 50, now_ms=NOW_MS)
    authors = {item.author_id for item in page.items}
    assert HOMES[FRIEND] == shard or FRIEND in authors
    assert HOMES[OTHER] == shard or OTHER in authors
    assert set(ids(page)) < set(ids(whole)) or shard == HOMES[VIEWER]


class SlowRouter(LocalRouter):
    """One shard takes 200 ms, from some wave on; who is not waited for so long is missing."""

    def __init__(self, states: Sequence[ShardState], shard: int, slow_from_wave: int) -> None:
        super().__init__(states)
        self._shard, self._wave, self._slow_from = shard, 0, slow_from_wave

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        late = self._wave >= self._slow_from and self._shard in wave and timeout_s < 0.2
        self._wave += 1
        if not late:
            return super().ask(wave, timeout_s)
        rest = {shard: asked for shard, asked in wave.items() if shard != self._shard}
        return Gathered(super().ask(rest, timeout_s).replies, {self._shard: "too slow"})
