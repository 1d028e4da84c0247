"""Viewers with more blocks and mutes than their context tells: nothing of those is shown."""

from typing import Any

import numpy as np
import pytest

from actors.questions import AskContext, AskHidden
from actors.router import Gathered, LocalRouter, Wave
from actors.stores import relations
from cluster.events import Kind
from tests.timeline.follow_recommendations.asking import ME, follows, settings_of
from tests.timeline.small_worlds import FRIEND, OTHER, STRANGER, VIEWER, ids, small_world
from tests.worlds import NOW_MS, Clock, Event, cut_lists, states_of, timelines_of
from timeline.follow_recommendations.service import AccountRecommendations
from timeline.timelines import Timelines

CROWD = range(500, 504)
"""Enough to push everybody else off a list of three."""
HIDING = {
    "blocks": lambda clock, other: clock.edge(Kind.BLOCK, VIEWER, other),
    "blocked_by": lambda clock, other: clock.edge(Kind.BLOCK, other, VIEWER),
    "mutes": lambda clock, other: clock.edge(Kind.MUTE, VIEWER, other),
}


@pytest.fixture(autouse=True)
def short_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relations, "MAX_SCAN", 3)


class Waves(LocalRouter):
    """Counts waves, and leaves the given question without an answer."""

    def __init__(self, states: Any, unanswered: type | None = None) -> None:
        super().__init__(states)
        self.asked: list[list[str]] = []
        self._unanswered = unanswered

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        questions = [question for asked in wave.values() for question in asked]
        self.asked.append([type(question).__name__ for question in questions])
        if self._unanswered and any(isinstance(q, self._unanswered) for q in questions):
            return Gathered({}, dict.fromkeys(wave, "dead"))
        return super().ask(wave, timeout_s)


def crowded(clock: Clock, hiding: str, *hidden: int) -> list[Event]:
    """Whom a viewer hides first, and the crowd that is hidden later."""
    return [HIDING[hiding](clock, other) for other in (*hidden, *CROWD)]


def of_everybody(clock: Clock) -> list[Event]:
    """Posts of all, and what a friend and the viewer link to theirs."""
    linked = {
        f"{link}_{what}": of
        for link, post in (("quote_of", 300), ("repost_of", 201))
        for what, of in (("id", post), ("author_id", STRANGER if post == 300 else OTHER))
    }
    quote = {name: of for name, of in linked.items() if name.startswith("quote")}
    repost = {name: of for name, of in linked.items() if name.startswith("repost")}
    return [
        *small_world(clock, 2),
        clock.post(400, FRIEND, **quote),
        clock.post(401, FRIEND, **repost),
        clock.post(402, FRIEND, reply_to_id=200, reply_to_author_id=OTHER),
    ]


@pytest.mark.parametrize("n_shards", [1, 4])
@pytest.mark.parametrize("hiding", HIDING)
def test_pages_hold_nothing_of_who_is_off_the_list(hiding: str, n_shards: int) -> None:
    clock = Clock()
    events = of_everybody(clock)
    before = timelines_of(states_of(events, n_shards))
    shown = set(ids(before.for_you(VIEWER, 50, now_ms=NOW_MS)))
    assert shown >= {100, 201, 300, 400, 402}
    assert set(ids(before.following(VIEWER, 50, now_ms=NOW_MS))) >= {100, 201, 400, 401, 402}
    hidden = [*events, *crowded(clock, hiding, OTHER, STRANGER)]
    timelines = timelines_of(states_of(hidden, n_shards))
    for page in (timelines.for_you, timelines.following):
        answer = page(VIEWER, 50, now_ms=NOW_MS)
        assert set(ids(answer)) == {100, 101}
        assert answer.degraded == []


def test_a_context_says_that_it_was_cut_and_is_whole_for_those_followed() -> None:
    clock = Clock()
    follow = [clock.edge(Kind.FOLLOW, VIEWER, OTHER)]
    few = [HIDING["mutes"](clock, other) for other in (OTHER, 500, 501)]
    [whole] = states_of([*follow, *few])[0].ask([AskContext(VIEWER, NOW_MS, 10, 10)])
    assert not whole.cut
    assert whole.mutes.tolist() == sorted([OTHER, 500, 501])
    many = [HIDING["mutes"](clock, other) for other in (502, 503)]
    [cut] = states_of([*follow, *few, *many])[0].ask([AskContext(VIEWER, NOW_MS, 10, 10)])
    assert cut.cut
    assert cut.mutes.tolist() == sorted([OTHER, 501, 502, 503])
    assert cut.heard().tolist() == []


def test_pairs_are_told_however_many_there_are() -> None:
    clock = Clock()
    [state] = states_of([e for hiding in HIDING for e in crowded(clock, hiding, 7, 8)])
    asked = np.array([9, 8, 8, 502])
    [found] = state.ask([AskHidden(VIEWER, asked)])
    assert [of.tolist() for of in found] == [[8, 502]] * 3


def test_without_an_answer_all_count_as_blocked() -> None:
    clock = Clock()
    states = states_of([*small_world(clock), *crowded(clock, "blocked_by", STRANGER)])
    timelines: Timelines = timelines_of(states, router=Waves(states, AskHidden))
    for page in (timelines.for_you, timelines.following):
        answer = page(VIEWER, 50, now_ms=NOW_MS)
        assert ids(answer) == []
        assert "viewer_context" in answer.degraded


def test_nobody_else_pays_for_it() -> None:
    clock = Clock()
    states = states_of([*small_world(clock), *(HIDING["mutes"](clock, of) for of in (7, 8, 9))])
    router = Waves(states)
    timelines_of(states, router=router).for_you(VIEWER, 50, now_ms=NOW_MS)
    assert not any("AskHidden" in asked for asked in router.asked)


@pytest.mark.parametrize("kind", ["blocks", "blocked_by", "mutes"])
def test_accounts_off_the_list_are_not_recommended(kind: str) -> None:
    clock, chosen = Clock(), settings_of()
    graph = {ME: [10, 11], 10: [20, 21], 11: [20, 21]}
    events = [*follows(clock, graph), *(clock.post(100 + user, user) for user in (20, 21))]
    edge = Kind.MUTE if kind == "mutes" else Kind.BLOCK
    pair = (20, ME) if kind == "blocked_by" else (ME, 20)
    told = []
    for more in ([], [clock.edge(edge, *pair)]):
        states = states_of([*events, *more], 1, chosen)
        cut_lists(states)
        service = AccountRecommendations(chosen, LocalRouter(states), lambda: NOW_MS)
        told.append({item.user_id for item in service.of(ME, 20, 1e9).what})
    assert told == [{20, 21}, {21}]
