"""Ray Train's workers: started, killed and replaced for real."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.running import wait_until
from tests.training.twhin.networks import circles, prepared
from tests.training.twhin.workers import REPOSITORY
from training.twhin.batches import Place
from training.twhin.checkpoints import Checkpoints

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

SCRIPT = """
import sys
from pathlib import Path
from cluster.settings import load
from training.twhin.workers import train_on_workers
folder = Path(sys.argv[1])
settings = load(data_dir=folder / "data")
twhin = type(settings.training.twhin).model_validate_json(sys.argv[2])
train_on_workers(folder, settings, twhin, 0)
"""


def test_a_killed_worker_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """F8 under Ray Train: it resumes from its last checkpoint and the loss goes on falling."""
    edges, settings = prepared(
        tmp_path,
        circles(),
        workers=2,
        epochs=40,
        batch=30,
        checkpoint_steps=50,
        checkpoints_kept=99,
        sharding="row_wise",
    )
    checkpoints = Checkpoints(tmp_path / "checkpoints", 99)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path), settings.model_dump_json()],
        cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    seen: set[int] = set()
    try:

        def first_checkpoint() -> bool:
            assert driver.poll() is None, driver.stderr.read()  # type: ignore[union-attr]
            seen.update(descendants(driver.pid))
            return checkpoints.newest() is not None

        wait_until(first_checkpoint, 150, "a checkpoint")
        workers = [pid for pid in seen if b"RayTrainWorker" in command_line(pid)]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        _, said = driver.communicate(timeout=200)
        assert driver.returncode == 0, said
    finally:
        driver.kill()
    newest = checkpoints.newest()
    assert newest is not None
    # Each epoch leaves out the edge that two workers cannot share.
    steps = 40 * -(-edges.n_edges // 60)
    assert newest[:2] == (steps, Place(40))
    places = [(epoch, edge) for epoch, edge, _ in newest[2]]
    assert places == sorted(set(places)), "the curve goes on where it was"
    assert newest[2][-1][2] < newest[2][0][2] - 0.1
    wait_until(lambda: not any(map(alive, seen)), 30, "no process of ours is left")


def descendants(pid: int) -> list[int]:
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


def alive(pid: int) -> bool:
    return (stat := _stat(pid)) is not None and stat[0] != "Z"


def command_line(pid: int) -> bytes:
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
