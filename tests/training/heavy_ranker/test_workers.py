"""Ray Train's workers: started, killed and replaced for real."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.running import wait_until
from tests.training.heavy_ranker.processes import REPOSITORY
from tests.training.heavy_ranker.synthetic import (
    examples_of,
    on_disk,
    schema_of,
    settings_of,
    taught,
)
from tests.training.twhin.test_workers import alive, command_line, descendants
from training.heavy_ranker.batches import Place
from training.heavy_ranker.train import Run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

SCRIPT = """
import pickle, sys
from pathlib import Path
from cluster.settings import load
from training.heavy_ranker.workers import train_on_workers
folder = Path(sys.argv[1])
run = pickle.loads((folder / "run.pickle").read_bytes())
train_on_workers(run, load(data_dir=folder / "data"))
"""


def test_a_killed_worker_is_replaced_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """F8 under Ray Train: it resumes from its last checkpoint and the loss goes on falling."""
    schema = schema_of()
    examples, _ = taught(examples_of(schema, 512))
    settings = settings_of(
        workers=2, epochs=25, batch=32, checkpoint_steps=50, checkpoints_kept=99,
        learning_rate_scale=20.0, sharding="row_wise",
    )  # fmt: skip
    found = on_disk(tmp_path / "examples", schema, examples)
    run = Run(tmp_path / "run", found, settings, 0)
    (tmp_path / "run.pickle").write_bytes(pickle.dumps(run))
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    driver = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    seen: set[int] = set()
    try:

        def first_checkpoint() -> bool:
            assert driver.poll() is None, driver.stderr.read()  # type: ignore[union-attr]
            seen.update(descendants(driver.pid))
            return run.checkpoints.newest() is not None

        wait_until(first_checkpoint, 150, "a checkpoint")
        workers = [pid for pid in seen if b"RayTrainWorker" in command_line(pid)]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        _, said = driver.communicate(timeout=200)
        assert driver.returncode == 0, said
    finally:
        driver.kill()
    newest = run.checkpoints.newest()
    assert newest is not None
    assert (newest.step, newest.place) == (25 * 8, Place(25))
    assert [point.step for point in newest.curve] == [50, 100, 150, 200]
    losses = [point.loss for point in newest.curve]
    assert losses[-1] < losses[0] - 0.05
    wait_until(lambda: not any(map(alive, seen)), 30, "no process of ours is left")
