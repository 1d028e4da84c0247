"""Which lanes are worth asking, from hints, answers and probes."""

from __future__ import annotations

from cluster.jetstream_fetch import LanePage
from cluster.jetstream_news import LaneNews


def page(lane: int, position: int, *offsets: int, more: bool = False) -> LanePage:
    rows = [(offset, lane, b"") for offset in offsets]
    return LanePage(lane, position, rows, more=more, answered=True)


def test_a_lane_is_asked_until_it_is_known_to_have_nothing_more() -> None:
    news = LaneNews()
    assert news.due({0: 0, 1: 0}) == {0: 0, 1: 0}
    assert news.learn_pages({0: page(0, 0, 3, 7), 1: page(1, 0, 4, more=True)}) == []
    assert news.due({0: 7, 1: 4}) == {1: 4}
    assert news.due({0: 3, 1: 5}) == {0: 3}


def test_a_hint_makes_its_lanes_due() -> None:
    news = LaneNews()
    news.learn_pages({lane: page(lane, 0) for lane in range(3)})
    assert news.due({0: 0, 1: 0, 2: 0}) == {}
    news.learn_append(10, (0, 2))
    assert news.due({0: 0, 1: 0, 2: 0}) == {0: 0, 2: 0}
    assert (news.head(0), news.head(1), news.head(2)) == (10, 0, 11)
    assert news.is_acknowledged(11)
    assert not news.is_acknowledged(12)


def test_a_lost_hint_leaves_a_gap_that_the_probe_starts_from() -> None:
    news = LaneNews()
    news.learn_append(1, (0, 1))
    news.learn_append(5, (0,))
    assert news.contiguous == 2
    news.learn_pages({0: page(0, 0, 1, 5), 1: page(1, 0, 2)})
    news.learn_probe(5)
    assert news.contiguous == 5
    assert news.due({0: 5, 1: 2}) == {0: 5, 1: 2}, "any lane may hold what was not hinted"


def test_a_lagging_answer_does_not_hide_what_was_hinted() -> None:
    news = LaneNews()
    news.learn_append(1, (0,))
    news.learn_record(0, 1)
    assert news.learn_pages({0: page(0, 0)}) == [0]
    assert news.due({0: 0}) == {0: 0}
    news.forget(0, trimmed=0)
    assert news.due({0: 0}) == {0: 0}, "not trimmed: the replica lags"
    news.forget(0, trimmed=1)
    assert news.due({0: 0}) == {}
