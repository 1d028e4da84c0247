"""Who was followed lately, from where: exact questions see everything, others once a minute."""

from typing import Any

import numpy as np
import pytest

from actors import locale_follows
from actors.locale_follows import REFRESH_MS, AskLocaleFollows, LocaleFollows
from cluster.events import Kind
from tests.worlds import DAY_MS, NOW_MS, Clock, apply, states_of

WINDOW_MS = 30 * DAY_MS
PAT, QUE = 50, 51


def shown(found: LocaleFollows) -> dict[int, tuple[int, int, int]]:
    """Account → follows everywhere, from the country and from the language."""
    columns = (found.everywhere, found.in_country, found.in_language)
    counts = zip(*(column.tolist() for column in columns), strict=True)
    return dict(zip(found.user_ids.tolist(), counts, strict=True))


def a_world(clock: Clock) -> list[Any]:
    places = {2: ("DE", "de"), 3: ("AT", "de"), 4: ("FR", "fr")}
    return [
        *(
            clock.event(Kind.USER_CREATE, actor_id=user, country=country, language=language)
            for user, (country, language) in places.items()
        ),
        *(clock.edge(Kind.FOLLOW, user, PAT) for user in (2, 3, 4, 5)),
        *(clock.edge(Kind.FOLLOW, user, QUE) for user in (3, 4)),
    ]


def question(now_ms: int = NOW_MS, **given: Any) -> AskLocaleFollows:
    return AskLocaleFollows(
        *(given.pop("country", "DE"), given.pop("language", "de"), WINDOW_MS, now_ms), **given
    )


@pytest.mark.parametrize("exact", [True, False])
def test_follows_are_counted_by_where_their_followers_are(exact: bool) -> None:
    [state] = states_of(a_world(Clock()))
    found = question(exact=exact).answer(state)
    assert shown(found) == {PAT: (4, 1, 2), QUE: (2, 0, 1)}
    assert found.totals == (6, 1, 3)
    assert found.user_ids.tolist() == [PAT, QUE]
    nowhere = question(country="", language="xx", exact=exact).answer(state)
    assert shown(nowhere) == {PAT: (4, 0, 0), QUE: (2, 0, 0)}


def test_an_exact_answer_knows_of_everything_that_was_written() -> None:
    clock = Clock()
    states = states_of(a_world(clock))
    ask = question(exact=True)
    before = ask.answer(states[0])
    again = ask.answer(states[0])
    assert shown(again) == shown(before)
    apply(states, [clock.edge(Kind.FOLLOW, 2, QUE)], offset=100)
    assert shown(ask.answer(states[0]))[QUE] == (3, 1, 2)
    apply(states, [clock.edge(Kind.UNFOLLOW, 3, PAT)], offset=200)
    assert shown(ask.answer(states[0]))[PAT] == (3, 1, 1)
    moved = clock.event(Kind.USER_UPDATE, actor_id=4, country="DE", language="de")
    apply(states, [moved], offset=300)
    assert shown(ask.answer(states[0])) == {PAT: (3, 2, 2), QUE: (3, 2, 3)}


def test_a_shard_of_many_follows_counts_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale_follows, "_CHEAP", 0)
    clock = Clock()
    states = states_of(a_world(clock))
    before = shown(question().answer(states[0]))
    apply(states, [clock.edge(Kind.FOLLOW, 2, QUE)], offset=100)
    assert shown(question().answer(states[0])) == before
    assert shown(question(exact=True).answer(states[0]))[QUE] == (3, 1, 2)
    later = shown(question(NOW_MS + REFRESH_MS).answer(states[0]))
    assert later[QUE] == (3, 1, 2)


def test_those_with_most_follows_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locale_follows, "MAX_TOLD", 1)
    [state] = states_of(a_world(Clock()))
    found = question().answer(state)
    assert found.user_ids.tolist() == [PAT]
    assert found.totals == (6, 1, 3)


def test_nothing_is_counted_of_nothing() -> None:
    [state] = states_of([])
    found = question().answer(state)
    assert found.totals == (0, 0, 0)
    assert found.user_ids.dtype == np.int64
    assert not len(found.user_ids)
