"""A Ray that somebody else started with `ray start --head` carries the system, and outlives it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import (
    RunningSystem,
    follow_and_post,
    for_you,
    free_port,
    listens,
    ray_processes,
    wait_until,
)

pytestmark = pytest.mark.cluster

VIEWER, AUTHOR = 11, 22


@pytest.fixture
def ray_started_by_hand() -> Iterator[None]:
    before = ray_processes()
    command = [str(Path(sys.executable).parent / "ray"), "start", "--head"]
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MURMURATION_"))}
    subprocess.run(
        [*command, "--port", str(free_port()), "--disable-usage-stats"],
        env=plain, check=True, capture_output=True, timeout=90,
    )  # fmt: skip
    yield
    for pid in ray_processes():
        if pid not in before:
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: ray_processes().keys() <= before.keys(), 20, "its processes ended")


def test_up_serves_on_it_and_down_leaves_it_running(
    ray_started_by_hand: None, tmp_path: Path
) -> None:
    others = ray_processes()
    system = RunningSystem(tmp_path)
    system.cli("up")
    try:
        with system.client() as client:
            answer = client.post("/v1/events", json=follow_and_post(VIEWER, AUTHOR))
            assert answer.json()["accepted"] == 2
            wait_until(lambda: for_you(client, VIEWER) == {"1"}, 10, "the post in For You")
        assert [shard["ready"] for shard in system.status()["shards"]] == [True, True]
    finally:
        system.cli("down")
    assert not listens(system.port)
    left = ray_processes()
    servers = {pid for pid, line in others.items() if "gcs_server" in line or "raylet" in line}
    assert servers <= left.keys()
    assert not [line for line in left.values() if "ray::Shard" in line or "haproxy" in line]
