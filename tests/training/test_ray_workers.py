"""Ray Train's workers: started, killed and replaced for real, of each model that has some."""

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.running import wait_until
from tests.training.heavy_ranker.synthetic import (
    examples_of,
    on_disk,
    schema_of,
    settings_of,
    taught,
)
from tests.training.twhin.networks import circles, prepared
from training.heavy_ranker.batches import Place as RankerPlace
from training.heavy_ranker.train import Run
from training.twhin.batches import Place
from training.twhin.checkpoints import Checkpoints

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

REPOSITORY = Path(__file__).resolve().parents[2]
EPOCHS = 12
# Both in one Ray: it takes longer to start than they do to train.
SCRIPT = """
import pickle, sys
from pathlib import Path
from cluster.settings import load
from training import ray_workers
from training.heavy_ranker import workers as ranker
from training.twhin import workers as twhin
folder = Path(sys.argv[1])
run, network, edges = pickle.loads((folder / "told.pickle").read_bytes())
settings = load(data_dir=folder / "data")
ray_workers.ray_environment.prepare(settings)
with ray_workers._some_ray(ray_workers.Workers("both", "", 2, 0)):
    twhin.train_on_workers(edges, settings, network, 0)
    ranker.train_on_workers(run, settings)
"""


def test_killed_workers_are_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """F8 under Ray Train: each resumes from its last checkpoint and the loss goes on falling."""
    edges, network = prepared(
        tmp_path / "twhin", circles(), workers=2, epochs=EPOCHS, batch=30, checkpoint_steps=50,
        checkpoints_kept=99, sharding="row_wise",
    )  # fmt: skip
    schema = schema_of()
    ranker = settings_of(
        workers=2, epochs=25, batch=32, checkpoint_steps=50, checkpoints_kept=99,
        learning_rate_scale=20.0, sharding="row_wise",
    )  # fmt: skip
    examples, _ = taught(examples_of(schema, 512))
    found = on_disk(tmp_path / "examples", schema, examples)
    run = Run(tmp_path / "ranker", found, ranker, 0)
    checkpoints = Checkpoints(tmp_path / "twhin" / "checkpoints", 99)
    told = pickle.dumps((run, network, tmp_path / "twhin"))
    (tmp_path / "told.pickle").write_bytes(told)
    with Driver(tmp_path) as driver:
        driver.kill_a_worker_once(lambda: checkpoints.newest() is not None)
        driver.kill_a_worker_once(lambda: run.checkpoints.newest() is not None)
        driver.finish()
    of_network = checkpoints.newest()
    assert of_network is not None
    # Each epoch leaves out the edge that two workers cannot share.
    assert of_network[:2] == (EPOCHS * -(-edges.n_edges // 60), Place(EPOCHS))
    places = [(epoch, edge) for epoch, edge, _ in of_network[2]]
    assert places == sorted(set(places)), "the curve goes on where it was"
    assert of_network[2][-1][2] < of_network[2][0][2] - 0.1
    stood = run.checkpoints.newest()
    assert stood is not None
    assert (stood.step, stood.place) == (25 * 8, RankerPlace(25))
    assert [point.step for point in stood.curve] == [50, 100, 150, 200]
    assert stood.curve[-1].loss < stood.curve[0].loss - 0.05


class Driver:
    """A process that has workers, and all processes below it."""

    def __init__(self, folder: Path) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
        self._process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)],
            cwd=REPOSITORY, env={**environment, "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._seen: set[int] = set()

    def __enter__(self) -> "Driver":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        wait_until(lambda: not any(map(_alive, self._seen)), 30, "no process of ours is left")

    def kill_a_worker_once(self, holds: Callable[[], bool]) -> None:
        """SIGKILL one of two workers when something holds."""

        def held() -> bool:
            assert self._process.poll() is None, self._process.stderr.read()  # type: ignore[union-attr]
            self._seen.update(_descendants(self._process.pid))
            return holds()

        wait_until(held, 150, "the moment to kill a worker")
        workers = [pid for pid in self._seen if b"RayTrainWorker" in _command_line(pid)]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)

    def finish(self) -> None:
        """Wait until all have trained to the end."""
        _, said = self._process.communicate(timeout=200)
        assert self._process.returncode == 0, said


def _descendants(pid: int) -> list[int]:
    """All processes below a process."""
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdecimal() and (stat := _stat(int(name))):
            parents.setdefault(int(stat[1]), []).append(int(name))
    found, open_ends = [], [pid]
    while open_ends:
        open_ends = [child for parent in open_ends for child in parents.get(parent, [])]
        found += open_ends
    return found


def _alive(pid: int) -> bool:
    return (stat := _stat(pid)) is not None and stat[0] != "Z"


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> Any:
    """State, parent and so on; what follows the name in brackets."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
