"""The whole system on the replicated log: NATS JetStream in the place of SQLite."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.nats_server import NatsServer
from tests.running import RunningSystem, listens, wait_until

pytestmark = pytest.mark.cluster

VIEWER, AUTHOR = 11, 22


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as server:
        yield server


def test_events_become_timelines_over_jetstream(nats: NatsServer, tmp_path: Path) -> None:
    system = RunningSystem(
        tmp_path,
        MURMURATION_LOG__KIND="jetstream",
        MURMURATION_LOG__SERVERS=json.dumps([nats.url]),
    )
    system.cli("up")
    try:
        now_ms = time.time_ns() // 1_000_000
        follow = {"kind": "follow", "actor_id": VIEWER, "target_id": AUTHOR, "time_ms": now_ms - 2}
        post = {"kind": "post_create", "post_id": 1, "author_id": AUTHOR, "time_ms": now_ms - 1}
        with system.client() as client:

            def shown() -> set[str]:
                page = client.get(f"/v1/timelines/for-you/{VIEWER}").json()
                return {item["post_id"] for item in page["items"]}

            assert client.post("/v1/events", json=[follow, post]).json()["accepted"] == 2
            wait_until(lambda: shown() == {"1"}, 10, "the post in For You")
            nats.kill()
            nats.start()
            later = {**post, "post_id": 2}
            answer = client.post("/v1/events", json=[later])
            assert answer.status_code == 200, answer.text
            wait_until(lambda: shown() == {"1", "2"}, 20, "both posts after the kill")
    finally:
        system.cli("down")
    assert not listens(system.port)
