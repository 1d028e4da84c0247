import numpy as np
import pytest

from actors.shown_questions import AskEdited, AskMutedWords, AskServedLately
from actors.state import ShardState
from cluster.events import Kind
from tests.worlds import NOW_MS, USERS, Clock, Event, states_of

VIEWER, AUTHOR = USERS[0], USERS[1]


def state_of(events: list[Event]) -> ShardState:
    [state] = states_of(events)
    return state


def served(clock: Clock, post_id: int, request: str = "r") -> Event:
    given = {"request_id": request, "position": 0}
    return clock.on_post(Kind.SERVED, VIEWER, post_id, AUTHOR, **given)


def test_muted_words_of_newest_versions() -> None:
    clock = Clock()
    state = state_of(
        [
            clock.post(1, AUTHOR, text="a cat"),
            clock.post(2, AUTHOR, text="a dog"),
            clock.post(3, AUTHOR),
            clock.post(4, AUTHOR, text="a dog again"),
            clock.post(5, AUTHOR, text="a cat by now", edit_of_id=4),
            clock.event(Kind.POST_EDIT, post_id=1, author_id=AUTHOR, text="no more of it"),
            # Of 6 the edit came first, of 7 nothing but a favourite.
            clock.event(Kind.POST_EDIT, post_id=6, author_id=AUTHOR, text="a dog"),
            clock.on_post(Kind.FAVOURITE, VIEWER, 7, AUTHOR),
        ]
    )
    asked = AskMutedWords(np.array([1, 2, 3, 4, 5, 6, 7, 99]), ("cat",))
    # Of a text that never arrived nobody can say.
    assert asked.answer(state).tolist() == [False] * 3 + [True] * 2 + [False] + [True] * 2
    nobody = AskMutedWords(np.empty(0, np.int64), ("cat",))
    assert nobody.answer(state).tolist() == []


def test_served_lately() -> None:
    clock = Clock()
    events = []
    for minute, post in ((0, 1), (10, 2), (65, 2), (69, 3), (70, 4), (71, 1)):
        clock.now_ms = NOW_MS - 7_200_000 + minute * 60_000
        events.append(served(clock, post, f"r{minute}"))
    last_ms = clock.now_ms
    clock.now_ms += 60_000
    events.append(clock.on_post(Kind.IMPRESSION, VIEWER, 9, AUTHOR))
    state = state_of(events)
    found = AskServedLately(VIEWER, 3_600_000, 100).answer(state)
    # Each once, the newest time first; what was only seen was not served.
    assert found.post_ids.tolist() == [1, 4, 3, 2]
    assert found.author_ids.tolist() == [AUTHOR] * 4
    assert found.last_served_ms == last_ms
    shorter = AskServedLately(VIEWER, 3 * 60_000, 2).answer(state)
    assert shorter.post_ids.tolist() == [1, 4]
    nothing = AskServedLately(AUTHOR, 3_600_000, 100).answer(state)
    assert (nothing.post_ids.tolist(), nothing.last_served_ms) == ([], 0)


@pytest.mark.parametrize("deleted", [False, True])
def test_edited(deleted: bool) -> None:
    clock = Clock()
    events = [clock.post(post, AUTHOR, text="old") for post in range(1, 6)]
    events.append(clock.post(6, AUTHOR, text="new", edit_of_id=1))
    since_ms = clock.now_ms + 1
    events += [
        clock.post(7, AUTHOR, text="new", edit_of_id=2),
        clock.post(8, AUTHOR, text="newest", edit_of_id=7),
        clock.event(Kind.POST_EDIT, post_id=3, author_id=AUTHOR, text="new"),
        clock.on_post(Kind.FAVOURITE, VIEWER, 4, AUTHOR),
        clock.post(9, AUTHOR, text="not served"),
    ]
    if deleted:
        events.append(clock.event(Kind.POST_DELETE, post_id=8, author_id=AUTHOR))
    asked = np.array([5, 3, 99, 2, 1, 9, 4])
    found = AskEdited(asked, since_ms, "en", NOW_MS).answer(state_of(events))
    told = dict(zip(asked[found.places].tolist(), found.posts.post_ids.tolist(), strict=True))
    assert told == ({3: 3} if deleted else {3: 3, 2: 8})
    before = AskEdited(asked, 0, "en", NOW_MS).answer(state_of(events))
    assert set(asked[before.places].tolist()) == {1, 3} | ({2} - {2 * deleted})
