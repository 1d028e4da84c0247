"""Previews of subscribers' posts and creators to subscribe to, on whole pages."""

from typing import Any

import numpy as np
import pytest

from actors.creator_questions import AskCreators, FoundCreators
from actors.router import Gathered, LocalRouter, Wave, shards_of
from cluster.events import Kind
from cluster.mixer_settings import MixerSettings
from cluster.settings import Settings, load
from tests.timeline.candidate_rows import query
from tests.worlds import (
    HOUR_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    PartialRouter,
    states_of,
    timelines_of,
)
from timeline import modules
from timeline.gates import Moment
from timeline.mixer import Neighbour, mix
from timeline.modules import Module
from timeline.pages import Page

VIEWER, FRIENDS, STRANGER = USERS[0], USERS[1:6], USERS[6]
CREATOR = FRIENDS[0]
TEXT = "a long story " * 10
RULES = MixerSettings()
HOMES_OF_FRIENDS = shards_of(np.array(FRIENDS), 4).tolist()


def world(clock: Clock, *more: Event, creators: int = 1) -> list[Event]:
    """The viewer follows five accounts, some of which are creators; so is a stranger."""
    return [
        *(clock.edge(Kind.FOLLOW, VIEWER, friend) for friend in FRIENDS),
        *(
            clock.event(Kind.USER_CREATE, actor_id=user, creator=True)
            for user in FRIENDS[:creators]
        ),
        clock.event(Kind.USER_CREATE, actor_id=STRANGER, creator=True),
        *(clock.post(100 + k, FRIENDS[k % 5]) for k in range(10)),
        *more,
    ]


def exclusive(clock: Clock, post_id: int, author: int = CREATOR, **given: Any) -> Event:
    return clock.post(post_id, author, text=TEXT, exclusive=True, **given)


def page(*events: Event, n_shards: int = 1, product: str = "for_you", **settings: Any) -> Page:
    states = states_of(events, n_shards, load(**settings) if settings else None)
    return getattr(timelines_of(states), product)(VIEWER, 10, now_ms=NOW_MS)  # type: ignore[no-any-return]


def named(page: Page, name: str) -> tuple[int, Module] | None:
    """A module of a page, and its index."""
    found = [
        (one.index, one.content)
        for one in page.between
        if isinstance(one.content, Module) and one.content.name == name
    ]
    return found[0] if found else None


def previewed(page: Page) -> int:
    found = named(page, "post_preview")
    return found[1].post_ids[0] if found else 0


@pytest.mark.parametrize("n_shards", [1, 4])
def test_the_newest_post_for_subscribers_is_previewed_at_index_three(n_shards: int) -> None:
    clock = Clock()
    events = world(
        clock, exclusive(clock, 50), exclusive(clock, 51), exclusive(clock, 52, STRANGER)
    )
    made = page(*events, n_shards=n_shards)
    found = named(made, "post_preview")
    assert found is not None
    index, module = found
    assert (module.position, module.post_ids, module.user_ids) == (3, (51,), (CREATOR,))
    # A prompt at index 0 comes later and moves it.
    assert index == 3 + (named(made, "prompt_accounts") is not None)
    assert 51 not in [item.post_id for item in made.items]
    assert made.degraded == []
    assert previewed(page(*events, product="following")) == 0


def choice(clock: Clock, kind: Kind, **given: Any) -> Event:
    return clock.event(kind, actor_id=VIEWER, **given)


FORBIDDEN: dict[str, Any] = {
    "subscribed": lambda c: [choice(c, Kind.SUBSCRIBE, target_id=CREATOR)],
    "not followed": lambda c: [
        choice(c, Kind.UNFOLLOW, target_id=CREATOR) | {"time_ms": NOW_MS - 1}
    ],
    "blocked": lambda c: [choice(c, Kind.BLOCK, target_id=CREATOR)],
    "blocked by": lambda c: [c.edge(Kind.BLOCK, CREATOR, VIEWER)],
    "muted": lambda c: [choice(c, Kind.MUTE, target_id=CREATOR)],
    "muted word": lambda c: [choice(c, Kind.KEYWORD_MUTE, keyword="story")],
    "seen": lambda c: [c.on_post(Kind.IMPRESSION, VIEWER, 50, CREATOR)],
    "disliked": lambda c: [c.on_post(Kind.NOT_INTERESTED, VIEWER, 50, CREATOR)],
    "reported": lambda c: [c.on_post(Kind.REPORT, VIEWER, 50, CREATOR)],
    "deleted": lambda c: [c.event(Kind.POST_DELETE, post_id=50, author_id=CREATOR)],
    "gone": lambda c: [c.event(Kind.USER_SUSPEND, actor_id=CREATOR)],
    "labelled": lambda c: [
        c.event(Kind.SAFETY_LABEL, post_id=50, author_id=CREATOR, label="nsfw_high_precision")
    ],
    "another language": lambda c: [choice(c, Kind.PREFERENCE, name="language:fr", value=1)],
    "muted topic": lambda c: [choice(c, Kind.TOPIC_MUTE, target_id=7)],
    "lately": lambda c: [choice(c, Kind.MODULE_SERVED, name="post_preview")],
    "dismissed": lambda c: [choice(c, Kind.DISMISS, name="post_preview")],
}


def test_without_any_of_these_it_is_previewed() -> None:
    clock = Clock()
    assert previewed(page(*world(clock, exclusive(clock, 50, language="de", topics=[7])))) == 50


@pytest.mark.parametrize("why", FORBIDDEN)
def test_what_is_not_previewed(why: str) -> None:
    clock = Clock()
    post = exclusive(clock, 50, language="de", topics=[7])
    assert previewed(page(*world(clock, post, *FORBIDDEN[why](clock)))) == 0


def test_after_two_hours_there_is_another() -> None:
    clock = Clock(NOW_MS - 3 * HOUR_MS)
    served = choice(clock, Kind.MODULE_SERVED, name="post_preview")
    events = world(clock, exclusive(clock, 50))
    for ago_ms, expected in ((2 * HOUR_MS - 1, 0), (2 * HOUR_MS, 50)):
        made = page(*events, served | {"time_ms": NOW_MS - ago_ms})
        assert previewed(made) == expected


def test_creators_to_subscribe_to_are_three_at_least_the_closest_first() -> None:
    clock = Clock()
    likes = [
        clock.on_post(Kind.FAVOURITE, VIEWER, 100 + k, FRIENDS[k]) for k in (2, 3) for _ in range(k)
    ]
    for creators, expected in ((2, None), (4, 4)):
        made = page(*world(clock, *likes, creators=creators), n_shards=4)
        found = named(made, "who_to_subscribe")
        if expected is None:
            assert found is None
            continue
        assert found is not None
        _, module = found
        assert module.position == 7
        assert sorted(module.user_ids) == sorted(FRIENDS[:4])
        assert set(module.user_ids[:2]) == {FRIENDS[2], FRIENDS[3]}
        engage, follow = "you engage with their posts", "you follow them"
        assert module.because == (engage, engage, follow, follow)
    subscribed = [choice(clock, Kind.SUBSCRIBE, target_id=friend) for friend in FRIENDS[:2]]
    made = page(*world(clock, *subscribed, creators=4))
    assert named(made, "who_to_subscribe") is None
    made = page(
        *world(clock, *subscribed, creators=4), mixer={"who_to_subscribe": {"min_items": 2}}
    )
    assert named(made, "who_to_subscribe") is not None


def test_the_modules_stand_in_the_published_order() -> None:
    made = [
        Module("prompt", "prompt_topics", 0, ""),
        Module("topics", "topics", RULES.topics.position, ""),
        Module("who_to_subscribe", "who_to_subscribe", RULES.who_to_subscribe.position, ""),
        Module("who_to_follow", "who_to_follow", RULES.who_to_follow.position, ""),
        Module("post_preview", "post_preview", RULES.post_preview.position, ""),
    ]
    posts = list(range(12))
    entries = mix(posts, made, [], [Neighbour()] * len(posts), RULES.ads)
    at = {one.name: place for place, one in enumerate(entries) if isinstance(one, Module)}
    assert at == {
        **{"prompt_topics": 0, "post_preview": 4, "who_to_follow": 6},
        **{"who_to_subscribe": 8, "topics": 10},
    }


class Listener:
    """Tells which shards were asked wave by wave, and what they said of creators."""

    def __init__(self, events: list[Event], n_shards: int) -> None:
        self._router = LocalRouter(states_of(events, n_shards))
        self.n_shards = n_shards
        self.waves: list[set[int]] = []
        self.found: list[FoundCreators] = []

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        gathered = self._router.ask(wave, timeout_s)
        self.waves.append(set(wave))
        for shard, questions in wave.items():
            answers = zip(questions, gathered.replies[shard].answers, strict=False)
            self.found += [told for question, told in answers if isinstance(question, AskCreators)]
        return gathered


@pytest.mark.parametrize("creators", [0, 5])
def test_asking_costs_no_wave_and_one_question_a_shard_of_accounts_followed(creators: int) -> None:
    clock = Clock()
    events = world(clock, exclusive(clock, 50), creators=creators)
    waves = {}
    for on in (True, False):
        rules = {"on": on}
        settings = load(mixer={"who_to_subscribe": rules, "post_preview": rules})
        listener = Listener(events, 4)
        made = timelines_of(states_of(events, 4), settings, listener).for_you(
            VIEWER, 10, now_ms=NOW_MS
        )
        assert made.degraded == []
        assert bool(named(made, "post_preview")) == (on and creators > 0)
        assert len(listener.found) == (len(set(HOMES_OF_FRIENDS)) if on else 0)
        waves[on] = listener.waves
        # Shards that know of none say so, and nothing else.
        with_posts = [told for told in listener.found if told.posts is not None]
        assert len(with_posts) == (on and creators > 0)
        assert sum(len(told.creator_ids) for told in listener.found) == creators * on
    assert waves[True] == waves[False]


def test_where_nobody_answers_or_time_is_up_there_is_none_and_it_is_said() -> None:
    clock = Clock()
    states = states_of(world(clock, exclusive(clock, 50)), 4)
    silent = PartialRouter(states)
    asked = query(Settings(), follows=FRIENDS)
    asked.router = silent
    moment = Moment.of(asked, "for_you", first_page=True)
    silent.missing |= {0, 1, 2, 3}
    assert modules.modules_of_creators(asked, moment) == []
    assert asked.degraded == sorted({f"shard_{s}" for s in HOMES_OF_FRIENDS})
    silent.missing.clear()
    late = query(Settings(), follows=FRIENDS)
    late.router, late.beside = silent, {"creators": None}
    assert modules.modules_of_creators(late, moment) == []
    assert late.degraded == ["creators"]
    following = Moment.of(asked, "following", first_page=True)
    assert modules.modules_of_creators(asked, following) == []
