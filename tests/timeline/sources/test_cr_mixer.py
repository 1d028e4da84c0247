from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.graph_questions import AskNsfwAccounts
from actors.models import VECTORS
from actors.retrieval_questions import AskNearMany, AskSimilarMany
from actors.router import Gathered, Router, Wave, shards_of
from actors.signal_types import SignalType
from actors.state import Failed, Question
from cluster.events import Kind
from tests.timeline.sources.embedded_worlds import (
    LIKES,
    Likes,
    World,
    asked,
    events_of,
    write_world,
)
from tests.timeline.sources.finding import run, unanswered
from tests.worlds import HOUR_MS, NOW_MS, POSTS, USERS, Clock, Event, author_of
from timeline.candidates import ENGINES, Candidates
from timeline.findings import Finding, ask_together
from timeline.hydration import complete
from timeline.pipeline import Pipeline, Retrieve
from timeline.query import Query
from timeline.sources import simclusters_ann, twhin_ann, user_tweet_graph, user_video_graph
from timeline.sources.cr_mixer import CrMixer
from timeline.sources.source_keys import OF_VIEWER, source_keys

ANN, ZOE = USERS[0], USERS[7]
"""Zoe is in no model, so that her likes say nothing of what she likes."""
LIKED, FOLLOWED = SignalType.TWEET_FAVORITE_90D, SignalType.ACCOUNT_FOLLOW
EVERY_SIGNAL = (*("tweet_favorite_90d", "account_follow", "reply_90d", "notification_open"),)
LENIENT = {
    "min_cooccurrence_posts": 1,
    "min_cooccurrence_producers": 1,
    "min_result_degree": 0,
    "min_query_degree": 1,
    "min_score_posts": 0.0,
    "min_score_producers": 0.0,
}
SHARED_FOLDER = settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    return folder, write_world(folder)


def edge(kind: Kind, target: int, minutes: int = 100, actor: int = ANN) -> Event:
    return Clock().edge(kind, actor, target, time_ms=NOW_MS - minutes * 60_000)


def on_post(kind: Kind, post: int, minutes: int = 100, actor: int = ANN, **given: Any) -> Event:
    at = {"time_ms": NOW_MS - minutes * 60_000}
    return Clock().on_post(kind, actor, post, author_of(post), **at, **given)


def plain(candidates: Candidates) -> dict[str, Any]:
    return {name: column.tolist() for name, column in vars(candidates).items()}


def lists_of(query: Query, finding: Finding[Any]) -> list[list[tuple[int, int]]]:
    """(post, author) of each list that an engine found."""
    found = ask_together(query, {"engine": finding}, 1.0)["engine"]
    assert found is not None
    pairs = list(zip(found.post_ids.tolist(), found.author_ids.tolist(), strict=True))
    ends = found.offsets.tolist()
    return [pairs[a:b] for a, b in pairwise(ends)]


def in_turns(lists: Sequence[list[Any]]) -> list[Any]:
    said: list[Any] = []
    for turn in range(max(map(len, lists), default=0)):
        for one in lists:
            if turn < len(one) and one[turn] not in said:
                said.append(one[turn])
    return said


def plainly(query: Query, per_key: int = 200) -> list[tuple[int, int, int, int]]:
    """(post, author, signal, its target) as the specification says, of the engines' own lists."""
    sources = query.settings.sources
    chosen = sources.cr_mixer
    keys: list[tuple[int, SignalType, int, int]] = []
    for name in sources.signals:
        kind = SignalType[name.upper()]
        for target, author, time_ms, _ in zip(*query.tastes.of(kind), strict=True):
            if author in query.viewer.hidden_ids:
                continue
            if (target, kind is FOLLOWED) not in [(t, k is FOLLOWED) for _, k, t, _ in keys]:
                keys.append((-int(time_ms), kind, int(target), int(author)))
            else:
                at = [(t, k is FOLLOWED) for _, k, t, _ in keys].index((target, kind is FOLLOWED))
                if -int(time_ms) < keys[at][0]:
                    keys[at] = (-int(time_ms), kind, int(target), int(author))
    keys.sort(key=lambda key: (key[0], [*map(str, sources.signals)].index(key[1].name.lower())))
    lists: list[tuple[int, int, list[tuple[int, int]]]] = []
    of_posts = {
        "simclusters_ann": simclusters_ann.of_posts,
        "user_video_graph": user_video_graph.related_by_posts,
        "user_tweet_graph": user_tweet_graph.related_by_posts,
        "twhin_ann": twhin_ann.of_posts,
    }
    for _, kind, target, author in keys:
        one = np.array([target])
        if kind is FOLLOWED:
            parts = []
            if "user_tweet_graph" in chosen.producer_engines:
                finding = user_tweet_graph.related_by_producers(query, one)
                parts.append(lists_of(query, finding)[0])
            parts.append(lists_of(query, simclusters_ann.of_producers(query, one))[0])
            together = list(dict.fromkeys(pair for part in parts for pair in part))
        else:
            together = in_turns(
                [
                    lists_of(query, engine(query, one, np.array([author])))[0]
                    for name, engine in of_posts.items()
                    if name in chosen.tweet_engines
                ]
            )
        lists.append((int(kind), target, together[:per_key]))
    lists.append((OF_VIEWER, 0, lists_of(query, simclusters_ann.of_interests(query))[0]))
    lists.append((OF_VIEWER, 0, lists_of(query, twhin_ann.of_viewer(query))[0]))
    context = query.viewer
    seen = {*context.seen_ids.tolist(), *(target for _, kind, target, _ in keys if kind is LIKED)}
    hidden = {*context.blocks.tolist(), *context.blocked_by.tolist(), *context.mutes.tolist(), ANN}
    kept = [
        [pair for pair in one[:per_key] if pair[0] not in seen and pair[1] not in hidden]
        for _, _, one in lists
    ]
    blended = in_turns(kept)
    rows = []
    for post, author in blended:
        rank = min(one.index((post, author)) for one in kept if (post, author) in one)
        first = next(
            at for at, one in enumerate(kept) if rank < len(one) and one[rank] == (post, author)
        )
        rows.append((post, author, lists[first][0], lists[first][1]))
    return rows


def told(found: Candidates) -> list[tuple[int, int, int, int]]:
    columns = (found.post_ids, found.author_ids, found.signals, found.signal_ids)
    return list(zip(*(column.tolist() for column in columns), strict=True))


FURTHER = st.lists(
    st.one_of(
        st.builds(edge, st.just(Kind.FOLLOW), st.sampled_from(USERS[1:]), st.integers(5, 300)),
        st.builds(edge, st.sampled_from([Kind.BLOCK, Kind.MUTE]), st.just(USERS[3])),
        st.builds(on_post, st.just(Kind.FAVOURITE), st.sampled_from(POSTS), st.integers(5, 300)),
        st.builds(on_post, st.just(Kind.IMPRESSION), st.sampled_from(POSTS[:3])),
    ),
    max_size=10,
)


@SHARED_FOLDER
@given(LIKES, FURTHER, st.sampled_from([1, 4]), st.sampled_from([2, 200]), st.booleans())
def test_it_mixes_as_the_specification_says(
    world: World, likes: Likes, further: list[Event], n_shards: int, per_key: int, every: bool
) -> None:
    engines: dict[str, Any] = {"results_per_signal": per_key}
    if every:
        engines["tweet_engines"] = (
            *("twhin_ann", "user_tweet_graph", "user_video_graph", "simclusters_ann"),
        )
        engines["producer_engines"] = ("simclusters_ann", "user_tweet_graph")
    events = events_of(likes, further)
    query = asked(world, events, n_shards, cr_mixer=engines, user_tweet_graph=LENIENT)
    found = run(CrMixer(), query)
    assert query.degraded == []
    assert told(found) == plainly(query, per_key)
    n = len(found)
    assert found.scores.tolist() == list(range(n, 0, -1))
    assert (found.created_ms == 0).all()
    assert (found.engines > 0).all()


@SHARED_FOLDER
@given(LIKES, FURTHER, st.integers(1, 4), st.integers(1, 5))
def test_the_contract_of_sources(
    world: World, likes: Likes, further: list[Event], n_shards: int, most: int
) -> None:
    events = events_of(likes, further)
    chosen: dict[str, Any] = {"cr_mixer": {"max_results": most}, "user_tweet_graph": LENIENT}
    query = asked(world, events, n_shards, **chosen)
    found = run(CrMixer(), query)
    posts = found.post_ids.tolist()
    assert len(posts) <= most
    assert len(set(posts)) == len(posts)
    assert (found.author_ids > 0).all()
    context = query.viewer
    hidden = {*context.blocks.tolist(), *context.mutes.tolist(), *context.blocked_by.tolist(), ANN}
    assert not hidden & set(found.author_ids.tolist())
    assert plain(run(CrMixer(), query)) == plain(found)
    assert plain(run(CrMixer(), asked(world, events, 1, **chosen))) == plain(found)
    assert len(unanswered(CrMixer(), query)) == 0


def test_nothing_trained_and_nothing_done(tmp_path: Path) -> None:
    query = asked((tmp_path, {}), [], 2)
    assert len(run(CrMixer(), query)) == 0
    assert query.degraded == []
    # Without models, the graph of engagements still tells.
    likes = {(user, post): 60 for user in USERS[1:5] for post in (1_000, 1_005)}
    likes[ANN, 1_001] = 5
    likes |= {(user, 1_001): 50 for user in USERS[2:5]}
    query = asked((tmp_path, {}), events_of(likes), 2, user_tweet_graph=LENIENT)
    found = run(CrMixer(), query)
    assert found.post_ids.tolist() == [1_005]
    assert found.engines.tolist() == [1 << ENGINES.index("user_tweet_graph")]


TWO_TASTES = {
    # Communities 0 and 3, each with two posts of the same direction.
    **{(USERS[6], post): 60 for post in (1_001, 1_003)},
    **{(USERS[3], post): 60 for post in (1_002, 1_005)},
}


def test_reasons_are_those_of_the_most_recent_signal(world: World) -> None:
    likes = {**TWO_TASTES, (ZOE, 1_005): 20, (ZOE, 1_001): 30}
    query = asked(world, events_of(likes), 4, viewer=ZOE)
    found = run(CrMixer(), query)
    # The post like the one liked last is first; both are found, each for its own reason.
    assert told(found)[:2] == [
        (1_002, author_of(1_002), LIKED, 1_005),
        (1_003, author_of(1_003), LIKED, 1_001),
    ]
    assert found.engines.tolist()[:2] == [1 << ENGINES.index("simclusters_ann")] * 2
    earlier = {**TWO_TASTES, (ZOE, 1_005): 30, (ZOE, 1_001): 20}
    query = asked(world, events_of(earlier), 4, viewer=ZOE)
    assert run(CrMixer(), query).signal_ids.tolist()[:2] == [1_001, 1_005]


def test_all_engines_that_found_a_post_are_told(world: World) -> None:
    query = asked(world, events_of(TWO_TASTES), 2)
    found = run(CrMixer(), query)
    row = found.post_ids.tolist().index(1_003)
    names = {name for at, name in enumerate(ENGINES) if found.engines[row] >> at & 1}
    assert names == {"interested_in", "consumer_twhin"}
    assert found.signals[row] == OF_VIEWER
    assert found.signal_ids[row] == 0


def test_what_the_viewer_saw_or_liked_is_no_candidate(world: World) -> None:
    likes = {**TWO_TASTES, (ANN, 1_001): 30}
    query = asked(world, events_of(likes, [on_post(Kind.IMPRESSION, 1_005)]), 2)
    assert sorted(run(CrMixer(), query).post_ids.tolist()) == [1_002, 1_003]
    # A post that was seen leads to others all the same.
    seen = [on_post(Kind.IMPRESSION, 1_001, 90)]
    query = asked(world, events_of(likes, seen), 2, cr_mixer={"viewer_engines": []})
    assert run(CrMixer(), query).signal_ids.tolist() == [1_001]


def test_notifications_alone_are_no_reason(world: World) -> None:
    opened = on_post(Kind.NOTIFICATION_OPEN, 1_001)
    events = events_of(TWO_TASTES, [opened])
    only: dict[str, Any] = {"signals": EVERY_SIGNAL, "cr_mixer": {"viewer_engines": []}}
    query = asked(world, events, 2, **only)
    assert query.tastes.of(SignalType.NOTIFICATION_OPEN).target_ids.tolist() == [1_001]
    assert len(run(CrMixer(), query)) == 0
    whole = run(CrMixer(), asked(world, events, 2, signals=EVERY_SIGNAL))
    assert told(whole)[0] == (1_003, author_of(1_003), SignalType.NOTIFICATION_OPEN, 1_001)


def visits(account: int) -> list[Event]:
    clock = Clock(NOW_MS - HOUR_MS)
    click = Kind.PROFILE_CLICK
    return [clock.event(click, actor_id=ZOE, author_id=account) for _ in range(3)]


def labelled(account: int, name: str) -> Event:
    return Clock().event(Kind.SAFETY_LABEL, author_id=account, label=name, value=1.0)


def test_an_account_of_adult_content_seeds_nothing(world: World) -> None:
    visited = SignalType.REPEATED_PROFILE_VISIT_14D
    likes = {**TWO_TASTES, (ZOE, 1_005): 20}
    by_visit, by_like = (visited, USERS[6]), (LIKED, 1_005)
    for n_shards in (1, 4):

        def seeds(*labels: Event, n: int = n_shards) -> set[tuple[int, int]]:
            events = events_of(likes, [*visits(USERS[6]), *labels])
            query = asked(world, events, n, viewer=ZOE, user_tweet_graph=LENIENT)
            found = run(CrMixer(), query)
            assert query.degraded == []
            return set(zip(found.signals.tolist(), found.signal_ids.tolist(), strict=True))

        assert seeds() == {by_visit, by_like}
        assert seeds(labelled(USERS[6], "toxicity")) == {by_visit, by_like}
        assert seeds(labelled(USERS[6], "nsfw_avatar_image")) == {by_like}
        assert seeds(labelled(USERS[3], "nsfw_avatar_image")) == {by_visit, by_like}


def test_a_visited_account_of_which_nobody_tells_seeds_nothing(world: World) -> None:
    likes = {post: minutes for post, minutes in TWO_TASTES.items() if post[1] != 1_005}
    events = events_of(likes, visits(USERS[6]))
    query = asked(world, events, 4, viewer=ZOE)
    home = int(shards_of(np.array([USERS[6]]), 4)[0])
    assert len(run(CrMixer(), query)) > 0
    query.router = Silent(query.router, home)
    assert len(run(CrMixer(), query)) == 0
    # Nor where they are all that is found, and were the only ones asked about.
    assert len(unanswered(CrMixer(), query)) == 0


class Silent:
    """A shard says nothing of accounts, and all else."""

    def __init__(self, router: Router, shard: int) -> None:
        self._router, self._shard = router, shard

    @property
    def n_shards(self) -> int:
        return self._router.n_shards

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        told = self._router.ask(wave, timeout_s)
        for shard, reply in told.replies.items():
            for at, question in enumerate(wave[shard]):
                if shard == self._shard and isinstance(question, AskNsfwAccounts):
                    reply.answers[at] = Failed("not now")
        return told


def test_limits_cut_what_is_ranked_and_what_is_given(world: World) -> None:
    events = events_of({(USERS[6], post): 60 for post in (1_001, 1_003, 1_002, 1_005)})
    every = run(CrMixer(), asked(world, events))
    assert every.scores.tolist() == [4.0, 3.0, 2.0, 1.0]
    some = run(CrMixer(), asked(world, events, cr_mixer={"max_results": 2}))
    assert some.post_ids.tolist() == every.post_ids.tolist()[:2]
    assert some.scores.tolist() == [4.0, 3.0]
    fewer = run(CrMixer(), asked(world, events, cr_mixer={"max_blended": 3}))
    assert fewer.scores.tolist() == [3.0, 2.0, 1.0]
    young = run(CrMixer(), asked(world, events, cr_mixer={"max_age_ms": 10 * HOUR_MS}))
    assert sorted(young.post_ids.tolist()) == [1_001, 1_002]


def test_blenders_are_chosen_by_settings(world: World) -> None:
    likes = {**TWO_TASTES, (ZOE, 1_005): 20, (ZOE, 1_001): 30}
    events = events_of(likes)

    def order(**chosen: Any) -> list[int]:
        query = asked(world, events, 2, viewer=ZOE, cr_mixer=chosen)
        return list(map(int, run(CrMixer(), query).post_ids))

    follow = edge(Kind.FOLLOW, USERS[6], 10, ZOE)
    back_fill = {"blender": "back_fill", "back_fill": ("account_follow",)}
    assert order() == [1_002, 1_003]
    assert sorted(order(blender="count_weighted", evenness=0.0)) == [1_002, 1_003]
    assert sorted(order(blender="similarity")) == [1_002, 1_003]
    followed = asked(world, events_of(TWO_TASTES | {(ZOE, 1_005): 20}, [follow]), 2, viewer=ZOE)
    assert run(CrMixer(), followed).signals.tolist()[0] == FOLLOWED
    filled = asked(
        world,
        events_of(TWO_TASTES | {(ZOE, 1_005): 20}, [follow]),
        2,
        viewer=ZOE,
        cr_mixer=back_fill,
    )
    signals = run(CrMixer(), filled).signals.tolist()
    assert signals[0] == LIKED
    assert signals[-1] == FOLLOWED


def test_keys_are_each_target_once_and_the_most_recent_first(world: World) -> None:
    likes = {(ANN, 1_001): 50, (ANN, 1_003): 20}
    further = [
        on_post(Kind.REPLY, 1_001, 5),
        edge(Kind.FOLLOW, USERS[2], 30),
        edge(Kind.FOLLOW, USERS[3], 10),
    ]
    events = events_of(likes, further)
    query = asked(world, events, signals=EVERY_SIGNAL, max_signals=15)
    keys = source_keys(query, 2)
    assert keys.target_ids.tolist() == [1_001, USERS[3], 1_003, USERS[2], 0, 0]
    assert keys.signals.tolist() == [SignalType.REPLY_90D, FOLLOWED, LIKED, FOLLOWED, -1, -1]
    assert keys.posts.tolist() == [0, 2]
    assert keys.accounts.tolist() == [1, 3]
    assert keys.viewer.tolist() == [4, 5]
    fewer = source_keys(asked(world, events, max_signals=1), 0)
    assert fewer.target_ids.tolist() == [USERS[3], 1_003]


def test_models_that_are_gone_cost_their_own_part(world: World) -> None:
    likes = {(user, post): 60 for user in USERS[1:5] for post in (1_002, 1_005)}
    query = asked(world, events_of(likes | {(ANN, 1_005): 5}), 2, user_tweet_graph=LENIENT)
    engines = run(CrMixer(), query).engines.tolist()
    graph = 1 << ENGINES.index("user_tweet_graph")
    assert engines[0] & graph
    assert engines[0] != graph
    query.tastes = replace(query.tastes, versions={VECTORS: "another"})
    assert run(CrMixer(), query).engines.tolist() == [graph]
    assert query.degraded == ["simclusters_ann", "consumer_twhin"]


def test_its_engines_share_two_waves(world: World) -> None:
    likes = {**TWO_TASTES, (ANN, 1_005): 20}
    engines = {"tweet_engines": ("simclusters_ann", "twhin_ann")}
    query = asked(world, events_of(likes, [edge(Kind.FOLLOW, USERS[6])]), 2, cr_mixer=engines)
    finding = CrMixer().find(query)
    answers = query.ask(next(finding), 1.0).replies
    finding.send({shard: reply.answers for shard, reply in answers.items()})
    with pytest.raises(StopIteration):
        finding.send({})


class Heard:
    """A router that remembers what was asked."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.n_shards = router.n_shards
        self.questions: list[Question] = []

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        self.questions += [question for asked in wave.values() for question in asked]
        return self._router.ask(wave, timeout_s)


def test_lists_are_asked_for_no_deeper_than_turns_reach(world: World) -> None:
    def limits(further: Sequence[Event] = (), **chosen: Any) -> set[int]:
        chosen |= {"max_results": 4, "viewer_engines": ("interested_in", "consumer_twhin")}
        query = asked(world, events_of({(ANN, 1_005): 20}, further), 2, cr_mixer=chosen)
        query.router = router = Heard(query.router)
        run(CrMixer(), query)
        searched = [q for q in router.questions if isinstance(q, AskSimilarMany)]
        near = [q for q in router.questions if isinstance(q, AskNearMany)]
        assert searched
        assert near
        return {q.searches.max_results for q in searched} | {q.limit for q in near}

    # A post and the viewer twice: three lists take turns until four candidates are found.
    assert limits(depth=3.0) == {4}
    assert limits(depth=1.0) == {2}
    # What the viewer saw is in the lists too, and is passed over.
    assert limits([on_post(Kind.IMPRESSION, post) for post in POSTS[:3]], depth=1.5) == {4}
    assert limits(depth=1.0, blender="similarity") == {200}


def test_facts_come_with_the_last_count_of_the_graph(world: World) -> None:
    likes = {(user, post): 60 for user in USERS[1:5] for post in (1_002, 1_005)}
    query = asked(world, events_of(likes | {(ANN, 1_005): 5}), 2, user_tweet_graph=LENIENT)
    found, _ = Pipeline("test", [Retrieve("candidates", [CrMixer()])]).run(query)
    assert found.engines[0] & (1 << ENGINES.index("user_tweet_graph"))
    query.router = router = Heard(query.router)
    assert (complete(query, found).created_ms > 0).all()
    assert not router.questions
