from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.features.aggregate_groups import batch_groups
from actors.features.aggregate_records import code_key, hours_of, weekdays_of
from actors.features.aggregation import AggregateGroup
from actors.models import Models
from cluster.artifacts import ArtifactStore
from cluster.events import Kind
from cluster.ranker_settings import HeavyRankerSettings
from tests.actors.features import slow_aggregates
from tests.actors.features.slow_aggregates import Told
from tests.actors.told_events import LABELS, acts
from tests.training.archives import archived_events, settings_at
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    POSTS,
    USERS,
    Clock,
    Event,
    author_of,
    checked,
    worlds,
)
from training.aggregates import train
from training.job import TrainingError
from training.joined_events import JoinedEvents

TWITTER = HeavyRankerSettings(features="twitter")
PUBLIC = (Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE)
COUNTED = {
    Kind.FAVOURITE: "favorites",
    Kind.REPOST: "reposts",
    Kind.REPLY: "replies",
    Kind.QUOTE: "quotes",
    Kind.CLICK: "clicks",
    Kind.IMPRESSION: "impressions",
}
UNTOLD = {
    *("text_score", "text_length", "hashtags", "mentions", "capitals_share", "link_count"),
    *("has_hashtag", "has_mention", "is_shouted", "has_link", "author_followers"),
}
"""What the slow model leaves to the tests of text statistics and of follows."""
IDS: dict[str, list[int]] = {
    **dict.fromkeys(("viewer_id", "author_id", "original_author_id", "engagers"), USERS),
    "post_id": POSTS,
    "topics": [1, 2, 3],
    "language": [code_key("en"), code_key("de")],
    "country": [code_key("jp"), code_key("us")],
    "hour": list(range(1, 25)),
    "weekday": list(range(1, 8)),
    "lists": [70],
}


def told_by(events: Sequence[Event]) -> list[Told]:
    """Everything that the job counts, each record by looking through all events before it."""
    done = acts(events)
    posts = {e["post_id"]: e for e in events if e["kind"] == "post_create"}
    found = []
    for at, (event, kind, viewer, author, post) in enumerate(done):
        before, labels = done[:at], set(LABELS[kind].split())
        clicks = [
            e["time_ms"] for e, k, v, _, p in before if (k, v, p) == (Kind.CLICK, viewer, post)
        ]
        if kind in (Kind.FAVOURITE, Kind.REPLY) and clicks:
            labels |= {"is_good_clicked"} if event["time_ms"] - clicks[-1] <= DAY_MS else set()
        of_post = [(e, k, v) for e, k, v, _, p in before if post and p == post]
        of_pair = [(e, k, v) for e, k, v, a, _ in before if (v, a) == (viewer, author)]
        features = {
            **_history("post", of_post, event, 60_000, "minutes_since_engaged"),
            **_history("pair", of_pair, event, DAY_MS, "days_since_pair_engaged"),
        }
        features["is_stranger"] = float(
            not any(k in COUNTED and k != Kind.IMPRESSION for _, k, _ in of_pair)
        )
        features["is_popular"] = float(features["post_favorites"] >= 10)
        features["is_discussed"] = float(features["post_replies"] >= 5)
        engagers: list[int] = []
        for _, k, v in of_post:
            if k in PUBLIC and v not in engagers[-8:]:
                engagers.append(v)
        followed = [
            e
            for e in engagers[-8:]
            if e != viewer and _follows(events, viewer, e, event["time_ms"])
        ]
        found.append(_told(events, posts, event, viewer, author, post, labels, features, followed))
        made = posts.get(post, {})
        if made.get("reply_to_author_id") == viewer:
            answer = {
                Kind.IMPRESSION: "is_reply_impressed_by_author",
                Kind.REPLY: "is_reply_replied_by_author",
                Kind.FAVOURITE: "is_reply_favorited_by_author",
            }.get(kind)
            parent = made["reply_to_id"]
            if answer:
                plain = {k: v for k, v in event.items() if k != "position"}
                who = [e for e in _engaged(done[: at + 1], parent) if e != author]
                # What happened in the same batch afterwards is a matter of the batch.
                found.append(_told(events, posts, plain, author, viewer, parent, {answer}, {}, who))
    return found


def _engaged(done: Sequence[tuple[Event, Kind, int, int, int]], post: int) -> list[int]:
    return [v for _, k, v, _, p in done if p == post and k in PUBLIC]


def _history(
    name: str,
    before: Sequence[tuple[Event, Kind, int]],
    event: Event,
    unit_ms: int,
    since: str,
) -> dict[str, float]:
    counts = {
        f"{name}_{what}": float(sum(k == kind for _, k, _ in before))
        for kind, what in COUNTED.items()
    }
    engaged = [e["time_ms"] for e, k, _ in before if k in COUNTED and k != Kind.IMPRESSION]
    return counts | {since: (event["time_ms"] - max(engaged)) / unit_ms if engaged else 0.0}


def _follows(events: Sequence[Event], user: int, other: int, now_ms: int) -> bool:
    changes = [
        e["kind"] == "follow"
        for e in events
        if e["kind"] in ("follow", "unfollow")
        and (e["actor_id"], e["target_id"]) == (user, other)
        and e["time_ms"] < now_ms
    ]
    return bool(changes) and changes[-1]


def _told(
    events: Sequence[Event],
    posts: dict[int, Event],
    event: Event,
    viewer: int,
    author: int,
    post: int,
    labels: set[str],
    features: dict[str, float],
    engagers: list[int],
) -> Told:
    now_ms = event["time_ms"]
    made = posts.get(post, {"time_ms": now_ms})
    if made["time_ms"] >= now_ms:
        made = {}
    features = dict(features)
    keys = {"viewer_id": [viewer], "author_id": [author], "post_id": [post], "lists": []}
    keys["hour"] = hours_of(np.array([now_ms])).tolist()
    keys["weekday"] = weekdays_of(np.array([now_ms])).tolist()
    keys["engagers"] = engagers if made else []
    if made:
        links = {"is_reply": "reply_to_id", "is_quote": "quote_of_id", "is_repost": "repost_of_id"}
        features |= {name: float(link in made) for name, link in links.items()}
        features["is_original"] = float(not any(features[name] for name in links))
        photos, text = made.get("image_count", 0), made.get("text", "")
        features |= {
            "has_photo": photos > 0,
            "has_many_photos": photos > 1,
            "photo_count": photos,
            "has_topic": bool(made.get("topics")),
            "is_short_text": 0 < len(text) < 50,
            "is_fresh": now_ms - made["time_ms"] < HOUR_MS,
            "is_aged": now_ms - made["time_ms"] > DAY_MS,
            "age_hours": (now_ms - made["time_ms"]) / HOUR_MS,
        }
        spoken = next(e["language"] for e in events if e.get("actor_id") == viewer)
        features["is_same_language"] = made.get("language") == spoken
        keys["topics"] = made.get("topics", [])
        keys["language"] = [code_key(made["language"])] if made.get("language") else []
        original = made.get("repost_of_author_id", made.get("quote_of_author_id"))
        keys["original_author_id"] = [original] if original else []
    features["is_in_network"] = _follows(events, viewer, author, now_ms)
    features["is_mutual"] = _follows(events, author, viewer, now_ms)
    users = {e["actor_id"]: e for e in events if e["kind"] == "user_create"}
    keys["country"] = [code_key(users[viewer]["country"])]
    features["is_author_new"] = bool(made)
    features["is_author_verified"] = bool(made) and users[author]["verified"]
    features["is_same_country"] = users[viewer]["country"] == users[author]["country"]
    if "position" in event:
        features["position"] = event["position"] + 1
    return Told(now_ms, frozenset(labels), keys, {k: float(v) for k, v in features.items()})


def _asked(group: AggregateGroup) -> AggregateGroup:
    return replace(group, features=tuple(n for n in group.features if n not in UNTOLD))


def _world(events: Sequence[Event]) -> list[Event]:
    """Users who never change, and posts without edits: batches are told the end of those."""
    users = [
        {
            "kind": "user_create",
            "event_id": 1_000 + at,
            "time_ms": NOW_MS - 4 * DAY_MS,
            "actor_id": user,
            "country": ["jp", "us"][at % 2],
            "language": ["en", "de"][at // 2 % 2],
            "verified": at % 3 == 0,
        }
        for at, user in enumerate(USERS)
    ]
    kept = [e for e in events if e["kind"] != "post_edit" and not e["kind"].startswith("user_")]
    return users + kept


@st.composite
def crowded(draw: st.DrawFn) -> list[Event]:
    """Few people and posts, of whom everybody meets everybody several times."""
    clock = Clock(NOW_MS - 3 * DAY_MS)
    users, posts = USERS[:4], POSTS[:3]
    events = [clock.post(post, author_of(post), topics=[1, 2][: post % 3]) for post in posts]
    for _ in range(draw(st.integers(10, 40))):
        clock.now_ms += draw(st.sampled_from([0, 1_000, HOUR_MS, 9 * HOUR_MS]))
        actor, post = draw(st.sampled_from(users)), draw(st.sampled_from(posts))
        kind = draw(st.sampled_from([*COUNTED, *COUNTED, Kind.FOLLOW, Kind.FOLLOW, Kind.UNFOLLOW]))
        if kind in COUNTED:
            events.append(clock.on_post(kind, actor, post, author_of(post)))
        elif actor != (other := draw(st.sampled_from(users))):
            events.append(clock.edge(kind, actor, other))
    return [event for event in events if event["time_ms"] < NOW_MS]


@settings(max_examples=40, deadline=None)
@given(st.one_of(worlds(span_ms=3 * DAY_MS, max_happenings=40), crowded()), st.data())
def test_the_archive_is_counted_as_the_slow_model_does(
    events: list[Event], data: st.DataObject
) -> None:
    events = _world(events)
    joined = JoinedEvents()
    groups = [_asked(group) for group in batch_groups("twitter")]
    tables = {group.name: group.table(10**8) for group in groups}
    for begin, end in pairwise(sorted({0, len(events), data.draw(st.integers(0, len(events)))})):
        records = joined.records(checked(events[begin:end]))
        for group in groups:
            group.count(tables[group.name], records, records.times_ms)
    told = told_by(events)
    for group in groups:
        expected = slow_aggregates.values(group, told, NOW_MS)
        found = {}
        for ids in product(*(IDS[name] for name in group.keys)):
            found[ids] = tables[group.name].read(
                tuple(np.array([i], np.int64) for i in ids), NOW_MS
            )[0]
        slow_aggregates.assert_equal(group, found, expected)
        assert len(tables[group.name]) == len(expected)


def test_the_artifact_gives_what_was_counted_and_decays_from_its_end(folder: Path) -> None:
    clock = Clock(NOW_MS - 2 * DAY_MS)
    author, viewer, friend = USERS[:3]
    events = [
        clock.post(POSTS[0], author, topics=[5, 6], image_count=1),
        clock.edge(Kind.FOLLOW, viewer, friend),
        clock.on_post(Kind.FAVOURITE, friend, POSTS[0], author),
        clock.on_post(Kind.IMPRESSION, viewer, POSTS[0], author, position=2),
        clock.on_post(Kind.CLICK, viewer, POSTS[0], author, value=4_000),
        clock.on_post(Kind.FAVOURITE, viewer, POSTS[0], author),
    ]
    chosen = settings_at(folder).model_copy(update={"heavy_ranker": TWITTER})
    artifacts = ArtifactStore(folder / "artifacts")
    trained = train(chosen, archived_events(chosen, events), artifacts)
    assert trained.metrics["records"] == 5
    manifest = artifacts.manifest("aggregates", trained.version)
    assert manifest.data_range_ms == (events[0]["time_ms"], clock.now_ms + 1)
    batch = Models(artifacts).aggregates(trained.version)
    groups = {group.name: group for group in batch_groups("twitter")}

    def counts(name: str, now_ms: int, *ids: int) -> dict[str, float]:
        group = groups[name]
        row = batch.read(group, tuple(np.array([i], np.int64) for i in ids), now_ms)[0]
        return {
            slot.removeprefix(f"{name}.pair."): value
            for slot, value in zip(group.column_names, row.tolist(), strict=True)
            if value
        }

    end = clock.now_ms + 1
    photo = "is_favorited.has_photo.50.days.count"
    assert counts("user_aggregate_v2", end, viewer)[photo] == pytest.approx(1, rel=1e-6)
    later = counts("user_aggregate_v2", end + 50 * DAY_MS, viewer)
    assert later[photo] == pytest.approx(0.5, rel=1e-6)
    any_ = "any_feature.50.days.count"
    shown = {f"is_{label}.{any_}": 1.0 for label in ("favorited", "clicked", "impressed")}
    for topic in (5, 6):
        found = counts("user_topic_aggregate_v2", end, viewer, topic)
        assert {k: v for k, v in found.items() if any_ in k} == pytest.approx(shown, rel=1e-6)
    engaged = counts("user_engager_aggregate", end, viewer, friend)
    assert engaged == pytest.approx(shown, rel=1e-6)
    good = counts("user_good_click_aggregate", end, viewer)
    assert good["is_good_clicked.any_feature.14.days.count"] == pytest.approx(1, rel=1e-6)
    assert counts("user_author_aggregate_v2", end, friend, viewer) == {}
    position = counts("user_aggregate_v5.continuous", end, viewer)
    assert position["is_impressed.position.50.days.sum"] == pytest.approx(3, rel=1e-6)


def test_a_smaller_selection_reads_its_columns_of_a_larger_version(folder: Path) -> None:
    clock = Clock()
    events = [clock.on_post(Kind.FAVOURITE, USERS[1], POSTS[0], USERS[0]) for _ in range(2)]
    chosen = settings_at(folder)
    artifacts = ArtifactStore(folder / "artifacts")
    archive = archived_events(chosen, events)
    viewer, now_ms = (np.array([USERS[1], 5], np.int64),), clock.now_ms + 1
    larger = chosen.model_copy(update={"heavy_ranker": TWITTER})
    versions = [train(s, archive, artifacts).version for s in (larger, chosen)]
    for group in batch_groups("laptop"):
        if group.keys == ("viewer_id",):
            found = [Models(artifacts).aggregates(v).read(group, viewer, now_ms) for v in versions]
            assert found[0].tobytes() == found[1].tobytes()
            assert found[0].shape == (2, len(group.columns))
            assert not found[0][1].any()
    unknown = next(g for g in batch_groups("twitter") if g.name == "user_negative_aggregate")
    assert not Models(artifacts).aggregates(versions[1]).read(unknown, viewer, now_ms).any()


def test_an_archive_without_anything_to_count_is_too_little(folder: Path) -> None:
    chosen = settings_at(folder)
    archive = archived_events(chosen, [Clock().post(POSTS[0], USERS[0])])
    with pytest.raises(TrainingError, match="anything to count"):
        train(chosen, archive, ArtifactStore(folder / "artifacts"))
