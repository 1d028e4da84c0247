"""The whole system on the replicated log: NATS JetStream in the place of SQLite."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.nats_server import NatsServer
from tests.running import RunningSystem, follow_and_post, for_you, listens, wait_until

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
        events = follow_and_post(VIEWER, AUTHOR)
        with system.client() as client:
            assert client.post("/v1/events", json=events).json()["accepted"] == 2
            wait_until(lambda: for_you(client, VIEWER) == {"1"}, 10, "the post in For You")
            nats.kill()
            nats.start()
            later = {**events[1], "post_id": 2}
            answer = client.post("/v1/events", json=[later])
            assert answer.status_code == 200, answer.text
            wait_until(
                lambda: for_you(client, VIEWER) == {"1", "2"}, 20, "both posts after the kill"
            )
    finally:
        system.cli("down")
    assert not listens(system.port)
