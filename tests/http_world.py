"""A whole service in process: HTTP over local shards and a real log."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from fastapi.testclient import TestClient

from actors.models import Models
from actors.router import Gathered, LocalRouter, Wave
from actors.state import ShardState
from cluster.artifacts import ArtifactStore
from cluster.log import EventLog
from cluster.logs import features_lane, open_writer
from cluster.routing import decode, is_imported
from cluster.settings import Settings, load
from cluster.tokens import Tokens
from serve_app import build_app
from timeline.service import Service

NOW_MS = 1_800_000_000_000
SECRET = b"s" * 32
TOKENS = {role: f"{role}-token-of-a-test" for role in ("write", "read", "admin")}
N_SHARDS = 2
VIEWER, FRIEND, AUTHOR, STRANGER = 11, 12, 13, 14
POSTS = range(101, 111)
"""Of the author, one a minute; the last is the newest."""

Event = dict[str, Any]


class Outages:
    """A router whose shards can be taken away, or made slow."""

    def __init__(self, router: LocalRouter) -> None:
        self._router = router
        self.down: set[int] = set()
        self.delay_s = 0.0

    @property
    def n_shards(self) -> int:
        return self._router.n_shards

    def ask(self, wave: Wave, timeout_s: float) -> Gathered:
        if self.delay_s:
            time.sleep(min(self.delay_s, max(timeout_s, 0.0)))
            if self.delay_s > timeout_s:
                return Gathered({}, dict.fromkeys(wave, "timeout"))
        replies = self._router.ask({s: q for s, q in wave.items() if s not in self.down}, timeout_s)
        return Gathered(replies.replies, dict.fromkeys(self.down & wave.keys(), "down"))


class Faulty:
    """A log that can be made to wait with appends, or to refuse them."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self.error: Exception | None = None
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()

    def hold(self) -> None:
        """Let the next append wait until the gate is set."""
        self.entered.clear()
        self.gate.clear()

    def append(self, lane_payloads: Any) -> int:
        self.entered.set()
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return self._log.append(lane_payloads)


@dataclass
class World:
    settings: Settings
    log: EventLog
    appender: Faulty
    states: list[ShardState]
    router: Outages
    service: Service
    client: TestClient
    now_ms: int = NOW_MS
    positions: dict[int, int] = field(default_factory=dict)

    def as_(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {TOKENS[role]}"}

    def get(self, path: str, role: str = "read", **parameters: Any) -> Any:
        return self.client.get(path, params=parameters, headers=self.as_(role))

    def for_you(self, user: Any = VIEWER, role: str = "read", **parameters: Any) -> Any:
        return self.get(f"/v1/timelines/for-you/{user}", role, **parameters)

    def why(self, post: int, user: int = VIEWER, role: str = "read", **parameters: Any) -> Any:
        return self.get(f"/v1/timelines/for-you/{user}/why/{post}", role, **parameters)

    def happen(self, *events: Event) -> None:
        """Send events and have the shards apply them."""
        assert self.post(list(events)).json()["accepted"] == len(events)
        self.catch_up()

    def post(
        self,
        body: Any,
        media_type: str = "application/json",
        role: str = "write",
        **parameters: Any,
    ) -> Any:
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        headers = self.as_(role) | {"Content-Type": media_type}
        return self.client.post("/v1/events", content=content, params=parameters, headers=headers)

    def records(self) -> list[tuple[int, bytes]]:
        """(lane, payload) of everything appended since the last call."""
        positions = {lane: self.positions.get(lane, 0) for lane in range(self.log.n_lanes)}
        records = self.log.read(positions, 2**30)
        self.positions |= {record.lane: record.offset for record in records}
        return [(record.lane, record.payload) for record in records]

    def catch_up(self) -> None:
        """Have the shards apply everything in the log."""
        self.service.recorder.flush()
        positions = {lane: self.positions.get(lane, 0) for lane in range(self.log.n_lanes)}
        for record in self.log.read(positions, 2**30):
            self.positions[record.lane] = record.offset
            if record.lane == features_lane(self.settings):
                continue
            batch = decode(record.payload)
            offsets = np.full(batch.num_rows, record.offset)
            for state in self.states:
                imported = is_imported(batch)
                state.apply(batch.replace_schema_metadata(None), offsets, imported)


def an_event(kind: str, minutes_ago: float = 60, **columns: Any) -> Event:
    return {"kind": kind, "time_ms": int(NOW_MS - minutes_ago * 60_000), **columns}


def small_world() -> list[Event]:
    users = [an_event("user_create", 300, actor_id=user) for user in (VIEWER, AUTHOR, FRIEND)]
    follows = [
        an_event("follow", 200, actor_id=VIEWER, target_id=followed)
        for followed in (AUTHOR, FRIEND)
    ]
    posts = [
        an_event("post_create", 111 - post, post_id=post, author_id=AUTHOR, text=f"post {post}")
        for post in POSTS
    ]
    posts[0]["uri"] = "at://did:plc:a/app.bsky.feed.post/1"
    strange = an_event("post_create", 30, post_id=201, author_id=STRANGER)
    liked = an_event("favourite", 20, actor_id=FRIEND, post_id=201, author_id=STRANGER)
    return [*users, *follows, *posts, strange, liked]


def a_world(
    folder: Path, settings: Mapping[str, Any] | None = None, **http: Any
) -> Iterator[World]:
    """A world with the given settings, those of HTTP by name."""
    options = load(data_dir=folder, shards={"count": N_SHARDS}, http=http, **(settings or {}))
    models = Models(ArtifactStore(folder / "artifacts"))
    states = [ShardState(options, models, shard, N_SHARDS) for shard in range(N_SHARDS)]
    router = Outages(LocalRouter(states))
    with open_writer(options) as log:
        appender = Faulty(log)
        made: list[World] = []
        service = Service(
            options, router, models, appender, SECRET, clock=lambda: made[0].now_ms if made else 1
        )
        tokens = Tokens({token: [role] for role, token in TOKENS.items()})
        with TestClient(build_app(service, tokens)) as client:
            made.append(World(options, log, appender, states, router, service, client))
            yield made[0]


def problem_of(answer: Any, status: int, slug: str) -> dict[str, Any]:
    """The problem document that an answer must be."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["type"] == f"urn:murmuration:problem:{slug}"
    assert document["status"] == status
    assert document["title"]
    assert document["instance"].endswith(answer.headers["x-request-id"])
    return document


def a_stream(table: pa.Table, **options: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def a_lively_world(
    folder: Path, more: Sequence[Event] = (), settings: Mapping[str, Any] | None = None, **http: Any
) -> Iterator[World]:
    """A world in which something happened: `small_world`, and `more`."""
    events = [*small_world(), *more]
    for world in a_world(folder, settings, **http):
        answer = world.post(events)
        assert answer.json()["accepted"] == len(events)
        world.catch_up()
        yield world
