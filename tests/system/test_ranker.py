"""The heavy ranker in processes of its own: taken over, refused, killed, and never a page lost."""

import os
import signal
import threading
import time
from typing import Any

import pytest

from actors.models import HEAVY_RANKER
from cluster.artifacts import ArtifactStore
from cluster.settings import Settings
from tests.running import RunningSystem, ray_processes, wait_until
from tests.timeline.test_heavy_ranker import write_ranker
from tests.training.heavy_ranker.scored_models import Tensors

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("simulated")]

USER = 1_005
LOADED_WITHIN_S = 30


def store_of(system: RunningSystem) -> ArtifactStore:
    return ArtifactStore(system.data_dir / "artifacts")


def page(system: RunningSystem) -> dict[str, Any]:
    with system.client("admin") as client:
        answer = client.get(f"/v1/timelines/for-you/{USER}", params={"record": "false"})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ranks(system: RunningSystem, version: str) -> bool:
    found = page(system)
    return bool(found["model_version"] == version and not found["degraded"])


def activate(system: RunningSystem, version: str) -> None:
    system.warm_cli("activate", HEAVY_RANKER, version)
    wait_until(lambda: ranks(system, version), LOADED_WITHIN_S, f"{version} ranks")


class Load:
    """Pages asked for without a pause, as long as it is entered."""

    def __init__(self, system: RunningSystem) -> None:
        self._system = system
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(2)]
        self.pages: list[dict[str, Any]] = []
        self.failures: list[BaseException] = []

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self) -> None:
        while not self._stop.is_set():
            try:
                self.pages.append(page(self._system))
            except BaseException as error:
                self.failures.append(error)
                return


def test_versions_take_over_and_bad_ones_are_refused_under_load(system: RunningSystem) -> None:
    store, settings = store_of(system), Settings()
    first, second = (write_ranker(store, settings, seed) for seed in (1, 2))

    def forget(tensors: Tensors) -> None:
        del tensors["blocks.1.hidden.weight"]

    bad = write_ranker(store, settings, 3, forget)
    activate(system, first)
    with Load(system) as load:
        activate(system, second)
        refused = system.warm("activate", HEAVY_RANKER, bad)
        assert refused.returncode != 0
        assert "is not activated" in refused.stderr + refused.stdout
        # Whoever activates it in spite of that gets the old one.
        before = len(load.pages)
        event: dict[str, Any] = {
            "kind": "artifact_activate",
            "name": HEAVY_RANKER,
            "model_version": bad,
        }
        event["time_ms"] = time.time_ns() // 1_000_000
        with system.client("admin") as client:
            answer = client.post("/v1/events", json=[event])
        assert answer.status_code == 200, answer.text
        wait_until(lambda: len(load.pages) >= before + 10, 60, "pages go on")
    assert not load.failures
    assert {one["model_version"] for one in load.pages} <= {first, second}
    assert load.pages[-1]["model_version"] == second
    assert not any(one["degraded"] for one in load.pages)


def test_a_ranker_that_dies_costs_its_order_and_comes_back(system: RunningSystem) -> None:
    version = write_ranker(store_of(system), Settings(), 4)
    activate(system, version)
    with Load(system) as load:
        for pid in ranker_pids():
            os.kill(pid, signal.SIGKILL)
        killed = len(load.pages)
        wait_until(lambda: len(load.pages) > killed and ranks(system, version), 60, "it is back")
    assert not load.failures
    for one in load.pages:
        assert one["items"]
        assert one["degraded"] in ([], [HEAVY_RANKER])


def ranker_pids() -> list[int]:
    """Processes of the deployment."""
    lines = ray_processes().items()
    found = [pid for pid, line in lines if "ServeReplica" in line and "Ranker" in line]
    assert found
    return found
