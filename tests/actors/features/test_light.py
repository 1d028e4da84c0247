import math

import numpy as np
import pytest

from actors.features.light import (
    COUNTED,
    POST_FEATURES,
    VIEWER_FEATURES,
    PostFacts,
    positions_in,
    post_features,
    viewer_features,
)
from actors.features.text import STATISTICS
from cluster.events import Kind

HOUR_MS = 3_600_000
FLAGS = (
    *("is_reply", "is_quote", "is_repost", "has_image", "has_video", "has_link", "is_sensitive"),
    *("same_language", "author_verified", "author_known"),
)


def facts(n: int, **counts: int) -> PostFacts:
    return PostFacts(
        created_ms=np.full(n, 10 * HOUR_MS),
        last_engaged_ms=np.zeros(n, np.int64),
        counts={k: np.full(n, counts.get(k.label, 0), np.int32) for k in COUNTED},
        flags={name: np.zeros(n, bool) for name in FLAGS},
        statistics=np.zeros((n, len(STATISTICS)), np.float32),
        author_followers=np.full(n, 99, np.int32),
    )


def named(values: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> dict[str, float]:
    return dict(zip(POST_FEATURES, values[0].tolist(), strict=True))


def test_features_of_a_post() -> None:
    found = named(post_features(facts(1, favourite=3, click=2, impression=10), 13 * HOUR_MS))
    assert found["age_hours"] == 3
    assert found["hours_since_engagement"] == 3
    assert found["favourites"] == pytest.approx(math.log(4))
    assert found["impressions"] == pytest.approx(math.log(11))
    assert found["engagements_per_hour"] == pytest.approx(math.log1p(5 / 4))
    assert found["favourites_per_impression"] == pytest.approx(3.2 / 20)
    assert found["author_followers"] == pytest.approx(math.log(100))


def test_counts_below_nothing_and_times_to_come_are_nothing() -> None:
    strange = facts(1, favourite=-2, impression=-1)
    found = post_features(strange, 9 * HOUR_MS)
    assert np.isfinite(found).all()
    assert named(found)["favourites"] == 0
    assert named(found)["age_hours"] == 0


def test_every_feature_is_computed_once() -> None:
    assert len(set(POST_FEATURES)) == len(POST_FEATURES)
    assert post_features(facts(0), 0).shape == (0, len(POST_FEATURES))
    flagged = facts(1)
    flagged.flags["has_link"][0] = True  # type: ignore[index]
    flagged.statistics[0] = [9, 8, 7, 6, 5]
    found = named(post_features(flagged, 10 * HOUR_MS))
    assert found["has_link"] == 1
    assert [found[name] for name in STATISTICS] == [9, 8, 7, 6, 5]


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
