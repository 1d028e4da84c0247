from typing import Any

import numpy as np
import pytest

from cluster.events import Kind
from cluster.settings import HOUR_MS, Settings, load
from tests.worlds import Clock, Event, checked
from training.examples import Examples, of_engagements, of_impressions
from training.facts import collect

AUTHOR, VIEWER = 1, 2
RNG_SEED = 5


@pytest.fixture
def clock() -> Clock:
    return Clock()


def on_post(clock: Clock, kind: Kind, post_id: int = 10, **given: Any) -> Event:
    return clock.on_post(kind, VIEWER, post_id, AUTHOR, **given)


def impressed(events: list[Event], most: int = 1_000, settings: Settings | None = None) -> Examples:
    rng = np.random.default_rng(RNG_SEED)
    return of_impressions(collect([checked(events)]), settings or load(), most, rng)


def outcome(*happenings: Event) -> list[tuple[bool, float]]:
    found = impressed(list(happenings))
    return [(bool(a), round(float(b), 3)) for a, b in zip(found.labels, found.weights, strict=True)]


def test_an_impression_without_a_reaction_is_a_negative(clock: Clock) -> None:
    assert outcome(on_post(clock, Kind.IMPRESSION), on_post(clock, Kind.DWELL)) == [(False, 1.0)]


def test_weights_add_up_over_kinds_and_not_over_repetitions(clock: Clock) -> None:
    kinds = (Kind.IMPRESSION, Kind.FAVOURITE, Kind.CLICK, Kind.CLICK, Kind.REPLY)
    assert outcome(*(on_post(clock, kind) for kind in kinds)) == [(True, 10.3)]


def test_what_was_taken_back_does_not_count(clock: Clock) -> None:
    kinds = (Kind.IMPRESSION, Kind.FAVOURITE, Kind.CLICK, Kind.UNFAVOURITE)
    assert outcome(*(on_post(clock, kind) for kind in kinds)) == [(True, 0.3)]


@pytest.mark.parametrize("kind", [Kind.SHOW_LESS, Kind.NOT_INTERESTED, Kind.REPORT])
def test_negative_feedback_makes_a_negative_of_anything(clock: Clock, kind: Kind) -> None:
    kinds = (Kind.IMPRESSION, Kind.FAVOURITE, kind)
    assert outcome(*(on_post(clock, k) for k in kinds)) == [(False, 1.0)]


def test_feedback_that_was_undone_does_not(clock: Clock) -> None:
    kinds = (Kind.IMPRESSION, Kind.FAVOURITE, Kind.SHOW_LESS, Kind.UNDO_SHOW_LESS)
    assert outcome(*(on_post(clock, k) for k in kinds)) == [(True, 1.0)]


def test_an_engagement_belongs_to_the_last_impression_before_it(clock: Clock) -> None:
    events = [on_post(clock, Kind.FAVOURITE), on_post(clock, Kind.IMPRESSION, request_id="a")]
    events += [on_post(clock, Kind.IMPRESSION, request_id="b"), on_post(clock, Kind.REPOST)]
    assert outcome(*events) == [(False, 1.0), (True, 1.0)]


def test_an_engagement_after_the_window_does_not_count(clock: Clock) -> None:
    clock.now_ms -= 30 * HOUR_MS
    first = on_post(clock, Kind.IMPRESSION)
    at_the_end = on_post(clock, Kind.FAVOURITE, 10) | {"time_ms": first["time_ms"] + 24 * HOUR_MS}
    assert outcome(first, at_the_end) == [(False, 1.0)]
    just_within = at_the_end | {"time_ms": first["time_ms"] + 24 * HOUR_MS - 1}
    assert outcome(first, just_within) == [(True, 1.0)]


def test_another_viewer_and_another_post_are_not_meant(clock: Clock) -> None:
    events = [on_post(clock, Kind.IMPRESSION), clock.on_post(Kind.FAVOURITE, 9, 10, AUTHOR)]
    assert outcome(*events, on_post(clock, Kind.FAVOURITE, 11)) == [(False, 1.0)]


def test_requests_are_drawn_whole_and_the_same_each_time(clock: Clock) -> None:
    events = [
        on_post(clock, Kind.IMPRESSION, post_id, request_id=f"r{request}")
        for request in range(20)
        for post_id in range(10, 15)
    ]
    some = impressed(events, most=52)
    assert len(some) == 50
    assert set(np.bincount(some.groups)) == {0, 5}
    again = impressed(events, most=52)
    assert some.post_ids.tolist() == again.post_ids.tolist()
    assert some.groups.tolist() == again.groups.tolist()
    assert (np.diff(some.times_ms) >= 0).all()


# Engagements without impressions.


def history(seed: int, n_engagements: int = 120) -> tuple[list[Event], dict[int, tuple[int, int]]]:
    """Random posts and favourites; of each post its author and when it was made."""
    rng, clock = np.random.default_rng(seed), Clock()
    clock.now_ms -= 90 * HOUR_MS
    events: list[Event] = []
    posts: dict[int, tuple[int, int]] = {}
    for _ in range(n_engagements):
        clock.now_ms += int(rng.integers(0, HOUR_MS))
        if rng.random() < 0.3 or not posts:
            post_id, author = 1_000 + len(posts), int(rng.integers(1, 12))
            events.append(clock.post(post_id, author))
            posts[post_id] = author, clock.now_ms
        post_id = int(rng.choice(list(posts)))
        kind = rng.choice([Kind.FAVOURITE, Kind.FAVOURITE, Kind.CLICK, Kind.DWELL])
        viewer = int(rng.integers(1, 12))
        events.append(clock.on_post(Kind(kind), viewer, post_id, posts[post_id][0]))
    return events, posts


def sampled(events: list[Event], most: int = 10_000, **more: Any) -> Examples:
    settings = load(training={"negatives_per_positive": 3, **more})
    rng = np.random.default_rng(RNG_SEED)
    return of_engagements(collect([checked(events)]), settings, most, rng)


@pytest.mark.parametrize("seed", range(5))
def test_negatives_are_posts_the_viewer_could_have_seen_instead(seed: int) -> None:
    events, posts = history(seed)
    windows = load().windows
    longest_ms = max(windows.in_network_light_ms, windows.out_of_network_ms)
    contacts = {}
    for event in reversed(events):
        if event["kind"] != "post_create":
            contacts[event["actor_id"], event["post_id"]] = event["time_ms"]
    found = sampled(events)
    negatives = found.take(np.flatnonzero(~found.labels))
    assert len(negatives) > 50
    rows = zip(
        *(c.tolist() for c in (negatives.viewer_ids, negatives.post_ids, negatives.times_ms)),
        strict=True,
    )
    for viewer, post, time_ms in rows:
        author, created_ms = posts[post]
        assert author != viewer
        assert time_ms - longest_ms <= created_ms < time_ms
        assert contacts.get((viewer, post), 2**62) >= time_ms + 24 * HOUR_MS
    groups = [found.take(np.flatnonzero(found.groups == g)) for g in np.unique(found.groups)]
    for group in groups:
        assert group.labels.sum() == 1
        assert len(group) <= 4
        assert len(set(group.post_ids.tolist())) == len(group)
        assert len(set(group.times_ms.tolist())) == len(set(group.viewer_ids.tolist())) == 1


@pytest.mark.parametrize("seed", range(3))
def test_positives_are_first_engagements_with_posts_of_others(seed: int) -> None:
    events, _ = history(seed)
    first: dict[tuple[int, int], int] = {}
    for event in events:
        if event["kind"] in ("favourite", "click") and event["actor_id"] != event["author_id"]:
            first.setdefault((event["actor_id"], event["post_id"]), event["time_ms"])
    found = sampled(events)
    positives = found.take(np.flatnonzero(found.labels))
    pairs = zip(positives.viewer_ids.tolist(), positives.post_ids.tolist(), strict=True)
    assert dict(zip(pairs, positives.times_ms.tolist(), strict=True)) == first


def test_what_comes_later_has_no_part_in_what_is_drawn_before() -> None:
    events, _ = history(1, 200)
    whole = sampled(events)
    cut_ms = events[150]["time_ms"]
    early = sampled([e for e in events if e["time_ms"] < cut_ms])
    # Whether a negative stays one is known once its label window has passed.
    settled = np.flatnonzero(early.times_ms < cut_ms - 24 * HOUR_MS)
    assert len(settled) > 50
    assert early.post_ids[settled].tolist() == whole.post_ids[: len(settled)].tolist()
    assert early.labels[settled].tolist() == whole.labels[: len(settled)].tolist()


def test_at_most_as_many_examples_as_asked_for() -> None:
    events, _ = history(2)
    assert 40 <= len(sampled(events, most=80)) <= 80
