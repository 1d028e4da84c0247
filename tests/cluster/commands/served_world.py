"""A system of this process behind a real port, for commands that talk HTTP."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from cluster.run_record import RunRecord, replace_record
from cluster.tokens import Tokens
from serve_app import build_app
from tests.http_world import TOKENS, Event, World, a_world
from tests.running import free_port, wait_until

VIEWER, FRIEND, AUTHOR, REPLIER, STRANGER, LIST = 21, 22, 23, 24, 50, 900
ROOT, REPLY, QUOTE, COVERED = 301, 302, 303, 304
MORE = range(310, 330)
STRANGERS = range(400, 412)


@contextmanager
def served(folder: Path) -> Iterator[World]:
    """A world whose events are applied as they come, found by commands with `folder` as data."""
    for world in a_world(folder):
        world.now_ms = _now_ms()
        (folder / "tokens").write_text("".join(f"{t} {role}\n" for role, t in TOKENS.items()))
        (folder / "tokens").chmod(0o600)
        app = build_app(world.service, Tokens({t: [role] for role, t in TOKENS.items()}))
        port = free_port()
        server = uvicorn.Server(
            uvicorn.Config(app, port=port, log_level="error", lifespan="off", ws="none")
        )
        done = threading.Event()

        def apply(world: World = world, done: threading.Event = done) -> None:
            while not done.wait(0.01):
                world.now_ms = _now_ms()
                world.catch_up()

        threads = [threading.Thread(target=work) for work in (server.run, apply)]
        for thread in threads:
            thread.start()
        try:
            wait_until(lambda server=server: server.started, 30, "the server starts")
            replace_record(world.settings, RunRecord("here", False, {}, "127.0.0.1", port))
            yield world
        finally:
            server.should_exit = True
            done.set()
            for thread in threads:
                thread.join(30)


@contextmanager
def lively(folder: Path) -> Iterator[World]:
    """The same with a viewer who follows two authors, with a conversation and a list."""
    with served(folder) as world:
        events = _events(_now_ms())
        answer = world.post(events)
        assert answer.json()["accepted"] == len(events), answer.text
        path = f"/v1/timelines/following/{VIEWER}"
        wait_until(
            lambda: len(world.get(path, limit=100).json()["items"]) >= len(MORE),
            30,
            "the events are applied",
        )
        yield world


def _events(now_ms: int) -> list[Event]:
    def at(minutes_ago: float, kind: str, **columns: object) -> Event:
        return {"kind": kind, "time_ms": int(now_ms - minutes_ago * 60_000), **columns}

    def wrote(minutes_ago: float, post_id: int, author: int, **more: object) -> Event:
        return at(minutes_ago, "post_create", post_id=post_id, author_id=author, **more)

    reply = {"reply_to_id": ROOT, "reply_to_author_id": FRIEND, "root_id": ROOT}
    quote = {"quote_of_id": ROOT, "quote_of_author_id": FRIEND}
    return [
        *(at(900, "user_create", actor_id=user) for user in (VIEWER, FRIEND, AUTHOR, REPLIER)),
        *(at(800, "follow", actor_id=VIEWER, target_id=user) for user in (FRIEND, AUTHOR, REPLIER)),
        at(700, "list_create", actor_id=VIEWER, target_id=LIST, name="birds"),
        at(690, "list_add", actor_id=VIEWER, target_id=LIST, author_id=FRIEND),
        wrote(60, ROOT, FRIEND, text="starlings over the pier"),
        wrote(50, REPLY, REPLIER, text="a whole flock of them", **reply),
        wrote(40, QUOTE, AUTHOR, text="quoted for the pier", **quote),
        wrote(30, COVERED, AUTHOR, text="not for everybody", sensitive=True),
        *(wrote(10 + n, post, AUTHOR, text=f"note {n}") for n, post in enumerate(MORE)),
        # Each by another author: of a stranger a page has one post.
        *(wrote(10 + n, post, STRANGER + n, text=f"far {n}") for n, post in enumerate(STRANGERS)),
        *(
            at(5, "favourite", actor_id=FRIEND, post_id=post, author_id=STRANGER + n)
            for n, post in enumerate(STRANGERS)
        ),
        *(
            at(5, "favourite", actor_id=STRANGER + n, post_id=REPLY, author_id=REPLIER)
            for n in range(len(STRANGERS))
        ),
        at(4, "impression", actor_id=VIEWER, post_id=MORE[0], author_id=AUTHOR),
    ]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
