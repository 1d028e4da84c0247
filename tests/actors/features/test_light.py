import math

import numpy as np
import pytest

from actors.features.light import (
    COUNTED,
    POST_FEATURES,
    VIEWER_FEATURES,
    AuthorFacts,
    PostFacts,
    positions_in,
    post_features,
    viewer_features,
)
from actors.features.text import STATISTICS
from actors.stores.posts import COUNTERS
from cluster.events import Kind

HOUR_MS = 3_600_000
AUTHORS = AuthorFacts(np.array([99], np.int32), np.array([True]), np.array([True]))


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
    )


def features(of: PostFacts, now_ms: int, reads: int = 1) -> dict[str, float]:
    return named(post_features(of, np.array([1]), AUTHORS, reads, now_ms))


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
    none = AuthorFacts(np.empty(0, np.int32), np.empty(0, bool), np.empty(0, bool))
    empty = post_features(told, np.empty(0, np.int64), none, 0, 0)
    assert empty.shape == (0, len(POST_FEATURES))
    found = features(told, 10 * HOUR_MS, reads=2)
    assert [found[name] for name in STATISTICS] == [9, 8, 7, 6, 5]
    assert found["same_language"] == 1


def test_the_tie_between_viewer_and_author() -> None:
    values = viewer_features(
        np.array([5, 6, 7]), 7, np.array([6]), np.array([5, 6]), np.array([1, 3], np.float32)
    )
    assert values.shape == (3, len(VIEWER_FEATURES))
    assert values[:, 0] == pytest.approx([math.log(2), math.log(4), 0])
    assert values[:, 1:].tolist() == [[0, 0], [1, 0], [0, 1]]


def test_positions() -> None:
    wanted = np.array([1, 5, 9, 7])
    assert positions_in(np.array([5, 7]), wanted).tolist() == [-1, 0, -1, 1]
    assert positions_in(np.array([], np.int64), wanted).tolist() == [-1] * 4
    assert Kind.IMPRESSION in COUNTED
