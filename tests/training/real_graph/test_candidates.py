import numpy as np

from cluster.events import Kind
from tests.training.real_graph.small import DAY_MS, START_MS, Diary, key, named
from training.real_graph.candidates import candidates
from training.real_graph.inputs import inputs_of, names_of
from training.real_graph.instant import known_at
from training.real_graph.interactions import Interactions
from training.real_graph.labels import Label, labelled
from training.real_graph.rollup import DECAY


def found_at(found: Interactions, day: float, most: int = 2_000) -> list[tuple[int, int]]:
    instant = known_at(found, START_MS + round(day * DAY_MS), DAY_MS)
    return named(found, candidates(instant, 30, most))


def test_interactions_of_the_window_and_follows_of_any_age() -> None:
    diary = Diary()
    diary.did(Kind.CLICK, 0.5, 1, 2)
    diary.did(Kind.CLICK, 10.5, 1, 3)
    diary.did(Kind.IMPRESSION, 31.5, 1, 4)
    diary.edge(Kind.FOLLOW, 0, 5, 6)
    found = diary.collected()
    assert found_at(found, 30) == [(1, 2), (1, 3), (5, 6)]
    assert found_at(found, 32) == [(1, 3), (5, 6)]


def test_who_refused_or_is_gone_is_no_candidate() -> None:
    diary = Diary()
    for author in (2, 3, 4, 5):
        diary.did(Kind.CLICK, 0.5, 1, author)
        diary.did(Kind.CLICK, 0.5, author, 1)
    diary.edge(Kind.BLOCK, 1, 2, 1)
    diary.edge(Kind.MUTE, 1, 1, 3)
    diary.user(Kind.USER_SUSPEND, 1, 4)
    found = diary.collected()
    assert found_at(found, 2) == [(1, 5), (3, 1), (5, 1)]


def test_most_days_come_first_and_then_most_posts() -> None:
    diary = Diary()
    for day in (0.5, 1.5):
        diary.did(Kind.CLICK, day, 1, 2)
    for minute in range(5):
        diary.did(Kind.CLICK, 0.5 + minute / 1440, 1, 3)
    diary.did(Kind.CLICK, 0.5, 1, 4)
    diary.post(8, 4, 1.9)
    for author in (5, 6):
        diary.edge(Kind.FOLLOW, -40, 1, author)
    diary.post(9, 6, 1.9)
    found = diary.collected()
    assert found_at(found, 2, 1) == [(1, 2)]
    assert found_at(found, 2, 2) == [(1, 2), (1, 4)]
    assert found_at(found, 2, 3) == [(1, 2), (1, 3), (1, 4)]
    assert found_at(found, 2, 4) == [(1, 2), (1, 3), (1, 4), (1, 6)]


def test_labels_are_what_happened_next() -> None:
    diary = Diary()
    diary.did(Kind.FAVOURITE, 0.9, 1, 2)
    diary.did(Kind.FAVOURITE, 1.0, 1, 3)
    diary.did(Kind.CLICK, 1.5, 1, 4)
    diary.did(Kind.FAVOURITE, 1.5, 1, 5, post=11)
    diary.did(Kind.UNFAVOURITE, 1.6, 1, 5, post=11)
    diary.did(Kind.IMPRESSION, 1.5, 1, 6)
    diary.edge(Kind.FOLLOW, 1.5, 1, 7)
    diary.did(Kind.FAVOURITE, 2.0, 1, 8)
    found = diary.collected()
    pairs = np.array([key(found, 1, other) for other in range(2, 9)])

    def which(label: Label) -> list[tuple[int, int]]:
        since_ms = START_MS + DAY_MS
        return named(found, pairs[labelled(found, pairs, since_ms, since_ms + DAY_MS, label)])

    assert which("any") == [(1, 3), (1, 4), (1, 7)]
    assert which("explicit") == [(1, 3), (1, 7)]


def test_inputs_by_hand() -> None:
    diary = Diary()
    diary.edge(Kind.FOLLOW, 0.5, 1, 2)
    diary.did(Kind.FAVOURITE, 1.5, 1, 2, post=31)
    diary.did(Kind.FAVOURITE, 1.6, 1, 2, post=32)
    diary.did(Kind.CLICK, 1.5, 1, 2)
    diary.did(Kind.CLICK, 3.5, 1, 2)
    diary.did(Kind.REPLY, 3.5, 2, 1)
    diary.post(40, 2, 1.9)
    diary.post(41, 2, 4.9)
    diary.did(Kind.FAVOURITE, 4.5, 3, 1)
    found = diary.collected()
    instant = known_at(found, START_MS + 5 * DAY_MS, DAY_MS)
    pairs = np.array([key(found, 1, 2), key(found, 2, 3)])
    rows = inputs_of(pairs, instant, 30, DECAY, "all")
    one, nothing = (dict(zip(names_of("all"), row.tolist(), strict=True)) for row in rows)
    expected = {
        "num_days": 3,
        "num_tweets": 1,
        "num_follows": 1,
        "num_favorites": 1,
        "num_tweet_clicks": 2,
        "num_profile_views": 0,
        "days_since_last_interaction": 1,
        "label_types": 3,
        "num_favorites_ewma": 2 * DECAY**3,
        "num_tweet_clicks_ewma": DECAY**3 + DECAY,
        "edge_ewma": 3 * DECAY**3 + DECAY,
        "edge_elapsed_days": 4,
        "edge_non_zero_days": 2,
        "edge_days_since_last": 2,
        "returned_ewma": DECAY,
        "followed": 1,
        "followed_back": 0,
        "followed_for_days": 4.5,
        "source_explicit_ewma": 2 * DECAY**3,
        "source_implicit_ewma": DECAY**3 + DECAY,
        "destination_posts_ewma": DECAY**3 + 1,
        "destination_explicit_ewma": 2 * DECAY**3,
    }
    assert {name: one[name] for name in expected} == {
        name: np.float32(value) for name, value in expected.items()
    }
    assert nothing["days_since_last_interaction"] == 30
    assert nothing["edge_days_since_last"] == 61
    assert nothing["source_explicit_ewma"] == np.float32(DECAY)
    assert nothing["num_days"] == nothing["edge_ewma"] == nothing["followed"] == 0
    assert not [name for name in names_of("all") if name.endswith("_id")]
