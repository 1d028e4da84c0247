"""Small worlds: events as a client sends them, the shards that hold them, what they answer."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from actors.graph_questions import AskLeft, AskNsfwAccounts, AskSignals, AskTwoHop
from actors.models import Models
from actors.page_questions import AskNewestBetween
from actors.questions import (
    AskContext,
    AskInNetwork,
    AskLabels,
    AskPopular,
    AskPosts,
    AskSecondDegree,
    AskUris,
)
from actors.router import Gathered, LocalRouter, Reply, Wave, shards_of
from actors.signal_types import SignalType
from actors.state import ShardState
from actors.stores.newest_between import Place, Replies
from actors.two_hop import HOME_PAIRS, LeftLists
from actors.viewer_state import AskViewerState
from cluster.artifacts import ArtifactStore
from cluster.events import MENTIONS, NEGATIVE_FEEDBACK, UNDONE_BY, Kind
from cluster.ids import N_PARTITIONS, partitions_of
from cluster.routing import decode, encode, is_imported, route
from cluster.settings import Settings
from cluster.validation import check_objects
from timeline.pages import Page
from timeline.timelines import Timelines

T = TypeVar("T")
Event = dict[str, Any]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
NOW_MS = 1_700_000_000_000
N_LANES = 16
SECRET = b"0" * 32
PUBLIC = (Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE)


def _spread_users(n: int) -> list[int]:
    """Users whose partitions are spread evenly, so that 3 and 4 shards each have some."""
    ids = np.arange(1, 20_000)
    partitions = partitions_of(ids).astype(np.int64)
    return [int(ids[np.argmin(abs(partitions - k * N_PARTITIONS // n - 20))]) for k in range(n)]


USERS = _spread_users(8)
POSTS = [1_000 + k for k in range(12)]
N_AUTHORS = 4


def author_of(post_id: int) -> int:
    """Posts of worlds have fixed authors, since every event about a post names its author."""
    return USERS[(post_id - POSTS[0]) % N_AUTHORS]


class Clock:
    """Makes events, each with an id of its own and, unless told, one millisecond later."""

    def __init__(self, now_ms: int = NOW_MS - HOUR_MS) -> None:
        self.now_ms = now_ms
        self._last_id = 0

    def event(self, kind: Kind, **given: Any) -> Event:
        self.now_ms += 1
        self._last_id += 1
        return {"kind": kind.label, "event_id": self._last_id, "time_ms": self.now_ms, **given}

    def post(self, post_id: int, author_id: int, **given: Any) -> Event:
        return self.event(Kind.POST_CREATE, post_id=post_id, author_id=author_id, **given)

    def edge(self, kind: Kind, actor_id: int, target_id: int, **given: Any) -> Event:
        return self.event(kind, actor_id=actor_id, target_id=target_id, **given)

    def on_post(
        self, kind: Kind, actor_id: int, post_id: int, author_id: int, **given: Any
    ) -> Event:
        ids = {"actor_id": actor_id, "post_id": post_id, "author_id": author_id}
        return self.event(kind, **ids, **given)


def active(clock: Clock, user_id: int, now_ms: int, n_days: int) -> list[Event]:
    """What makes a user one who was here on so many of the last days."""
    return [
        clock.on_post(Kind.CLICK, user_id, 9_999, 9_998, time_ms=now_ms - day * DAY_MS)
        for day in range(n_days)
    ]


def checked(events: Iterable[Event]) -> pa.RecordBatch:
    result = check_objects(list(events), now_ms=NOW_MS + 365 * DAY_MS)
    assert not result.problems, result.problems
    return result.batch


def routed(events: Iterable[Event], *, imported: bool = False) -> pa.RecordBatch:
    """What all lanes say of events, as a tailer would hand it to a state, for every shard."""
    lanes = [
        decode(encode(batch, imported=imported))
        for batch in route(checked(events), N_LANES).values()
    ]
    assert all(is_imported(lane) == imported for lane in lanes)
    tables = [pa.table(lane.replace_schema_metadata(None)) for lane in lanes]
    return pa.concat_tables(tables, promote_options="default").combine_chunks().to_batches()[0]


def models(folder: Path = Path("no-artifacts")) -> Models:
    return Models(ArtifactStore(folder))


def empty_states(n_shards: int, settings: Settings | None = None) -> list[ShardState]:
    settings = settings or Settings()
    return [ShardState(settings, models(), k, n_shards) for k in range(n_shards)]


def apply(
    states: Sequence[ShardState],
    events: Sequence[Event],
    *,
    offset: int = 1,
    imported: bool = False,
) -> None:
    """Append events at one offset of the log, and let every state apply what it concerns."""
    if events:
        rows = routed(events, imported=imported)
        for state in states:
            state.apply(rows, np.full(rows.num_rows, offset), imported)


def states_of(
    events: Sequence[Event], n_shards: int = 1, settings: Settings | None = None
) -> list[ShardState]:
    states = empty_states(n_shards, settings)
    apply(states, events, imported=True)
    return states


def cut_lists(states: Sequence[ShardState]) -> None:
    """Have lists of blocks and mutes name nobody, as if all on them were beyond `MAX_SCAN`."""
    nobody = np.empty(0, np.int64)
    for state in states:
        for relation in (state.graph.blocks, state.graph.blocked_by, state.graph.mutes):
            relation.others = lambda *_: (nobody, nobody)  # type: ignore[method-assign]


def replaced_posts(events: Sequence[Event]) -> set[int]:
    """Posts that edits replaced, as the post table says, whose tests ask which edit wins."""
    table = states_of(events)[0].posts.table
    replaced: set[int] = set(table["post_ids"][table["newest_ids"] > 0].tolist())
    return replaced


class PartialRouter:
    """Leaves out, or answers late, what a real router would: dead, slow and stale shards."""

    def __init__(
        self,
        states: Sequence[ShardState],
        missing: Iterable[int] = (),
        lags_ms: dict[int, int] | None = None,
    ) -> None:
        self._whole = LocalRouter(states)
        self.missing = set(missing)
        self.lags_ms = lags_ms or {}

    @property
    def n_shards(self) -> int:
        return self._whole.n_shards

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        alive = {shard: asked for shard, asked in wave.items() if shard not in self.missing}
        replies = self._whole.ask(alive, timeout_s).replies
        late = {
            shard: Reply(reply.answers, self.lags_ms.get(shard, 0), reply.active)
            for shard, reply in replies.items()
        }
        return Gathered(late, {s: "dead" for s in wave if s in self.missing})


def timelines_of(
    states: Sequence[ShardState], settings: Settings | None = None, router: Any = None
) -> Timelines:
    chosen = settings or states[0].settings
    return Timelines(chosen, router or LocalRouter(states), models(), SECRET)


def shown(page: Page) -> list[Any]:
    """A page as plain values, to be compared."""
    return [plain(item) for item in page.items]


def plain(answer: Any) -> Any:
    """An answer as nested lists and dictionaries, so that == compares all of it."""
    if isinstance(answer, np.ndarray):
        return answer.tolist()
    if is_dataclass(answer):
        return {f.name: plain(getattr(answer, f.name)) for f in fields(answer)}
    if isinstance(answer, dict):
        return {key: plain(value) for key, value in answer.items()}
    if isinstance(answer, list | tuple):
        return [plain(part) for part in answer]
    return answer


def answers(
    states: Sequence[ShardState],
    now_ms: int = NOW_MS,
    users: Sequence[int] = USERS,
    posts: Sequence[int] = POSTS,
) -> list[Any]:
    """Everything that can be asked of shards, and of the timelines made of them."""
    user_ids = np.sort(np.array(users, np.int64))
    post_ids = np.array(posts, np.int64)
    affinities = np.linspace(0, 1, len(users)).astype(np.float32)
    seeds = np.arange(len(users), dtype=np.int32)
    since_ms = now_ms - 30 * DAY_MS
    asked = [
        *(AskContext(user, now_ms, 100, 100) for user in users),
        AskInNetwork(
            users[0],
            user_ids,
            affinities,
            "en",
            since_ms,
            now_ms + 1,
            now_ms,
            100,
            100,
            "untrained",
        ),
        AskSecondDegree(user_ids, seeds, since_ms, PUBLIC, 100),
        AskPopular("en", since_ms, now_ms, 100),
        AskNewestBetween(
            *(user_ids, user_ids > 0, Place(now_ms + 1, 0), Place(since_ms, 0), 3),
            *(Replies.ALL, user_ids, user_ids[:0], "en", now_ms),
        ),
        *(AskViewerState(user, now_ms) for user in users),
        AskPosts(post_ids, "en", now_ms),
        AskUris(post_ids),
        AskLabels(post_ids, np.array([author_of(post) for post in posts])),
        *(AskSignals(user, tuple(SignalType), now_ms) for user in users),
        AskNsfwAccounts(user_ids),
        *(AskTwoHop(left, user_ids, HOME_PAIRS, 2) for left in _left_lists(states, users, now_ms)),
    ]
    found = [plain(state.ask(asked)) for state in states]
    assert not any(state.counters["failed_questions"] for state in states)
    timelines = timelines_of(states)
    # Pages cost the most, and half of the users live in as many shards as all do.
    for user in users[::2]:
        found.append(shown(timelines.for_you(user, 20, now_ms=now_ms)))
        found.append(shown(timelines.following(user, 20, now_ms=now_ms)))
    return found


def _left_lists(states: Sequence[ShardState], users: Sequence[int], now_ms: int) -> list[LeftLists]:
    """The lists of users, of the shards in which they live."""
    homes = shards_of(np.array(users, np.int64), len(states)).tolist()
    types = tuple(dict.fromkeys(left for left, _ in HOME_PAIRS))
    return [
        AskLeft(user, types, now_ms).answer(states[home])
        for user, home in zip(users, homes, strict=True)
    ]


# Random worlds.

_ON_POST = (
    *(*PUBLIC, Kind.BOOKMARK, Kind.SHARE, Kind.CLICK, Kind.DWELL, Kind.VIDEO_WATCH),
    *(Kind.PROFILE_CLICK, *NEGATIVE_FEEDBACK, *UNDONE_BY, Kind.IMPRESSION, Kind.SERVED),
)
_EDGES = (Kind.FOLLOW, Kind.UNFOLLOW, Kind.BLOCK, Kind.UNBLOCK, Kind.MUTE, Kind.UNMUTE)
_USERS = (
    *(Kind.USER_CREATE, Kind.USER_UPDATE, Kind.USER_DEACTIVATE, Kind.USER_REACTIVATE),
    *(Kind.USER_SUSPEND, Kind.USER_UNSUSPEND),
)
_users = st.sampled_from(USERS)
_posts = st.sampled_from(POSTS)


@st.composite
def _content(draw: st.DrawFn) -> Event:
    given: Event = {
        "text": draw(st.sampled_from(["", "hello", "HELLO #you @me", "a b c d"])),
        "language": draw(st.sampled_from(["en", "de"])),
        "image_count": draw(st.integers(0, 2)),
        "topics": draw(st.lists(st.integers(1, 3), max_size=2)),
    }
    return {name: value for name, value in given.items() if draw(st.booleans())}


@st.composite
def _post_created(draw: st.DrawFn, post_id: int) -> Event:
    event: Event = {"kind": "post_create", "post_id": post_id, "author_id": author_of(post_id)}
    event |= draw(_content())
    others = st.sampled_from([p for p in POSTS if p != post_id])
    link = draw(st.sampled_from(["", "", "reply_to", "quote_of", "repost_of", "edit_of"]))
    if link == "edit_of":
        # An edit is its author's.
        mine = [p for p in POSTS if p < post_id and author_of(p) == author_of(post_id)]
        return event | ({"edit_of_id": draw(st.sampled_from(mine))} if mine else {})
    if link:
        linked = draw(others)
        event |= {f"{link}_id": linked, f"{link}_author_id": author_of(linked)}
    return event


@st.composite
def _happening(draw: st.DrawFn) -> Event:
    sorts = ["edge", "edge", "on_post", "on_post", "user", "edit", "delete", "topic", "label"]
    sort = draw(st.sampled_from(sorts))
    if sort == "edge":
        actor, target = draw(st.lists(_users, min_size=2, max_size=2, unique=True))
        kind = draw(st.sampled_from((*_EDGES, *MENTIONS)))
        event: Event = {"kind": kind.label, "actor_id": actor, "target_id": target}
        return event | ({"post_id": draw(_posts)} if kind in MENTIONS else {})
    if sort == "topic":
        kind = draw(st.sampled_from((Kind.TOPIC_FOLLOW, Kind.TOPIC_UNFOLLOW)))
        return {"kind": kind.label, "actor_id": draw(_users), "target_id": draw(st.integers(1, 3))}
    if sort == "user":
        kind = draw(st.sampled_from(_USERS))
        event = {"kind": kind.label, "actor_id": draw(_users)}
        if kind in (Kind.USER_CREATE, Kind.USER_UPDATE):
            event["language"] = draw(st.sampled_from(["en", "de"]))
            event["protected"] = draw(st.booleans())
        return event
    post = draw(_posts)
    event = {"post_id": post, "author_id": author_of(post)}
    if sort == "label":
        kind = draw(st.sampled_from((Kind.SAFETY_LABEL, Kind.SAFETY_UNLABEL)))
        event |= {"kind": kind.label, "label": draw(st.sampled_from(["nsfw", "spam"]))}
        if draw(st.booleans()):
            del event["post_id"]
        return event
    if sort == "on_post":
        kind = draw(st.sampled_from(_ON_POST))
        event |= {"kind": kind.label, "actor_id": draw(_users)}
        if kind is Kind.SERVED:
            event |= {"request_id": "r", "position": draw(st.integers(0, 3))}
        return event
    if sort == "edit":
        return event | {"kind": "post_edit"} | draw(_content())
    return event | {"kind": "post_delete"}


@st.composite
def worlds(draw: st.DrawFn, span_ms: int = 20 * HOUR_MS, max_happenings: int = 30) -> list[Event]:
    """Events in time order, many of one instant, that end at `NOW_MS`."""
    events = [
        *[draw(_post_created(post)) for post in draw(st.lists(_posts, unique=True))],
        *draw(st.lists(_happening(), max_size=max_happenings)),
    ]
    for event_id, event in enumerate(events, 1):
        event["event_id"] = event_id
        event["time_ms"] = NOW_MS - draw(st.integers(0, 12)) * span_ms // 12
    return sorted(events, key=lambda event: (event["time_ms"], event["event_id"]))


def cut(draw: st.DrawFn, events: Sequence[T]) -> list[list[T]]:
    """Events, or anything else, cut into batches at random places."""
    places = draw(st.lists(st.integers(0, len(events)), max_size=5))
    ends = [0, *sorted(places), len(events)]
    return [list(events[a:b]) for a, b in pairwise(ends) if b > a]
