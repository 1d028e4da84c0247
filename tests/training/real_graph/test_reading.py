import pytest

from cluster.events import Kind
from tests.training.real_graph.small import DAY_MS, START_MS, Diary, told
from training.real_graph.instant import known_at
from training.real_graph.interactions import NEVER_MS, Feature
from training.real_graph.reading import collect


def test_every_kind_has_its_feature() -> None:
    diary = Diary()
    kinds = {
        Kind.FAVOURITE: Feature.NUM_FAVORITES,
        Kind.REPOST: Feature.NUM_RETWEETS,
        Kind.REPLY: Feature.NUM_REPLIES,
        Kind.CLICK: Feature.NUM_TWEET_CLICKS,
        Kind.IMPRESSION: Feature.NUM_INSPECTED_STATUSES,
        Kind.NOTIFICATION_OPEN: Feature.NUM_NTAB_CLICKS,
        Kind.BOOKMARK: Feature.NUM_BOOKMARKS,
    }
    for day, kind in enumerate(kinds):
        diary.did(kind, day, 1, 2)
    expected = [(1, 2, feature, day) for day, feature in enumerate(kinds.values())]
    assert told(diary.collected()) == sorted(expected)


def test_a_profile_needs_no_post_and_nobody_interacts_with_themselves() -> None:
    diary = Diary()
    diary.add(Kind.PROFILE_CLICK, 1, actor_id=1, author_id=2)
    diary.did(Kind.FAVOURITE, 1, 2, 2)
    assert told(diary.collected()) == [(1, 2, Feature.NUM_PROFILE_VIEWS, 1)]


def test_a_post_with_links_interacts_with_their_authors() -> None:
    diary = Diary()
    diary.post(10, 1, 2, reply_to_id=5, reply_to_author_id=3, quote_of_id=6, quote_of_author_id=4)
    found = diary.collected()
    assert told(found) == [(1, 3, Feature.NUM_REPLIES, 2), (1, 4, Feature.NUM_TWEET_QUOTES, 2)]
    assert (found.features == Feature.NUM_CREATE_TWEETS).sum() == 1


def test_what_is_done_to_a_repost_is_credited_to_who_reposted() -> None:
    diary = Diary()
    diary.post(10, 2, 0, repost_of_id=5, repost_of_author_id=3)
    diary.did(Kind.FAVOURITE, 1, 1, 2, post=10)
    diary.did(Kind.BOOKMARK, 2, 1, 2, post=10)
    assert told(diary.collected()) == [
        (1, 2, Feature.NUM_RT_FAVORITES, 1),
        (1, 2, Feature.NUM_BOOKMARKS, 2),
        (2, 3, Feature.NUM_RETWEETS, 0),
    ]


def test_an_undo_is_of_the_same_action_and_not_of_a_later_one() -> None:
    diary = Diary()
    diary.did(Kind.FAVOURITE, 1, 1, 2)
    diary.did(Kind.FAVOURITE, 1, 1, 2, post=8)
    diary.did(Kind.FAVOURITE, 1, 3, 2)
    diary.did(Kind.UNFAVOURITE, 2, 1, 2)
    diary.did(Kind.FAVOURITE, 3, 1, 2)
    found = diary.collected()
    days = (found.undone_ms[found.undone_ms < NEVER_MS] - START_MS) / DAY_MS
    assert days.tolist() == [2]
    first = (found.times_ms == START_MS + DAY_MS) & (found.undone_ms < NEVER_MS)
    assert found.user_ids[found.sources[first]].tolist() == [1]


@pytest.mark.parametrize(("watched_ms", "counted"), [(4_999, 0), (5_000, 1)])
def test_half_of_a_video_has_to_be_watched(watched_ms: int, counted: int) -> None:
    diary = Diary()
    diary.post(7, 2, 0, video_duration_ms=10_000)
    diary.did(Kind.VIDEO_WATCH, 1, 1, 2, value=watched_ms)
    diary.did(Kind.VIDEO_WATCH, 1, 3, 2, post=99, value=1)  # of unknown length
    assert len(told(diary.collected())) == counted + 1


def test_dwelling_is_kept_in_whole_milliseconds() -> None:
    diary = Diary()
    diary.did(Kind.DWELL, 1, 1, 2, value=1234.4)
    diary.did(Kind.FAVOURITE, 2, 1, 2, value=55)
    found = diary.collected()
    assert dict(zip(found.features.tolist(), found.amounts.tolist(), strict=True)) == {
        Feature.TOTAL_DWELL_TIME: 1234,
        Feature.NUM_FAVORITES: 1,
    }


def test_users_are_in_order_of_their_ids() -> None:
    diary = Diary()
    diary.did(Kind.FAVOURITE, 1, 50, 9)
    diary.edge(Kind.FOLLOW, 2, 3, 50)
    found = diary.collected()
    assert found.user_ids.tolist() == [3, 9, 50]
    assert told(found) == [(3, 50, Feature.NUM_FOLLOWS, 2), (50, 9, Feature.NUM_FAVORITES, 1)]


def test_nothing_gives_nothing() -> None:
    found = collect([])
    assert (len(found), len(found.user_ids)) == (0, 0)
    assert len(known_at(found, START_MS, DAY_MS).follows) == 0
