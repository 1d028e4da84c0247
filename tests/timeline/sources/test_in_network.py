"""The search among followed authors: what is not asked for, and what may not be returned."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from actors.models import Models
from actors.router import LocalRouter
from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.settings import Settings, load
from tests.timeline.sources.finding import run
from tests.timeline.trained_worlds import ANN, EVE, FOE, write_models
from tests.worlds import HOUR_MS, NOW_MS, USERS, Clock, Event, active, apply, states_of, worlds
from timeline.candidates import Candidates
from timeline.hydration import fetch_viewer
from timeline.query import Query
from timeline.sources.in_network import InNetwork

VIEWER, FRIEND, OTHER, STRANGER, AUTHOR = USERS[0], USERS[2], USERS[4], USERS[6], USERS[5]


def query(
    events: list[Event],
    n_shards: int = 1,
    for_you: dict[str, Any] | None = None,
    **in_network: Any,
) -> Query:
    chosen = load(for_you=for_you or {}, sources={"in_network": in_network})
    return asked_of(states_of(events, n_shards, chosen), chosen)


def asked_of(states: list[ShardState], chosen: Settings, viewer: int = VIEWER) -> Query:
    asked = Query(viewer, NOW_MS, 10, "request", chosen, LocalRouter(states))
    fetch_viewer(asked)
    assert asked.context is not None
    return asked


def found(events: list[Event], n_shards: int = 1, **given: Any) -> list[int]:
    return sorted(run(InNetwork(), query(events, n_shards, **given)).post_ids.tolist())


def follows(clock: Clock, *authors: int) -> list[Event]:
    return [clock.edge(Kind.FOLLOW, VIEWER, author) for author in authors]


def reply(clock: Clock, post_id: int, by: int, to: int, to_author: int, **more: Any) -> Event:
    return clock.post(post_id, by, reply_to_id=to, reply_to_author_id=to_author, **more)


# What is not asked for.


def test_what_was_seen_and_its_reposts_do_not_use_up_the_page() -> None:
    clock = Clock()
    events = [*follows(clock, FRIEND, OTHER), *(clock.post(10 + k, FRIEND) for k in range(4))]
    events.append(clock.post(20, OTHER, repost_of_id=13, repost_of_author_id=FRIEND))
    few = {"in_network_results": 2, "in_network_hits": 3}
    # The newest three are looked at: the repost, 13 and 12.
    assert 10 not in found(events, for_you=few)
    events += [clock.on_post(Kind.IMPRESSION, VIEWER, post, FRIEND) for post in (12, 13)]
    assert found(events, for_you=few) == [10, 11]
    assert found(events) == [10, 11]
    # Beyond the limit the filters have to know.
    assert found(events, max_excluded=1) == [10, 11, 12]
    assert found(events, max_excluded=0) == [10, 11, 12, 13, 20]


def test_served_posts_are_left_out_while_paging() -> None:
    clock = Clock(NOW_MS - 60_000)
    events = [*follows(clock, FRIEND), clock.post(10, FRIEND), clock.post(11, FRIEND)]
    served = clock.on_post(Kind.SERVED, VIEWER, 11, FRIEND, request_id="r", position=0)
    asked = query([*events, served])
    assert len(run(InNetwork(), asked)) == 2
    paging = replace(asked, chain=np.array([5], np.uint32))
    assert run(InNetwork(), paging).post_ids.tolist() == [10]


def test_nobody_is_asked_about_those_who_are_not_heard() -> None:
    clock = Clock()
    events = follows(clock, *USERS[1:6])
    events += [clock.post(100 + k, user) for k, user in enumerate(USERS)]
    events += [
        clock.edge(Kind.MUTE, VIEWER, USERS[1]),
        clock.edge(Kind.BLOCK, VIEWER, USERS[2]),
        clock.edge(Kind.BLOCK, USERS[3], VIEWER),
    ]
    assert found(events, 4) == [104, 105]


def test_light_users_are_shown_two_days() -> None:
    def posted(n_days: int) -> list[int]:
        clock = Clock(NOW_MS - 49 * HOUR_MS)
        events = follows(clock, FRIEND) + active(clock, VIEWER, NOW_MS, n_days)
        for post_id, hours in ((10, 48.5), (11, 47), (12, 25), (13, 23)):
            at_ms = NOW_MS - int(hours * HOUR_MS)
            events.append(clock.post(post_id, FRIEND, time_ms=at_ms))
        return found(events)

    assert posted(20) == [11, 12, 13]
    assert posted(21) == [13]


# What may not be returned.


def test_of_many_reposts_of_one_post_the_oldest_stay() -> None:
    clock = Clock()
    events = follows(clock, *USERS[1:8])
    for k, user in enumerate(USERS[1:8]):
        events.append(clock.post(100 + k, user, repost_of_id=7, repost_of_author_id=9))
        events.append(clock.post(200 + k, user, repost_of_id=8, repost_of_author_id=9))
        events.append(clock.on_post(Kind.FAVOURITE, VIEWER, 9_999, USERS[7]))
    for n_shards in (1, 4):
        assert found(events, n_shards) == [*range(100, 105), *range(200, 205)]
    assert found(events, max_repost_copies=1) == [100, 200]


@pytest.mark.parametrize("n_shards", [1, 4])
def test_a_reply_to_a_stranger_is_kept_where_the_stranger_began(n_shards: int) -> None:
    clock = Clock()
    events = [
        *follows(clock, FRIEND, OTHER),
        clock.post(10, STRANGER),
        reply(clock, 11, STRANGER, 10, STRANGER),
        clock.post(12, STRANGER, repost_of_id=10, repost_of_author_id=AUTHOR),
        clock.post(13, STRANGER),
        clock.event(Kind.POST_DELETE, post_id=13, author_id=STRANGER),
        clock.post(14, VIEWER),
        reply(clock, 20, FRIEND, 10, STRANGER),
        reply(clock, 21, FRIEND, 11, STRANGER),
        reply(clock, 22, FRIEND, 12, STRANGER),
        reply(clock, 23, FRIEND, 13, STRANGER),
        reply(clock, 24, FRIEND, 14, VIEWER),
        reply(clock, 25, FRIEND, 99, STRANGER),
        # Not addressed to a stranger: to a friend, to oneself, and no reply at all.
        reply(clock, 30, FRIEND, 11, OTHER),
        reply(clock, 31, FRIEND, 20, FRIEND),
        clock.post(32, OTHER),
    ]
    assert found(events, n_shards) == [20, 30, 31, 32]
    assert found(events, n_shards, extended_replies=False) == [30, 31, 32]
    for hidden in (
        clock.edge(Kind.MUTE, VIEWER, STRANGER),
        clock.edge(Kind.BLOCK, STRANGER, VIEWER),
        clock.event(Kind.USER_SUSPEND, actor_id=STRANGER),
        clock.event(Kind.USER_UPDATE, actor_id=STRANGER, protected=True),
    ):
        assert found([*events, hidden], n_shards) == [30, 31, 32]


def test_a_stranger_of_whom_nobody_can_say_anything_began_nothing() -> None:
    clock = Clock()
    events = [*follows(clock, FRIEND), clock.post(10, STRANGER)]
    events += [reply(clock, 20, FRIEND, 10, STRANGER), clock.post(21, FRIEND)]
    finding = InNetwork().find(query(events, 4))
    first = next(finding)
    states = states_of(events, 4)
    second = finding.send({s: [q.answer(states[s]) for q in asked] for s, asked in first.items()})
    assert second
    with pytest.raises(StopIteration) as done:
        finding.send({})
    assert done.value.value.post_ids.tolist() == [21]


# What ranks them.


def test_age_decay_is_off_and_a_factor_when_it_is_on() -> None:
    clock = Clock(NOW_MS - 12 * HOUR_MS)
    events = [*follows(clock, FRIEND), clock.post(10, FRIEND)]
    events.append(clock.post(11, FRIEND, time_ms=NOW_MS))
    plain = by_post(run(InNetwork(), query(events)))
    decayed = by_post(run(InNetwork(), query(events, age_decay={})))
    minutes = (NOW_MS - events[1]["time_ms"]) // 60_000
    for post, age in ((10, minutes), (11, 0)):
        factor = 0.6 + 0.4 / (1 + np.exp(0.003 * (age - 360)))
        assert decayed[post] == pytest.approx(factor / (1 + np.exp(-plain[post])), rel=1e-5)
    assert 0.89 < decayed[11] * (1 + np.exp(-plain[11])) < 0.91


def by_post(candidates: Candidates) -> dict[int, float]:
    return dict(zip(candidates.post_ids.tolist(), candidates.scores.tolist(), strict=True))


def test_real_graph_and_tweepcred_reach_the_shards(tmp_path: Path) -> None:
    versions = write_models(tmp_path)
    states = [
        ShardState(Settings(), Models(ArtifactStore(tmp_path / "artifacts")), k, 4)
        for k in range(4)
    ]
    clock = Clock()
    events = [clock.edge(Kind.FOLLOW, ANN, author) for author in (EVE, FOE)]
    events += [clock.post(10, EVE), clock.post(11, FOE, time_ms=clock.now_ms)]
    apply(states, events)
    before = run(InNetwork(), asked_of(states, Settings(), ANN))
    assert before.feature("author_reputation").tolist() == [0, 0]
    for name in ("real_graph", "tweepcred"):
        given = {"name": name, "model_version": versions[name]}
        apply(states, [clock.event(Kind.ARTIFACT_ACTIVATE, **given)], offset=2)
    after = run(InNetwork(), asked_of(states, Settings(), ANN))
    assert after.post_ids.tolist() == [10, 11]
    assert after.feature("author_reputation").tolist() == [40, 0]
    # Eve's score is 0.25: the odds are multiplied by what Home multiplies by, in a bin of it.
    gained = by_post(after)[10] - by_post(before)[10]
    assert 0 < gained <= np.log(1 + 1.97 * 0.25) + 1e-5
    assert by_post(after)[11] == by_post(before)[11]


@hypothesis_settings(max_examples=25)
@given(worlds(), st.integers(2, 4), st.integers(1, 6))
def test_the_best_are_the_same_for_any_number_of_shards(
    events: list[Event], n_shards: int, most: int
) -> None:
    clock = Clock()
    everyone = [clock.edge(Kind.FOLLOW, VIEWER, u, event_id=900 + u) for u in USERS[1:3]]
    few = {"in_network_results": most}
    one, many = (
        run(InNetwork(), query([*everyone, *events], n, for_you=few)) for n in (1, n_shards)
    )
    assert many.post_ids.tolist() == one.post_ids.tolist()
    assert many.scores.tolist() == one.scores.tolist()
    assert len(one) <= most
