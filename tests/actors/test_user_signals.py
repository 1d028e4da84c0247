"""Signals against a model that walks through the events of a user, one by one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.edges import NO_PROOF_OF_ONESELF
from actors.graph_questions import AskSignals, user_signals
from actors.router import LocalRouter, Router, shards_of
from actors.signal_types import (
    DAY_MS,
    FEEDBACK,
    RULES,
    Clicked,
    Engaged,
    Negative,
    ProfileClicked,
    Scored,
    Tied,
    Unified,
    Visited,
    Watched,
    Written,
)
from actors.signal_types import SignalType as S
from actors.stays import Stays
from actors.user_signals import Signals, finish
from cluster.events import UNDONE_BY, Kind
from cluster.settings import Settings
from tests.worlds import NOW_MS, USERS, Clock, Event, PartialRouter, states_of

ME, FRIEND, OTHER, STRANGER = USERS[0], USERS[2], USERS[4], USERS[6]
ALL = dict.fromkeys(S)
SCORES = (np.array([FRIEND, OTHER, STRANGER]), np.array([0.5, -1.0, 0.7]))


def asked(router: Router, **given: Any) -> Signals:
    return user_signals(router, ME, given.pop("limits", ALL), now_ms=NOW_MS, timeout_s=1, **given)


def targets(found: Signals) -> dict[S, list[int]]:
    """What is not empty."""
    return {k: one.target_ids.tolist() for k, one in found.lists.items() if len(one.target_ids)}


def router_of(events: list[Event], n_shards: int = 4, **given: Any) -> LocalRouter:
    return LocalRouter(states_of(events, n_shards, **given))


def favoured(clock: Clock, post_id: int, author_id: int, times: int) -> list[Event]:
    return [clock.on_post(Kind.FAVOURITE, 5_000 + k, post_id, author_id) for k in range(times)]


def test_engagements() -> None:
    clock = Clock()
    events = [
        *favoured(clock, 10, FRIEND, 9),
        *favoured(clock, 11, FRIEND, 8),
        clock.on_post(Kind.FAVOURITE, ME, 10, FRIEND),
        clock.on_post(Kind.FAVOURITE, ME, 11, FRIEND),
        clock.on_post(Kind.FAVOURITE, ME, 12, OTHER),
        clock.on_post(Kind.UNFAVOURITE, ME, 12, OTHER),
        clock.post(20, ME),
        clock.post(21, ME, reply_to_id=11, reply_to_author_id=FRIEND),
        clock.post(22, ME, quote_of_id=10, quote_of_author_id=FRIEND),
        clock.on_post(Kind.SHARE, ME, 12, OTHER),
        clock.on_post(Kind.NOTIFICATION_OPEN, ME, 13, OTHER),
        clock.on_post(Kind.NOTIFICATION_OPEN, ME, 14, OTHER),
        clock.on_post(Kind.REPORT, ME, 14, OTHER),
        clock.on_post(Kind.SHOW_LESS, ME, 15, FRIEND),
        clock.on_post(Kind.NOT_INTERESTED, ME, 16, FRIEND),
        clock.on_post(Kind.UNDO_NOT_INTERESTED, ME, 16, FRIEND),
    ]
    found = targets(asked(router_of(events)))
    assert found == {
        S.TWEET_FAVORITE: [10],
        S.TWEET_FAVORITE_90D: [11, 10],
        S.RETWEET: [10],
        S.RETWEET_90D: [10],
        S.ORIGINAL_TWEET: [20],
        S.ORIGINAL_TWEET_90D: [20],
        S.REPLY: [11],
        S.REPLY_90D: [11],
        S.TWEET_SHARE: [12],
        S.NOTIFICATION_OPEN: [13],
        S.NEGATIVE_TWEET: [15, 14],
        S.NEGATIVE_USER: [FRIEND, OTHER],
        S.TWEET_SEE_FEWER: [15],
        S.TWEET_REPORT: [14],
        # Reposted 2 + favoured 1; shared 2 before replied 2; the own post 1.
        S.TWEET_BY_ENGAGEMENT: [10, 12, 11, 20],
    }


def test_every_engagement_passes_the_quarter_by_itself() -> None:
    old, new = Clock(NOW_MS - 100 * DAY_MS), Clock()
    events = [
        old.on_post(Kind.REPLY, ME, 10, FRIEND),
        new.on_post(Kind.REPLY, ME, 11, FRIEND, event_id=7),
    ]
    found = targets(asked(router_of(events)))
    assert (found[S.REPLY], found[S.REPLY_90D]) == ([11, 10], [11])


def test_how_long_one_stayed() -> None:
    clock = Clock()

    def on(kind: Kind, post: int, author: int, value: float) -> Event:
        return clock.on_post(kind, ME, post, author, value=value)

    events = [
        *(on(Kind.CLICK, 10, FRIEND, ms) for ms in (1_500, 1_000)),
        on(Kind.CLICK, 11, FRIEND, 31_000),
        on(Kind.CLICK, 12, OTHER, 31_000),
        on(Kind.SHOW_LESS, 12, OTHER, 0),
        *(clock.post(20 + k, FRIEND, video_duration_ms=ms) for k, ms in enumerate([9_000, 60_000])),
        clock.post(22, STRANGER, video_duration_ms=12_000),
        on(Kind.VIDEO_WATCH, 20, FRIEND, 9_000),
        on(Kind.VIDEO_WATCH, 21, FRIEND, 10_000),
        *(on(Kind.VIDEO_WATCH, 22, STRANGER, 6_000) for _ in range(2)),
        clock.event(Kind.PROFILE_CLICK, actor_id=ME, author_id=STRANGER, value=12_000),
        clock.event(Kind.PROFILE_CLICK, actor_id=ME, author_id=FRIEND, value=12_000),
        clock.on_post(Kind.PROFILE_CLICK, ME, 10, FRIEND, value=9_000),
        clock.event(Kind.PROFILE_CLICK, actor_id=ME, author_id=OTHER, value=60_000),
        clock.edge(Kind.MUTE, ME, FRIEND),
    ]
    found = asked(router_of(events))
    shown = targets(found)
    assert shown[S.GOOD_TWEET_CLICK_2S] == [11, 10]
    assert shown[S.GOOD_TWEET_CLICK_5S] == [11]
    assert shown[S.GOOD_TWEET_CLICK_30S] == [11]
    # Ten seconds, or 95 % of it; half of it; and never a short video.
    assert shown[S.VIDEO_QUALITY_VIEW_90D] == [21]
    assert shown[S.VIDEO_PLAYBACK_50_90D] == [22]
    assert shown[S.GOOD_PROFILE_CLICK_10S] == [FRIEND, STRANGER]
    assert shown[S.GOOD_PROFILE_CLICK_20S] == [FRIEND]
    assert shown[S.GOOD_PROFILE_CLICK_10S_FILTERED] == [STRANGER]
    assert S.GOOD_PROFILE_CLICK_30S not in shown
    assert found.lists[S.GOOD_PROFILE_CLICK_20S].values.tolist() == [21_000]
    assert shown[S.TWEET_BY_ENGAGEMENT] == [21]


def test_accounts() -> None:
    clock = Clock()

    def visit(author: int, times: int) -> list[Event]:
        click = Kind.PROFILE_CLICK
        return [clock.event(click, actor_id=ME, author_id=author) for _ in range(times)]

    events = [
        clock.edge(Kind.FOLLOW, ME, FRIEND),
        clock.edge(Kind.FOLLOW, ME, OTHER),
        clock.edge(Kind.FOLLOW, ME, 71, time_ms=NOW_MS - 60_000, event_id=900),
        clock.edge(Kind.FOLLOW, ME, 72, time_ms=NOW_MS - 91 * DAY_MS, event_id=901),
        clock.edge(Kind.MUTE, ME, 73),
        clock.edge(Kind.BLOCK, ME, 74),
        *(visit(FRIEND, 3) + visit(73, 7) + visit(74, 2) + visit(75, 3) + visit(76, 1)),
        clock.on_post(Kind.REPORT, ME, 14, STRANGER),
    ]
    found = asked(router_of(events), scores=SCORES)
    shown = targets(found)
    assert shown[S.ACCOUNT_FOLLOW] == [71, OTHER, FRIEND]
    assert shown[S.ACCOUNT_FOLLOW_WITH_DELAY] == [OTHER, FRIEND]
    assert (shown[S.ACCOUNT_MUTE], shown[S.ACCOUNT_BLOCK]) == ([73], [74])
    assert shown[S.REPEATED_PROFILE_VISIT_14D] == [73, 75, 74]
    assert found.lists[S.REPEATED_PROFILE_VISIT_14D].values.tolist() == [7, 3, 2]
    assert shown[S.REPEATED_PROFILE_VISIT_90D] == [73]
    assert shown[S.REPEATED_PROFILE_VISIT_14D_NO_NEGATIVE] == [75]
    assert S.REPEATED_PROFILE_VISIT_90D_NO_NEGATIVE not in shown
    # Followed, negative, and reported: nobody is left.
    assert S.REAL_GRAPH_OON not in shown
    assert shown[S.PRODUCER_BY_ENGAGEMENT] == [71, OTHER, FRIEND, 73]
    unfollowed = [clock.edge(Kind.UNFOLLOW, ME, FRIEND)]
    scored = targets(asked(router_of(events[:2] + unfollowed), scores=SCORES))
    assert scored[S.REAL_GRAPH_OON] == [STRANGER, FRIEND]


def label(author: int, name: str, value: float = 1.0, **more: Any) -> Event:
    event = {"kind": Kind.SAFETY_LABEL.label, "author_id": author, "label": name, "value": value}
    return {**event, "time_ms": NOW_MS - 2_000, **more}


def test_accounts_of_adult_content_are_visited_for_no_signal() -> None:
    clock = Clock()
    click = Kind.PROFILE_CLICK
    visits = [
        clock.event(click, actor_id=ME, author_id=author)
        for author in (FRIEND, OTHER, STRANGER, 71, 72)
        for _ in range(6)
    ]
    labels = [
        label(FRIEND, "nsfw_admin", event_id=901),
        label(OTHER, "p_nsfw_media", 0.95, event_id=902),
        # Neither what is short of certain, nor other labels, nor a post's own, make an account so.
        label(STRANGER, "p_nsfw_media", 0.6, event_id=903),
        label(71, "toxicity", event_id=904),
        label(72, "nsfw", event_id=905, post_id=10),
    ]
    kinds = [kind for kind, rule in RULES.items() if isinstance(rule, Visited)]
    for n_shards in (1, 4):
        found = targets(asked(router_of([*visits, *labels], n_shards)))
        assert {kind: sorted(found[kind]) for kind in kinds} == {
            kind: sorted([STRANGER, 71, 72]) for kind in kinds
        }
        assert sorted(found[S.PRODUCER_BY_ENGAGEMENT]) == sorted([STRANGER, 71, 72])
    unlabelled = {"kind": Kind.SAFETY_UNLABEL.label, "author_id": FRIEND, "label": "nsfw_admin"}
    again = [*visits, *labels, {**unlabelled, "time_ms": NOW_MS - 1_000, "event_id": 906}]
    assert FRIEND in targets(asked(router_of(again)))[S.REPEATED_PROFILE_VISIT_14D]


def test_an_account_of_which_nobody_tells_is_left_out() -> None:
    clock = Clock()
    visits = [
        clock.event(Kind.PROFILE_CLICK, actor_id=ME, author_id=author)
        for author in (FRIEND, STRANGER)
        for _ in range(2)
    ]
    home, away = shards_of(np.array([FRIEND, STRANGER]), 4).tolist()
    mine = int(shards_of(np.array([ME]), 4)[0])
    assert away not in (home, mine)
    found = asked(PartialRouter(states_of(visits, 4), missing=[away]))
    assert targets(found)[S.REPEATED_PROFILE_VISIT_14D] == [FRIEND]


def test_limits_cut_after_the_filters() -> None:
    clock = Clock()
    events = [e for post in (10, 11, 12) for e in favoured(clock, post, FRIEND, 10)]
    events += [clock.on_post(Kind.FAVOURITE, ME, post, FRIEND) for post in (10, 11, 12, 13, 14)]
    found = asked(router_of(events), limits={S.TWEET_FAVORITE: 2, S.TWEET_FAVORITE_90D: 0})
    assert found.lists[S.TWEET_FAVORITE].target_ids.tolist() == [12, 11]
    assert found.lists[S.TWEET_FAVORITE_90D].target_ids.tolist() == []
    assert set(found.lists) == {S.TWEET_FAVORITE, S.TWEET_FAVORITE_90D}


def test_what_cannot_be_made_is_empty_and_named() -> None:
    events = [Clock().on_post(Kind.REPLY, ME, 10, FRIEND)]
    found = asked(router_of(events))
    assert list(found.failed) == [S.REAL_GRAPH_OON]
    graph_only = Settings(shards={"kinds": ("graph",)})  # type: ignore[arg-type]
    some = asked(router_of(events, 1, settings=graph_only))
    assert set(some.failed) == {S.REAL_GRAPH_OON, S.ORIGINAL_TWEET, S.ORIGINAL_TWEET_90D}
    assert some.lists[S.REPLY].target_ids.tolist() == [10]
    dead = asked(PartialRouter(states_of(events, 4), missing=range(4)))
    assert set(dead.failed) == set(S)
    assert set(dead.failed.values()) == {"dead"}
    assert targets(dead) == {}
    # The posts' shards are down: what has to pass a test there does not.
    [state] = states_of([Clock().on_post(Kind.FAVOURITE, ME, 10, FRIEND)])
    [raw] = state.ask([AskSignals(ME, (S.TWEET_FAVORITE,), NOW_MS)])
    assert raw.lists[S.TWEET_FAVORITE].target_ids.tolist() == [10]
    assert targets(finish(raw, {S.TWEET_FAVORITE: None}, None)) == {}


def test_stays_are_kept_and_forgotten() -> None:
    clock = Clock()
    events = [clock.on_post(Kind.CLICK, ME, 10 + k, FRIEND, value=100) for k in range(4)]
    [state] = states_of(events)
    stays = state.graph.stays
    again = Stays()
    again.restore(stays.columns())
    for kept in (stays, again):
        assert sorted(kept.of(ME, Kind.CLICK).ids.tolist()) == [10, 11, 12, 13]
        assert kept.of(ME, Kind.PROFILE_CLICK).ids.tolist() == []
    first_ms = clock.now_ms - 3
    again.expire(first_ms)
    assert len(again) == 4
    again.expire(first_ms + 2)
    assert sorted(again.of(ME, Kind.CLICK).ids.tolist()) == [12, 13]
    Stays().expire(first_ms)


# Against a slow model.

AUTHORS = (FRIEND, OTHER, STRANGER, ME)
POST_IDS = tuple(range(100, 108))
_KINDS = (
    *(Kind.FAVOURITE, Kind.UNFAVOURITE, Kind.REPOST, Kind.UNREPOST, Kind.QUOTE, Kind.REPLY),
    *(Kind.SHARE, Kind.CLICK, Kind.VIDEO_WATCH, Kind.PROFILE_CLICK, Kind.NOTIFICATION_OPEN),
    *(*FEEDBACK, Kind.UNDO_REPORT, Kind.UNDO_SHOW_LESS),
)
_EDGES = (Kind.FOLLOW, Kind.UNFOLLOW, Kind.MUTE, Kind.BLOCK, Kind.UNBLOCK)
_AGES = st.sampled_from([0, 60_000, DAY_MS, 15 * DAY_MS, 89 * DAY_MS, 91 * DAY_MS, 200 * DAY_MS])


def author_of(post: int) -> int:
    return AUTHORS[post % len(AUTHORS)]


@st.composite
def lives(draw: st.DrawFn) -> list[Event]:
    """What a user did over 200 days, and the posts it concerns."""
    events: list[Event] = []
    for post in POST_IDS:
        event: Event = {"kind": "post_create", "post_id": post, "author_id": author_of(post)}
        event |= draw(st.sampled_from([{}, {"video_duration_ms": 9_000}]))
        event |= draw(st.sampled_from([{}, {"video_duration_ms": 20_000}]))
        events.append(event)
        n = draw(st.sampled_from([8, 9, 10, 12]))
        events += [
            {**_on(Kind.FAVOURITE, 5_000 + k, post), "time_ms": NOW_MS - 5} for k in range(n)
        ]
    for _ in range(draw(st.integers(0, 40))):
        if draw(st.integers(0, 4)) == 0:
            edge = {"actor_id": ME, "target_id": draw(st.sampled_from(AUTHORS[:3]))}
            events.append({"kind": draw(st.sampled_from(_EDGES)).label, **edge})
            continue
        kind = draw(st.sampled_from(_KINDS))
        event = _on(kind, ME, draw(st.sampled_from(POST_IDS)))
        if kind in (Kind.CLICK, Kind.VIDEO_WATCH, Kind.PROFILE_CLICK):
            event["value"] = float(draw(st.sampled_from([0, 2_000, 4_999, 10_000, 19_500])))
        events.append(event)
    if draw(st.booleans()):
        events.append(label(draw(st.sampled_from(AUTHORS[:3])), "nsfw_admin"))
    for event_id, event in enumerate(events, 1):
        event["event_id"] = event_id
        event.setdefault("time_ms", NOW_MS - draw(_AGES) - draw(st.integers(0, 3)))
    return sorted(events, key=lambda event: (event["time_ms"], event["event_id"]))


def _on(kind: Kind, actor: int, post: int) -> Event:
    ids = {"actor_id": actor, "post_id": post, "author_id": author_of(post)}
    return {"kind": kind.label, **ids}


def _newest(one: tuple[int, int, float]) -> tuple[int, int]:
    return -one[1], -one[0]


class Model:
    """All lists, the slow way: (target, time, value) each."""

    def __init__(self, events: list[Event]) -> None:
        self.events = events
        self.mine = [e for e in events if e.get("actor_id") == ME]
        self.relations = {
            "follows": self._on("follow"),
            "mutes": self._on("mute"),
            "blocks": self._on("block"),
        }

    def _on(self, name: str) -> dict[int, int]:
        since: dict[int, int] = {}
        for e in self.mine:
            if e["kind"] == name:
                since[e["target_id"]] = e["time_ms"]
            if e["kind"] == f"un{name}":
                since.pop(e["target_id"], None)
        return since

    def standing(self, kinds: tuple[Kind, ...], window_ms: int) -> dict[int, int]:
        found: dict[int, int] = {}
        for kind in kinds:
            words: dict[int, tuple[int, bool]] = {}
            for e in self.mine:
                said = Kind[e["kind"].upper()]
                if kind in NO_PROOF_OF_ONESELF and e.get("author_id") == ME:
                    continue
                if said is kind or UNDONE_BY.get(said) is kind:
                    word = (e["time_ms"], said is not kind)
                    words[e["post_id"]] = max(words.get(e["post_id"], (0, False)), word)
            for post, (time_ms, undone) in words.items():
                if not undone and time_ms >= NOW_MS - window_ms:
                    found[post] = max(found.get(post, 0), time_ms)
        return found

    def stayed(self, kind: Kind) -> dict[int, tuple[int, float]]:
        found: dict[int, tuple[int, float]] = {}
        for e in self.mine:
            if e["kind"] == kind.label:
                target = e["author_id"] if kind is Kind.PROFILE_CLICK else e["post_id"]
                time_ms, ms = found.get(target, (0, 0.0))
                value = e.get("value", 0.0)
                ms = max(ms, value) if kind is Kind.VIDEO_WATCH else ms + value
                found[target] = max(time_ms, e["time_ms"]), ms
        return found

    def favourites(self, post: int) -> int:
        change = {"favourite": 1, "unfavourite": -1}
        return sum(change.get(e["kind"], 0) for e in self.events if e.get("post_id") == post)

    def duration(self, post: int) -> int:
        created = (e for e in self.events if e["kind"] == "post_create" and e["post_id"] == post)
        return int(next(created).get("video_duration_ms", 0))

    def of(self, kind: S) -> list[tuple[int, int, float]]:
        rule = RULES[kind]
        negative = self.standing(FEEDBACK, 90 * DAY_MS)
        hidden = {author_of(post) for post in negative}
        silent = {*self.relations["mutes"], *self.relations["blocks"]}
        found: list[tuple[int, int, float]] = []
        order: Callable[[tuple[int, int, float]], Any] = _newest
        if isinstance(rule, Engaged):
            out = self.standing(rule.without, 90 * DAY_MS)
            for post, time_ms in self.standing(rule.kinds, rule.window_ms).items():
                if post not in out and self.favourites(post) >= rule.min_favourites:
                    found.append((post, time_ms, 0.0))
        elif isinstance(rule, Written):
            for e in self.events:
                own = e["kind"] == "post_create" and e["author_id"] == ME
                if own and e["time_ms"] >= NOW_MS - rule.window_ms:
                    found.append((e["post_id"], e["time_ms"], 0.0))
        elif isinstance(rule, Clicked):
            for post, (time_ms, ms) in self.stayed(Kind.CLICK).items():
                if ms >= rule.min_ms and post not in negative:
                    found.append((post, time_ms, ms))
        elif isinstance(rule, Watched):
            for post, (time_ms, ms) in self.stayed(Kind.VIDEO_WATCH).items():
                length = self.duration(post)
                enough = ms >= rule.min_share * length or (rule.or_ms and ms >= rule.or_ms)
                recent = time_ms >= NOW_MS - rule.window_ms
                if enough and length >= 10_000 and recent and post not in negative:
                    found.append((post, time_ms, ms))
        elif isinstance(rule, ProfileClicked):
            for author, (time_ms, ms) in self.stayed(Kind.PROFILE_CLICK).items():
                out_too = rule.filtered and author in silent
                if ms >= rule.min_ms and author not in hidden and not out_too:
                    found.append((author, time_ms, ms))
        elif isinstance(rule, Tied):
            for other, time_ms in self.relations[rule.relation].items():
                if NOW_MS - rule.window_ms <= time_ms <= NOW_MS - rule.delay_ms:
                    found.append((other, time_ms, 0.0))
        elif isinstance(rule, Visited):
            for author in AUTHORS[:3]:
                times = [
                    e["time_ms"]
                    for e in self.mine
                    if (e["kind"], e.get("author_id")) == ("profile_click", author)
                    and e["time_ms"] >= NOW_MS - rule.window_ms
                ]
                out_too = rule.no_negative and author in silent
                out_too |= any(
                    (e["kind"], e.get("author_id")) == ("safety_label", author) for e in self.events
                )
                follows = author in self.relations["follows"]
                if len(times) >= rule.min_visits and not follows and not out_too:
                    found.append((author, max(times), float(len(times))))
            order = lambda one: (-one[2], -one[1], one[0])  # noqa: E731
        elif isinstance(rule, Negative):
            for post, time_ms in self.standing(rule.kinds, rule.window_ms).items():
                found.append((author_of(post) if rule.authors else post, time_ms, 0.0))
            found = [one for one in found if one[1] == max(o[1] for o in found if o[0] == one[0])]
            found = list(dict.fromkeys(found))
        elif isinstance(rule, Scored):
            for author, score in zip(*(column.tolist() for column in SCORES), strict=True):
                if score >= 0 and author not in hidden | set(self.relations["follows"]):
                    found.append((author, 0, score))
            order = lambda one: (-one[2], one[0])  # noqa: E731
        elif isinstance(rule, Unified):
            sums: dict[int, tuple[int, float]] = {}
            for part, weight in rule.weights:
                for target, time_ms, _ in self.of(part):
                    latest, total = sums.get(target, (0, 0.0))
                    sums[target] = max(latest, time_ms), total + weight
            found = [(target, *rest) for target, rest in sums.items()]
            order = lambda one: (-one[2], -one[1], one[0])  # noqa: E731
        return sorted(found, key=order)


@settings(max_examples=60)
@given(lives(), st.sampled_from([1, 4]))
def test_all_signals_against_the_model(events: list[Event], n_shards: int) -> None:
    router = router_of(events, n_shards)
    found = asked(router, scores=SCORES)
    assert not found.failed
    model = Model(events)
    for kind, one in found.lists.items():
        shown = list(
            zip(one.target_ids.tolist(), one.times_ms.tolist(), one.values.tolist(), strict=True)
        )
        assert shown == model.of(kind), kind
        accounts = isinstance(RULES[kind], Tied | Visited | ProfileClicked | Scored)
        accounts |= kind in (S.NEGATIVE_USER, S.PRODUCER_BY_ENGAGEMENT)
        expected = one.target_ids.tolist() if accounts else [author_of(t) for t, _, _ in shown]
        assert one.author_ids.tolist() == expected


def test_every_type_is_in_the_catalogue() -> None:
    assert set(RULES) == set(S)
    never = [kind for kind, rule in RULES.items() if rule is None]
    assert S.AD_FAVORITE in never
    assert S.TRAFFIC_ATTRIBUTION in never
    with pytest.raises(KeyError):
        RULES[99]  # type: ignore[index]
