import math

import numpy as np
import pytest

from actors.features.light import (
    COUNTED,
    LABELS,
    POST_FEATURES,
    VIEWER_FEATURES,
    AuthorFacts,
    Languages,
    PostFacts,
    positions_in,
    post_features,
    viewer_features,
)
from actors.features.text import STATISTICS
from actors.stores.posts import COUNTERS
from actors.stores.recent_counts import DECAYED, HALF_LIFE_MS, count_decayed
from cluster.events import Kind

HOUR_MS = 3_600_000
AUTHORS = AuthorFacts(
    followers=np.array([99], np.int32),
    verified=np.array([True]),
    known=np.array([True]),
    reputations=np.array([42], np.float32),
    same_language=np.array([True]),
)


def facts(**counts: int) -> PostFacts:
    """Two rows, of which the second is the one asked for."""
    counters = [counts.get(kind.label, 0) for kind in COUNTERS]
    ids = np.zeros(2, np.int64)
    return PostFacts(
        created_ms=np.full(2, 10 * HOUR_MS),
        last_engaged_ms=ids.copy(),
        counts=np.array([np.full(len(COUNTERS), 77), counters], np.int32),
        reply_to_id=ids.copy(),
        quote_of_id=ids.copy(),
        repost_of_id=ids.copy(),
        image_count=np.zeros(2, np.int16),
        video_duration_ms=ids.copy(),
        link_count=np.zeros(2, np.int16),
        sensitive=np.zeros(2, bool),
        language=np.array([1, 2], np.int16),
        statistics=np.zeros((2, len(STATISTICS)), np.float32),
        decayed=np.zeros((2, len(DECAYED))),
        decayed_at=np.zeros(2, np.int32),
        labels=np.zeros((2, len(LABELS)), np.uint8),
    )


def features(
    of: PostFacts, now_ms: int, read: int = 1, english: int = -1, reads_english: bool = False
) -> dict[str, float]:
    languages = Languages(read, english, reads_english)
    return named(post_features(of, np.array([1]), AUTHORS, languages, now_ms))


def named(values: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> dict[str, float]:
    return dict(zip(POST_FEATURES, values[0].tolist(), strict=True))


def test_features_of_a_post() -> None:
    found = features(facts(favourite=3, click=2, impression=10), 13 * HOUR_MS)
    assert found["age_hours"] == 3
    assert found["hours_since_engagement"] == 3
    assert found["favourites"] == pytest.approx(math.log(4))
    assert found["impressions"] == pytest.approx(math.log(11))
    assert found["engagements_per_hour"] == pytest.approx(math.log1p(5 / 4))
    assert found["favourites_per_impression"] == pytest.approx(3.2 / 20)
    assert found["author_followers"] == pytest.approx(math.log(100))
    assert (found["author_verified"], found["author_known"], found["same_language"]) == (1, 1, 0)
    assert (found["author_reputation"], found["author_same_language"]) == (42, 1)


@pytest.mark.parametrize("kind", COUNTED)
def test_every_counter_has_its_feature(kind: Kind) -> None:
    found = features(facts(**{kind.label: 5}), 11 * HOUR_MS)
    others = {f"{other.label}s" for other in COUNTED if other is not kind}
    assert found[f"{kind.label}s"] == pytest.approx(math.log(6))
    assert all(found[name] == 0 for name in others)
    per_hour = 0 if kind is Kind.IMPRESSION else math.log1p(5 / 2)
    assert found["engagements_per_hour"] == pytest.approx(per_hour)


def test_counts_below_nothing_and_times_to_come_are_nothing() -> None:
    found = features(facts(favourite=-2, impression=-1), 9 * HOUR_MS)
    assert all(math.isfinite(value) for value in found.values())
    assert found["favourites"] == 0
    assert found["age_hours"] == 0


@pytest.mark.parametrize(
    ("column", "feature"),
    [
        ("reply_to_id", "is_reply"),
        ("quote_of_id", "is_quote"),
        ("repost_of_id", "is_repost"),
        ("image_count", "has_image"),
        ("video_duration_ms", "has_video"),
        ("link_count", "has_link"),
        ("sensitive", "is_sensitive"),
    ],
)
def test_flags(column: str, feature: str) -> None:
    assert features(facts(), 10 * HOUR_MS)[feature] == 0
    flagged = facts()
    getattr(flagged, column)[1] = 1
    found = features(flagged, 10 * HOUR_MS)
    assert found[feature] == 1
    names = POST_FEATURES[POST_FEATURES.index("is_reply") : POST_FEATURES.index(STATISTICS[0])]
    assert sum(found[name] for name in names) == 1


def test_every_feature_is_computed_once() -> None:
    assert len(set(POST_FEATURES)) == len(POST_FEATURES)
    told = facts()
    told.statistics[1] = [9, 8, 7, 6, 5]
    none = AuthorFacts(*(column[:0] for column in AUTHORS))
    empty = post_features(told, np.empty(0, np.int64), none, Languages(0, 0, False), 0)
    assert empty.shape == (0, len(POST_FEATURES))
    found = features(told, 10 * HOUR_MS, read=2)
    assert [found[name] for name in STATISTICS] == [9, 8, 7, 6, 5]
    assert found["same_language"] == 1


def test_recent_counts_halve_and_do_not_change_the_others() -> None:
    of = facts(favourite=3)
    rows, kinds = np.ones(3, np.int32), np.full(3, Kind.FAVOURITE, np.uint8)
    at_ms = 500 * HALF_LIFE_MS
    count_decayed(of.decayed, of.decayed_at, rows, kinds, np.full(3, at_ms))
    for halves, left in ((0, 3.0), (1, 1.5), (2, 0.75), (30, 0.0), (5_000, 0.0)):
        found = features(of, at_ms + halves * HALF_LIFE_MS)
        assert found["recent_favourites"] == pytest.approx(math.log1p(left))
        assert found["favourites"] == pytest.approx(math.log(4))
        assert [found[f"recent_{kind.label}s"] for kind in DECAYED[1:]] == [0, 0, 0]


def test_labels_are_features_by_their_strength() -> None:
    of = facts()
    of.labels[1] = [255, 51, 0]
    found = features(of, 10 * HOUR_MS)
    assert [found[f"labelled_{name}"] for name in LABELS] == pytest.approx([1, 0.2, 0])


@pytest.mark.parametrize(
    ("post", "read", "reads_english", "match"),
    [
        *((3, 3, False, 1.0), (0, 3, False, 1.0), (3, 0, False, 1.0)),
        *((7, 3, False, 0.7), (3, 7, True, 0.3), (3, -1, True, 0.3), (3, 4, False, 0.1)),
    ],
)
def test_a_language_matches_as_far_as_the_original_says(
    post: int, read: int, reads_english: bool, match: float
) -> None:
    of = facts()
    of.language[1] = post
    found = features(of, 10 * HOUR_MS, read, english=7, reads_english=reads_english)
    assert found["language_match"] == pytest.approx(match)
    assert found["same_language"] == (post == read)


def test_the_tie_between_viewer_and_author() -> None:
    values = viewer_features(
        np.array([5, 6, 7]), 7, np.array([6]), np.array([5, 6]), np.array([1, 3], np.float32)
    )
    assert values.shape == (3, len(VIEWER_FEATURES))
    assert values[:, 0] == pytest.approx([math.log(2), math.log(4), 0])
    assert values[:, 1:].tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0]]
    scores = np.array([0.25, 0.5], np.float32)
    scored = viewer_features(
        *(np.array([5, 6, 7]), 7, np.array([6]), np.array([5, 6]), np.array([1, 3], np.float32)),
        *(np.array([5, 9]), scores),
    )
    assert scored[:, :3].tolist() == values[:, :3].tolist()
    assert scored[:, 3].tolist() == [0.25, 0, 0]


def test_positions() -> None:
    wanted = np.array([1, 5, 9, 7])
    assert positions_in(np.array([5, 7]), wanted).tolist() == [-1, 0, -1, 1]
    assert positions_in(np.array([], np.int64), wanted).tolist() == [-1] * 4
    assert Kind.IMPRESSION in COUNTED
