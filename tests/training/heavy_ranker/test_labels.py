from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.features.tasks import TASK_NAMES
from cluster.events import Kind
from tests.worlds import HOUR_MS, NOW_MS, Clock, Event, checked
from training.heavy_ranker.actions import UNDOS, read_actions, read_posts
from training.heavy_ranker.labels import Labels, Shown, labels_of

VIEWER, AUTHOR, OTHER = 1, 2, 3
POST, MORE, REPLY = 10, 11, 20
WINDOW_MS = 3 * HOUR_MS
VIDEO_MS = 20_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


def shown_of(rows: Sequence[tuple[int, int, int, int, int]]) -> Shown:
    """Of (viewer, post, author, asked, shown)."""
    columns = np.array(rows, np.int64).reshape(-1, 5).T
    none = pa.nulls(len(rows), pa.string())
    return Shown(*columns, none, none)


def labels(
    rows: Sequence[tuple[int, int, int, int, int]],
    events: Sequence[Event],
    until_ms: int = NOW_MS + 365 * 24 * HOUR_MS,
) -> Labels:
    batches = [checked(events)] if events else []
    return labels_of(
        shown_of(rows), read_actions(batches), read_posts(batches), WINDOW_MS, until_ms
    )


def of_one(clock: Clock, *events: Event, **more: Any) -> set[str]:
    """The labels of one post, shown before all events."""
    first_ms = min([e["time_ms"] for e in events], default=clock.now_ms)
    found = labels([(VIEWER, POST, AUTHOR, first_ms - 2, first_ms - 1)], events, **more)
    return {name for name, value in zip(TASK_NAMES, found.values[0], strict=True) if value}


def on(clock: Clock, kind: Kind, post: int = POST, who: int = VIEWER, **more: Any) -> Event:
    clock.now_ms += 1_000
    return clock.on_post(kind, who, post, more.pop("author", AUTHOR), **more)


def test_what_nobody_touched_has_no_label(clock: Clock) -> None:
    assert of_one(clock) == set()


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (Kind.FAVOURITE, {"is_favorited"}),
        (Kind.REPOST, {"is_reposted"}),
        (Kind.QUOTE, {"is_reposted"}),
        (Kind.REPLY, {"is_replied"}),
        (Kind.SHOW_LESS, {"is_negative_feedback"}),
        (Kind.NOT_INTERESTED, {"is_negative_feedback"}),
        (Kind.REPORT, {"is_reported"}),
        (Kind.CLICK, set()),
        (Kind.PROFILE_CLICK, set()),
        (Kind.BOOKMARK, set()),
    ],
)
def test_each_kind_has_its_label(clock: Clock, kind: Kind, expected: set[str]) -> None:
    assert of_one(clock, on(clock, kind)) == expected


@pytest.mark.parametrize("kind", [Kind.MUTE, Kind.BLOCK])
def test_an_author_muted_or_blocked_is_negative(clock: Clock, kind: Kind) -> None:
    assert of_one(clock, clock.edge(kind, VIEWER, AUTHOR)) == {"is_negative_feedback"}
    assert of_one(clock, clock.edge(kind, VIEWER, OTHER)) == set()
    assert of_one(clock, clock.edge(kind, AUTHOR, VIEWER)) == set()


@pytest.mark.parametrize(("undo", "kind"), UNDOS.items())
def test_the_last_word_counts(clock: Clock, undo: Kind, kind: Kind) -> None:
    if kind in (Kind.FOLLOW, Kind.MUTE, Kind.BLOCK):
        visit = on(clock, Kind.PROFILE_CLICK)
        done, undone, again = (clock.edge(k, VIEWER, AUTHOR) for k in (kind, undo, kind))
        done = [visit, done]
    else:
        done = [on(clock, kind)]
        undone, again = on(clock, undo), on(clock, kind)
    assert len(of_one(clock, *done)) == 1
    assert of_one(clock, *done, undone) == set()
    assert len(of_one(clock, *done, undone, again)) == 1
    # An undo of the same instant has the last word; one after the window says nothing.
    assert of_one(clock, *done, undone | {"time_ms": done[-1]["time_ms"]}) == set()
    late_ms = done[0]["time_ms"] - 2 + WINDOW_MS
    assert len(of_one(clock, *done, undone | {"time_ms": late_ms})) == 1
    assert of_one(clock, *done, undone | {"time_ms": late_ms - 1}) == set()


def reply_by(clock: Clock, who: int, reply_id: int, to: int, to_author: int, **more: Any) -> Event:
    clock.now_ms += 1_000
    return clock.post(reply_id, who, reply_to_id=to, reply_to_author_id=to_author, **more)


@pytest.mark.parametrize(
    ("kind", "by", "expected"),
    [
        (Kind.FAVOURITE, AUTHOR, True),
        (Kind.REPOST, AUTHOR, True),
        (Kind.REPLY, AUTHOR, True),
        (Kind.CLICK, AUTHOR, False),
        (Kind.FAVOURITE, OTHER, False),
    ],
)
def test_the_author_engages_with_the_reply(
    clock: Clock, kind: Kind, by: int, expected: bool
) -> None:
    reply = reply_by(clock, VIEWER, REPLY, POST, AUTHOR)
    answer = on(clock, kind, REPLY, by, author=VIEWER)
    found = of_one(clock, reply, answer)
    assert found == {"is_replied"} | ({"is_reply_engaged_by_author"} if expected else set())


def test_an_answer_that_is_a_post_counts_too(clock: Clock) -> None:
    reply = reply_by(clock, VIEWER, REPLY, POST, AUTHOR)
    answer = reply_by(clock, AUTHOR, REPLY + 1, REPLY, VIEWER)
    assert of_one(clock, reply, answer) == {"is_replied", "is_reply_engaged_by_author"}
    taken_back = on(clock, Kind.UNREPLY, REPLY, AUTHOR, author=VIEWER)
    assert of_one(clock, reply, answer, taken_back) == {"is_replied"}


def test_of_a_reply_that_is_no_post_nobody_can_say_who_answered(clock: Clock) -> None:
    column = TASK_NAMES.index("is_reply_engaged_by_author")
    bare, post = on(clock, Kind.REPLY), reply_by(clock, VIEWER, REPLY, POST, AUTHOR)
    rows = [(VIEWER, POST, AUTHOR, bare["time_ms"] - 1, bare["time_ms"] - 1)]
    assert labels(rows, [bare]).known[0, column] == 0
    assert labels(rows, [post]).known[0, column] == 1
    assert labels(rows, [bare, post]).known[0, column] == 1
    assert labels(rows, []).known[0, column] == 1


def test_a_good_click_is_followed_by_something_said_in_the_conversation(clock: Clock) -> None:
    thread = [
        reply_by(clock, OTHER, REPLY, POST, AUTHOR),
        reply_by(clock, OTHER, REPLY + 1, REPLY, OTHER),
        reply_by(clock, OTHER, REPLY + 2, MORE, OTHER),
        # The post between is not known, but the root is.
        reply_by(clock, OTHER, REPLY + 3, 9_999, OTHER, root_id=POST),
    ]
    click = on(clock, Kind.CLICK)

    def good(*events: Event) -> bool:
        return "is_good_clicked" in of_one(clock, click, *events, *thread)

    assert not good()
    assert good(on(clock, Kind.FAVOURITE))
    assert good(on(clock, Kind.FAVOURITE, REPLY, author=OTHER))
    assert good(on(clock, Kind.FAVOURITE, REPLY + 1, author=OTHER))
    assert good(on(clock, Kind.REPLY, REPLY + 1, author=OTHER))
    assert good(reply_by(clock, VIEWER, REPLY + 9, REPLY + 1, OTHER))
    assert good(on(clock, Kind.FAVOURITE, REPLY + 3, author=OTHER))
    assert not good(on(clock, Kind.FAVOURITE, REPLY + 2, author=OTHER))
    assert not good(on(clock, Kind.FAVOURITE, REPLY, who=OTHER, author=OTHER))
    assert not good(on(clock, Kind.REPOST))
    assert not good(on(clock, Kind.FAVOURITE), on(clock, Kind.UNFAVOURITE))
    assert not good(on(clock, Kind.FAVOURITE) | {"time_ms": click["time_ms"] - 1})


def test_posts_that_answer_each_other_in_a_circle_end(clock: Clock) -> None:
    circle = [
        reply_by(clock, OTHER, 30, 31, OTHER),
        reply_by(clock, OTHER, 31, 30, OTHER),
    ]
    click = on(clock, Kind.CLICK)
    assert of_one(clock, click, on(clock, Kind.FAVOURITE, 30, author=OTHER), *circle) == set()


def test_a_long_stay_is_two_minutes_in_all(clock: Clock) -> None:
    def long(*events: Event) -> bool:
        return "is_good_clicked_v2" in of_one(clock, *events)

    assert long(on(clock, Kind.CLICK, value=120_000.0))
    assert not long(on(clock, Kind.CLICK, value=119_999.0))
    assert long(on(clock, Kind.CLICK, value=60_000.0), on(clock, Kind.CLICK, value=60_000.0))
    # Dwelling counts where the conversation was opened, from then on.
    assert long(on(clock, Kind.CLICK), on(clock, Kind.DWELL, value=120_000.0))
    assert not long(on(clock, Kind.DWELL, value=120_000.0))
    assert not long(on(clock, Kind.DWELL, value=120_000.0), on(clock, Kind.CLICK))


def test_a_visited_profile_needs_something_done_there(clock: Clock) -> None:
    visit = on(clock, Kind.PROFILE_CLICK)

    def good(*events: Event, of: Event = visit) -> bool:
        return "is_profile_clicked" in of_one(clock, of, *events)

    assert not good()
    assert good(clock.edge(Kind.FOLLOW, VIEWER, AUTHOR))
    assert not good(clock.edge(Kind.FOLLOW, VIEWER, OTHER))
    assert not good(clock.edge(Kind.FOLLOW, VIEWER, AUTHOR) | {"time_ms": visit["time_ms"] - 1})
    for kind in (Kind.FAVOURITE, Kind.REPLY, Kind.REPOST, Kind.QUOTE):
        assert good(on(clock, kind, MORE))
    assert not good(on(clock, Kind.FAVOURITE, POST))
    assert not good(on(clock, Kind.CLICK, MORE))
    assert not good(on(clock, Kind.FAVOURITE, MORE, author=OTHER))
    nameless = clock.event(Kind.PROFILE_CLICK, actor_id=VIEWER, author_id=AUTHOR)
    assert good(clock.edge(Kind.FOLLOW, VIEWER, AUTHOR), of=nameless)


def test_half_of_the_video_has_to_be_watched_at_a_time(clock: Clock) -> None:
    column = TASK_NAMES.index("is_video_watched")
    video = clock.post(POST, AUTHOR, video_duration_ms=VIDEO_MS)
    half = on(clock, Kind.VIDEO_WATCH, value=VIDEO_MS / 2)
    less = on(clock, Kind.VIDEO_WATCH, value=VIDEO_MS / 2 - 1)
    assert of_one(clock, video, half) == {"is_video_watched"}
    assert of_one(clock, video, less, less | {"event_id": 77}) == set()
    rows = [(VIEWER, POST, AUTHOR, video["time_ms"], video["time_ms"])]
    assert labels(rows, [video, less]).known[0, column] == 1
    assert labels(rows, [half]).known[0, column] == 0
    assert labels(rows, [half]).values[0, column] == 0


def test_what_is_done_belongs_to_the_last_time_it_was_shown(clock: Clock) -> None:
    start = clock.now_ms
    rows = [
        (VIEWER, POST, AUTHOR, start, start + 10),
        (VIEWER, POST, AUTHOR, start + 20, start + 30),
        (VIEWER, MORE, AUTHOR, start + 20, start + 35),
        (OTHER, POST, AUTHOR, start + 20, start + 30),
    ]
    column = TASK_NAMES.index("is_favorited")

    def favoured_at(time_ms: int) -> list[int]:
        favourite = on(clock, Kind.FAVOURITE) | {"time_ms": time_ms}
        return labels(rows, [favourite]).values[:, column].tolist()

    assert favoured_at(start + 9) == [0, 0, 0, 0]
    assert favoured_at(start + 10) == [1, 0, 0, 0]
    assert favoured_at(start + 29) == [1, 0, 0, 0]
    assert favoured_at(start + 30) == [0, 1, 0, 0]
    muted = clock.edge(Kind.MUTE, VIEWER, AUTHOR) | {"time_ms": start + 40}
    column = TASK_NAMES.index("is_negative_feedback")
    assert labels(rows, [muted]).values[:, column].tolist() == [0, 0, 1, 0]


def test_the_window_begins_when_it_was_served(clock: Clock) -> None:
    asked = clock.now_ms
    row = [(VIEWER, POST, AUTHOR, asked, asked + HOUR_MS)]
    for late_ms, expected in ((WINDOW_MS - 1, 1), (WINDOW_MS, 0)):
        favourite = on(clock, Kind.FAVOURITE) | {"time_ms": asked + late_ms}
        found = labels(row, [favourite])
        assert found.values[0, 0] == expected
        assert found.known[0, 0] == 1


def test_what_cannot_be_known_yet_is_masked(clock: Clock) -> None:
    asked = clock.now_ms
    row = [(VIEWER, POST, AUTHOR, asked, asked + 1)]
    favourite = on(clock, Kind.FAVOURITE)
    video = clock.post(POST, AUTHOR, video_duration_ms=VIDEO_MS)
    over = labels(row, [favourite, video], until_ms=asked + WINDOW_MS)
    assert over.known.all()
    not_over = labels(row, [favourite, video], until_ms=asked + WINDOW_MS - 1)
    assert not not_over.known.any()
    assert not not_over.values.any()
    too_late = [(VIEWER, POST, AUTHOR, asked, asked + WINDOW_MS)]
    assert not labels(too_late, [favourite, video]).known.any()


# Against a slow model that looks at one example after the other.

USERS = (1, 2, 3)
POSTS = {10: 1, 11: 1, 12: 2, 13: 3, 14: 2}
"""Post → its author."""
PARENTS = {12: 10, 13: 12, 14: 11}
VIDEOS = {10: 10_000, 12: 20_000}
START_MS, STEP_MS = 1_000_000_000_000, 60_000

ON_POSTS = (
    *(Kind.FAVOURITE, Kind.UNFAVOURITE, Kind.REPOST, Kind.UNREPOST, Kind.REPLY, Kind.UNREPLY),
    *(Kind.QUOTE, Kind.CLICK, Kind.DWELL, Kind.PROFILE_CLICK, Kind.VIDEO_WATCH),
    *(Kind.SHOW_LESS, Kind.UNDO_SHOW_LESS, Kind.NOT_INTERESTED, Kind.REPORT),
)
EDGES = (Kind.FOLLOW, Kind.UNFOLLOW, Kind.MUTE, Kind.UNMUTE, Kind.BLOCK)
instants = st.integers(0, 300).map(lambda k: START_MS + k * STEP_MS)


@st.composite
def happenings(draw: st.DrawFn) -> list[Event]:
    events: list[Event] = []
    for post, author in POSTS.items():
        more: Event = {}
        if post in PARENTS:
            parent = PARENTS[post]
            more |= {"reply_to_id": parent, "reply_to_author_id": POSTS[parent]}
        if post in VIDEOS:
            more["video_duration_ms"] = VIDEOS[post]
        event = {"kind": "post_create", "post_id": post, "author_id": author, **more}
        events.append(event | {"time_ms": draw(instants)})
    for _ in range(draw(st.integers(0, 40))):
        actor = draw(st.sampled_from(USERS))
        sort = draw(st.sampled_from(["post", "post", "post", "edge", "reply"]))
        if sort == "edge":
            kind = draw(st.sampled_from(EDGES))
            others = st.sampled_from([u for u in USERS if u != actor])
            event = {"kind": kind.label, "actor_id": actor, "target_id": draw(others)}
        elif sort == "reply":
            to = draw(st.sampled_from(sorted(POSTS)))
            event = {"kind": "post_create", "post_id": 100 + len(events), "author_id": actor}
            event |= {"reply_to_id": to, "reply_to_author_id": POSTS[to]}
        else:
            kind = draw(st.sampled_from(ON_POSTS))
            made = [e["post_id"] for e in events if e["kind"] == "post_create"]
            post = draw(st.sampled_from(made))
            author = next(e["author_id"] for e in events if e.get("post_id") == post)
            event = {"kind": kind.label, "actor_id": actor, "author_id": author}
            if kind is not Kind.PROFILE_CLICK or draw(st.booleans()):
                event["post_id"] = post
            if kind in (Kind.CLICK, Kind.DWELL, Kind.VIDEO_WATCH):
                event["value"] = draw(st.sampled_from([0.0, 5_000.0, 9_999.0, 70_000.0, 120_000.0]))
        events.append(event | {"time_ms": draw(instants)})
    for event_id, event in enumerate(events, 1):
        event["event_id"] = event_id
    return events


@st.composite
def screens(draw: st.DrawFn) -> list[tuple[int, int, int, int, int]]:
    rows = []
    for _ in range(draw(st.integers(1, 12))):
        viewer, post = draw(st.sampled_from(USERS)), draw(st.sampled_from(sorted(POSTS)))
        asked = draw(instants)
        rows.append((viewer, post, POSTS[post], asked, asked + draw(st.integers(0, 200)) * STEP_MS))
    return rows


@dataclass(frozen=True)
class Act:
    actor: int
    kind: Kind
    post: int
    author: int
    at: int
    value: float
    made: int = 0

    @property
    def subject(self) -> tuple[int, Kind, int]:
        on_user = self.kind in EDGES
        return self.actor, UNDOS.get(self.kind, self.kind), self.author if on_user else self.post


def acts_of(events: list[Event]) -> list[Act]:
    acts = []
    for e in events:
        kind = Kind[e["kind"].upper()]
        if kind in EDGES:
            acts.append(Act(e["actor_id"], kind, 0, e["target_id"], e["time_ms"], 0))
        elif kind is not Kind.POST_CREATE:
            at, value = e["time_ms"], e.get("value", 0.0)
            acts.append(Act(e["actor_id"], kind, e.get("post_id", 0), e["author_id"], at, value))
        elif "reply_to_id" in e:
            to = e["reply_to_id"], e["reply_to_author_id"]
            acts.append(Act(e["author_id"], Kind.REPLY, *to, e["time_ms"], 0, e["post_id"]))
    return acts


def slow(
    rows: list[tuple[int, int, int, int, int]], events: list[Event], until_ms: int
) -> tuple[list[set[str]], list[set[str]]]:
    """(labels that are set, labels that are known) of each example."""
    acts = acts_of(events)
    parents = {e["post_id"]: e["reply_to_id"] for e in events if "reply_to_id" in e}

    def last_shown(viewer: int, at: int, post: int = 0, author: int = 0) -> int | None:
        best: tuple[int, int] | None = None
        for i, row in enumerate(rows):
            fits = row[1] == post if post else row[2] == author
            if row[0] == viewer and fits and row[4] <= at:
                best = max(best or (row[4], i), (row[4], i))
        return None if best is None else best[1]

    def stands(act: Act, end: int) -> bool:
        if act.kind in UNDOS or act.at >= end:
            return False
        return not any(
            u.kind in UNDOS and u.subject == act.subject and act.at <= u.at < end for u in acts
        )

    def below(post: int, above: int) -> bool:
        while post and post != above:
            post = parents.get(post, 0)
        return post == above

    found, known = [], []
    for i, (viewer, post, author, asked, shown_ms) in enumerate(rows):
        end = asked + WINDOW_MS
        if end > until_ms or shown_ms >= end:
            found.append(set())
            known.append(set())
            continue
        standing = [a for a in acts if stands(a, end)]
        mine = [
            a
            for a in standing
            if a.actor == viewer and a.post == post and last_shown(viewer, a.at, post=post) == i
        ]
        kinds = {a.kind for a in mine}
        names = set()
        if Kind.FAVOURITE in kinds:
            names.add("is_favorited")
        if kinds & {Kind.REPOST, Kind.QUOTE}:
            names.add("is_reposted")
        if Kind.REPLY in kinds:
            names.add("is_replied")
        if Kind.REPORT in kinds:
            names.add("is_reported")
        hidden = [
            a
            for a in standing
            if a.kind in (Kind.MUTE, Kind.BLOCK)
            and (a.actor, a.author) == (viewer, author)
            and last_shown(viewer, a.at, author=author) == i
        ]
        if kinds & {Kind.SHOW_LESS, Kind.NOT_INTERESTED} or hidden:
            names.add("is_negative_feedback")
        public = (Kind.FAVOURITE, Kind.REPLY, Kind.REPOST, Kind.QUOTE)
        replies = [a for a in mine if a.kind is Kind.REPLY and a.made]
        answers = [
            b
            for a in replies
            for b in standing
            if b.actor == author and b.post == a.made and b.kind in public and b.at >= a.at
        ]
        if answers:
            names.add("is_reply_engaged_by_author")
        clicks = [a for a in mine if a.kind is Kind.CLICK]
        said = [
            b
            for a in clicks
            for b in standing
            if b.actor == viewer
            and b.kind in (Kind.FAVOURITE, Kind.REPLY)
            and b.at >= a.at
            and below(b.post, post)
        ]
        if said:
            names.add("is_good_clicked")
        dwells = [a for a in mine if a.kind is Kind.DWELL]
        if clicks:
            opened = min(a.at for a in clicks)
            stays = (
                sum(a.value for a in clicks),
                sum(a.value for a in dwells if a.at >= opened),
            )
            if max(stays) >= 120_000:
                names.add("is_good_clicked_v2")
        visits = [
            a
            for a in standing
            if a.kind is Kind.PROFILE_CLICK
            and a.actor == viewer
            and (
                (a.post == post and last_shown(viewer, a.at, post=post) == i)
                if a.post
                else (a.author == author and last_shown(viewer, a.at, author=author) == i)
            )
        ]
        if any(
            b.actor == viewer
            and b.author == author
            and b.kind in (Kind.FOLLOW, *public)
            and b.post != post
            and b.at >= a.at
            for a in visits
            for b in standing
        ):
            names.add("is_profile_clicked")
        sure = set(TASK_NAMES)
        if Kind.REPLY in kinds and not replies:
            sure.discard("is_reply_engaged_by_author")
        duration = VIDEOS.get(post, 0)
        if not duration:
            sure.discard("is_video_watched")
        elif any(a.kind is Kind.VIDEO_WATCH and a.value >= duration / 2 for a in mine):
            names.add("is_video_watched")
        found.append(names & sure)
        known.append(sure)
    return found, known


@given(screens(), happenings(), st.integers(0, 500))
@settings(max_examples=300, deadline=None)
def test_labels_are_those_of_a_slow_model(
    rows: list[tuple[int, int, int, int, int]], events: list[Event], steps: int
) -> None:
    until_ms = START_MS + steps * STEP_MS
    quick = labels(rows, events, until_ms)
    found, known = slow(rows, events, until_ms)
    names = np.array(TASK_NAMES)
    assert [set(names[row > 0].tolist()) for row in quick.values] == found
    assert [set(names[row > 0].tolist()) for row in quick.known] == known
