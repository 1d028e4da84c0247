"""Accounts for those of whom nothing else is known: by country, language and topic."""

from dataclasses import replace
from math import log

import pytest

from actors.locale_follows import LocaleFollows
from cluster.events import Kind
from tests.timeline.follow_recommendations.asking import (
    ME,
    accounts_of,
    asked_of,
    follows,
    query_of,
    run,
    settings_of,
    shown,
)
from tests.worlds import DAY_MS, NOW_MS, Clock, Event, apply, states_of
from timeline.follow_recommendations.flow import seek
from timeline.follow_recommendations.popular import (
    SOURCES,
    LocalePopular,
    TopicAccounts,
    TweetAuthors,
    ppmi,
)
from timeline.query import FEW_FOLLOWS

N_SHARDS = pytest.mark.parametrize("n_shards", [1, 4])
PAT, QUE, ROB, SUE = 50, 51, 52, 53


def locales(clock: Clock) -> list[Event]:
    """2 to 5 are German, 6 to 9 French; Pat is known to all, Que to Germans, Rob to French."""
    users = {ME: "de", **dict.fromkeys(range(2, 6), "de"), **dict.fromkeys(range(6, 10), "fr")}
    return [
        *(
            clock.event(Kind.USER_CREATE, actor_id=user, country=word.upper(), language=word)
            for user, word in users.items()
        ),
        *follows(clock, dict.fromkeys(range(2, 10), (PAT,))),
        *follows(clock, dict.fromkeys(range(2, 5), (QUE,))),
        *follows(clock, dict.fromkeys(range(5, 10), (ROB,))),
    ]


@N_SHARDS
def test_popular_by_country_and_language(n_shards: int) -> None:
    query = query_of(locales(Clock()), n_shards)
    found = accounts_of(LocalePopular(), query)
    scores = {name: [row[:2] for row in shown(accounts)] for name, accounts in found.items()}
    assert scores["pop_country"] == [(PAT, 4.0), (QUE, 3.0), (ROB, 1.0)]
    everywhere = [(PAT, 8.0), (ROB, 5.0), (QUE, 3.0)]
    assert scores["top_organic_follows"] == scores["pop_country_backfill"] == everywhere
    # Of 16 follows 8 are by Germans, 3 of Que, all by Germans. Pat is known to all alike.
    assert scores["ppmi_locale_follow"] == [(QUE, round(log(3 * 16 / (3 * 8)), 6))]


def test_ppmi_is_no_less_than_zero() -> None:
    ids, counts = LocaleFollows().user_ids, LocaleFollows().everywhere
    assert ppmi(LocaleFollows(ids, counts, counts, counts)).tolist() == []


@N_SHARDS
def test_old_follows_and_unfollows_do_not_count(n_shards: int) -> None:
    clock = Clock()
    old = Clock(NOW_MS - 31 * DAY_MS)
    old._last_id = 500
    world = [*locales(clock), *follows(old, dict.fromkeys(range(2, 9), (SUE,)))]
    world += [clock.edge(Kind.UNFOLLOW, user, PAT) for user in range(2, 9)]
    found = accounts_of(LocalePopular(), query_of(world, n_shards))["top_organic_follows"]
    assert found.user_ids.tolist() == [ROB, QUE, PAT]


def test_whoever_follows_many_needs_no_popular_ones() -> None:
    clock = Clock()
    world = [*locales(clock), *follows(clock, {ME: range(1_000, 1_050)})]
    found = accounts_of(LocalePopular(), query_of(world))
    assert "pop_country" not in found
    assert "pop_country_backfill" not in found
    assert PAT in found["top_organic_follows"].user_ids.tolist()


def test_counts_are_made_anew_each_minute() -> None:
    clock = Clock()
    states = states_of(locales(clock), 4, settings_of())
    query = asked_of(states)
    before = shown(accounts_of(LocalePopular(), query)["top_organic_follows"])
    apply(states, follows(clock, {ME: [SUE]}), offset=2)
    assert shown(accounts_of(LocalePopular(), query)["top_organic_follows"]) == before
    query.now_ms += 60_000
    after = accounts_of(LocalePopular(), query)["top_organic_follows"]
    # The viewer follows Sue, but the ties of the query's viewer are read anew as well.
    assert SUE not in after.user_ids.tolist()
    other = asked_of(states, viewer=2)
    other.now_ms += 60_000
    assert SUE in accounts_of(LocalePopular(), other)["top_organic_follows"].user_ids.tolist()


def test_nobody_is_asked_for_accounts_that_do_not_count() -> None:
    clock = Clock()
    followed = range(1_000, 1_000 + FEW_FOLLOWS)
    for ids, asked in ((followed[1:], True), (followed, False)):
        query = query_of([*locales(clock), *follows(clock, {ME: list(ids)})])
        seeker = run(query, seek(query))
        finding = LocalePopular().find(replace(seeker, names=("pop_country",)))
        assert (next(finding, None) is not None) == asked


@N_SHARDS
def test_topics_have_authors(n_shards: int) -> None:
    clock = Clock()
    world = [
        clock.edge(Kind.TOPIC_FOLLOW, ME, 7),
        *follows(clock, {ME: [10]}),
        clock.post(100, 20, topics=[7]),
        clock.post(101, 20, topics=[7]),
        clock.post(102, 21, topics=[7]),
        clock.post(103, 22, topics=[8]),
        clock.post(104, 10, topics=[7]),
        clock.post(105, 23, topics=[7], time_ms=NOW_MS - 8 * DAY_MS),
        *(clock.on_post(Kind.FAVOURITE, user, 102, 21) for user in (30, 31, 32)),
    ]
    found = accounts_of(TopicAccounts(), query_of(world, n_shards))["topic_accounts"]
    assert [row[:2] for row in shown(found)] == [(21, 4.0), (20, 2.0)]


@N_SHARDS
def test_authors_of_popular_posts(n_shards: int) -> None:
    clock = Clock()
    world = [clock.post(100 + k, 20 + k % 3) for k in range(6)]
    world += [clock.on_post(Kind.FAVOURITE, user, 102, 22) for user in (30, 31, 32)]
    world += [clock.on_post(Kind.FAVOURITE, user, 104, 21) for user in (30, 31)]
    found = accounts_of(TweetAuthors(), query_of(world, n_shards))["tweet_authors"]
    assert found.user_ids.tolist() == [22, 21, 20]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.names[0])
def test_nothing_comes_of_nothing(source: LocalePopular) -> None:
    assert not sum(map(len, accounts_of(source, query_of([], 4)).values()))
