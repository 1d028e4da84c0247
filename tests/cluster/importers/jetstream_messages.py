"""Jetstream messages as a server would send them, for tests."""

import random
from collections.abc import Iterator
from typing import Any

import orjson

DIGITS = "234567abcdefghijklmnopqrstuvwxyz"
BEGIN_US = 1_725_911_162_000_000
BEGIN_MS = BEGIN_US // 1000
NOW_MS = BEGIN_MS + 86_400_000


def tid(time_us: int, clock: int = 0) -> str:
    value = time_us << 10 | clock
    return "".join(DIGITS[value >> 5 * place & 31] for place in range(12, -1, -1))


def did(number: int) -> str:
    return f"did:plc:{number:024d}"


def post_uri(author: int, rkey: str) -> str:
    return f"at://{did(author)}/app.bsky.feed.post/{rkey}"


def commit(
    user: int,
    time_us: int,
    collection: str,
    rkey: str,
    record: dict[str, Any] | None = None,
    operation: str = "create",
) -> dict[str, Any]:
    body: dict[str, Any] = {"rev": tid(time_us), "operation": operation}
    body |= {"collection": f"app.bsky.{collection}", "rkey": rkey}
    if record is not None:
        body |= {"record": record, "cid": "bafyreib"}
    return {"did": did(user), "time_us": time_us, "kind": "commit", "commit": body}


def post(user: int, time_us: int, rkey: str, **record: Any) -> dict[str, Any]:
    return commit(user, time_us, "feed.post", rkey, {"text": "hello", **record})


def like(user: int, time_us: int, rkey: str, uri: str) -> dict[str, Any]:
    return commit(user, time_us, "feed.like", rkey, {"subject": {"uri": uri, "cid": "bafyreib"}})


def follow(user: int, time_us: int, rkey: str, target: int) -> dict[str, Any]:
    return commit(user, time_us, "graph.follow", rkey, {"subject": did(target)})


def delete(user: int, time_us: int, collection: str, rkey: str) -> dict[str, Any]:
    return commit(user, time_us, collection, rkey, operation="delete")


def lines_of(messages: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(message) + b"\n" for message in messages)


def stream(n: int, seed: int, *, deletes: bool = True) -> Iterator[dict[str, Any]]:
    """A plausible mix of `n` messages of 20 users."""
    rng = random.Random(seed)
    posts: list[str] = []
    records: list[tuple[int, str, str]] = []
    for index in range(n):
        time_us = BEGIN_US + index * 700
        user, rkey, draw = rng.randrange(20), tid(time_us, rng.randrange(1024)), rng.random()
        if draw < 0.3 or not posts:
            posts.append(post_uri(user, rkey))
            yield post(user, time_us, rkey, langs=["en"], createdAt="2024-09-09T19:46:00.000Z")
        elif draw < 0.7:
            records.append((user, "feed.like", rkey))
            yield like(user, time_us, rkey, rng.choice(posts))
        elif draw < 0.85 or not deletes or not records:
            records.append((user, "graph.follow", rkey))
            yield follow(user, time_us, rkey, (user + rng.randrange(1, 20)) % 20)
        else:
            user, collection, rkey = records.pop(rng.randrange(len(records)))
            yield delete(user, time_us, collection, rkey)
