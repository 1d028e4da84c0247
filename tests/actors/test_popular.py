"""Popular videos: found exactly, for any number of shards, however the events came."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors import snapshot
from actors.popular import AskPopularVideos, PopularPosts
from actors.state import ShardState
from cluster.events import Kind
from tests.worlds import (
    DAY_MS,
    HOUR_MS,
    NOW_MS,
    USERS,
    Clock,
    Event,
    apply,
    empty_states,
    states_of,
)

AUTHORS, FANS = USERS[:4], USERS[4:]
VIDEO = {"video_duration_ms": 30_000}


def ask(**given: Any) -> AskPopularVideos:
    nobody = np.empty(0, np.int64)
    plain: dict[str, Any] = {"language": "", "country": "", "without_ids": nobody}
    plain |= {"since_ms": NOW_MS - DAY_MS, "now_ms": NOW_MS, "per_author": 2, "limit": 10}
    return AskPopularVideos(**(plain | given))


def best(states: list[ShardState], **given: Any) -> list[int]:
    """The best of all shards."""
    asked = ask(**given)
    found: list[PopularPosts] = [state.ask([asked])[0] for state in states]
    ids = np.concatenate([part.post_ids for part in found])
    scores = np.concatenate([part.scores for part in found])
    return [int(i) for i in ids[np.lexsort((ids, -scores))][: asked.limit]]


def liked(clock: Clock, post: int, author: int, times: int) -> list[Event]:
    return [clock.on_post(Kind.FAVOURITE, 5_000 + k, post, author) for k in range(times)]


def test_engagements_count_against_age_and_two_of_an_author() -> None:
    clock = Clock(NOW_MS - 20 * HOUR_MS)
    events = [clock.post(10 + k, AUTHORS[0], **VIDEO) for k in range(3)]
    events += [clock.post(20, AUTHORS[1], **VIDEO), clock.post(21, AUTHORS[1])]
    events += [*liked(clock, 10, AUTHORS[0], 9), *liked(clock, 11, AUTHORS[0], 5)]
    events += [*liked(clock, 12, AUTHORS[0], 4), *liked(clock, 20, AUTHORS[1], 1)]
    events += liked(clock, 21, AUTHORS[1], 50)
    # Nobody liked it, so it is not popular, however new it is.
    events.append(clock.post(30, AUTHORS[2], time_ms=NOW_MS, **VIDEO))
    for n_shards in (1, 4):
        states = states_of(events, n_shards)
        assert best(states) == [10, 11, 20]
        assert best(states, per_author=3) == [10, 11, 12, 20]
        assert best(states, per_author=1, limit=1) == [10]
        assert best(states, without_ids=np.array([AUTHORS[0]])) == [20]
    found = states_of(events)[0].ask([ask()])[0]
    age_days = (NOW_MS - (NOW_MS - 20 * HOUR_MS + 1)) / DAY_MS
    assert found.scores[0] == np.float32(math.log1p(9) - age_days)
    assert found.author_ids.tolist() == [AUTHORS[0], AUTHORS[0], AUTHORS[1]]


def test_where_the_viewer_is() -> None:
    clock = Clock()
    events = []
    for author, country in zip(AUTHORS, ("US", "DE", None, "US"), strict=True):
        given_country = {"country": country} if country else {}
        events.append(clock.event(Kind.USER_CREATE, actor_id=author, **given_country))
    for post, author, language in (
        *((10, 0, "en"), (11, 1, "de"), (12, 1, "en")),
        *((13, 2, None), (14, 1, None), (15, 3, None)),
    ):
        words = {"language": language} if language else {}
        events.append(clock.post(post, AUTHORS[author], **VIDEO, **words))
        events += liked(clock, post, AUTHORS[author], 20 - post)
    for n_shards in (1, 4):
        states = states_of(events, n_shards)
        assert best(states, per_author=9) == [10, 11, 12, 13, 14, 15]
        assert best(states, per_author=9, language="en") == [10, 12, 13, 14, 15]
        assert best(states, per_author=9, language="en", country="US") == [10, 12, 13, 15]
        assert best(states, per_author=9, country="DE") == [11, 12, 13, 14]
        assert best(states, per_author=9, language="fr") == [13, 14, 15]
        assert best(states, per_author=9, country="FR") == [13]


def test_who_is_gone_or_protected_takes_nobodys_place() -> None:
    clock = Clock(NOW_MS - 2 * HOUR_MS)
    events: list[Event] = []
    for k in range(40):
        clock.now_ms += 60_000
        events.append(clock.post(100 + k, AUTHORS[0], **VIDEO))
        events += liked(clock, 100 + k, AUTHORS[0], 3)
    events += [clock.post(10, AUTHORS[1], **VIDEO), clock.post(11, AUTHORS[2], **VIDEO)]
    events += [*liked(clock, 10, AUTHORS[1], 2), *liked(clock, 11, AUTHORS[2], 1)]
    assert best(states_of(events), limit=3) == [139, 138, 10]
    gone = clock.event(Kind.USER_SUSPEND, actor_id=AUTHORS[0])
    assert best(states_of([*events, gone]), limit=3) == [10, 11]
    shy = clock.event(Kind.USER_CREATE, actor_id=AUTHORS[1], protected=True)
    assert best(states_of([*events, gone, shy]), limit=3) == [11]


@st.composite
def _videos(draw: st.DrawFn) -> list[Event]:
    clock = Clock()
    events: list[Event] = []
    for k in range(draw(st.integers(1, 10))):
        author = AUTHORS[k % 4]
        post = clock.post(10 + k, author)
        post["time_ms"] = NOW_MS - draw(st.integers(0, 30)) * HOUR_MS
        if draw(st.booleans()):
            post["video_duration_ms"] = 1_000
        events.append(post)
        for fan in draw(st.lists(st.sampled_from(FANS), max_size=4)):
            kind = draw(st.sampled_from([Kind.FAVOURITE, Kind.REPOST, Kind.UNFAVOURITE]))
            events.append(clock.on_post(kind, fan, 10 + k, author))
        if draw(st.integers(0, 5)) == 0:
            event = clock.event(Kind.POST_EDIT, post_id=10 + k, author_id=author)
            event["time_ms"] = NOW_MS
            events.append(event | draw(st.sampled_from([VIDEO, {}])))
        if draw(st.integers(0, 5)) == 0:
            events.append(clock.event(Kind.POST_DELETE, post_id=10 + k, author_id=author))
    return events


def model(events: list[Event], limit: int) -> list[int]:
    deleted = {e["post_id"] for e in events if e["kind"] == "post_delete"}
    weights = {"favourite": 1.0, "repost": 2.0, "unfavourite": -1.0}
    edits = {e["post_id"]: e for e in events if e["kind"] == "post_edit"}
    scored = []
    for post in events:
        if post["kind"] != "post_create" or post["post_id"] in deleted:
            continue
        video = edits.get(post["post_id"], post).get("video_duration_ms", 0)
        mine = [e for e in events if e["post_id"] == post["post_id"]]
        weight = sum(weights.get(e["kind"], 0.0) for e in mine)
        age_ms = NOW_MS - post["time_ms"]
        if video and weight > 0 and age_ms <= DAY_MS:
            score = np.float32(math.log1p(weight) + (post["time_ms"] - NOW_MS) / DAY_MS)
            scored.append((-round(float(score), 4), post["post_id"], post["author_id"]))
    found: list[int] = []
    authors: list[int] = []
    for _, post_id, author in sorted(scored):
        if authors.count(author) < 2:
            authors.append(author)
            found.append(post_id)
    return found[:limit]


@settings(max_examples=40)
@given(_videos(), st.randoms(), st.integers(1, 6), st.data())
def test_popular_videos_against_model(
    events: list[Event], random: Any, limit: int, data: st.DataObject
) -> None:
    # Events come in any order, in parts, between which somebody asks.
    random.shuffle(events)
    middle = data.draw(st.integers(0, len(events)))
    for n_shards in (1, 4):
        states = empty_states(n_shards)
        apply(states, events[:middle], imported=True)
        best(states)
        apply(states, events[middle:], offset=2, imported=True)
        assert best(states, limit=limit) == model(events, limit)


def test_a_restored_shard_finds_the_same(tmp_path: Path) -> None:
    clock = Clock()
    events = [clock.post(10 + k, AUTHORS[k % 4], **VIDEO) for k in range(6)]
    for k in range(6):
        events += liked(clock, 10 + k, AUTHORS[k % 4], k)
    [state] = states_of(events)
    snapshot.write(snapshot.capture(state, dict.fromkeys(state.lanes, 1)), tmp_path)
    found = empty_states(3)
    for other in found:
        snapshot.restore(other, tmp_path)
    assert best(found) == best([state]) == [15, 14, 13, 12, 11]
    more = [e | {"event_id": e["event_id"] + 500} for e in liked(clock, 11, AUTHORS[1], 30)]
    apply(found, more, offset=2)
    assert best(found)[0] == 11
    assert found[0].memory_bytes > 0
