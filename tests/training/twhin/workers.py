"""Workers as plain processes over gloo, without Ray: one group, killed and resumed by tests."""

import json
import signal
import subprocess
import sys
import time
import uuid
import warnings
from pathlib import Path
from typing import Any

from cluster.training_settings import TwhinSettings

REPOSITORY = Path(__file__).resolve().parents[3]
_TIMEOUT_S = 200


class WorkerGroup:
    """Processes that train together on the edges of a folder."""

    def __init__(self, folder: Path, settings: TwhinSettings, seed: int, n_workers: int) -> None:
        told = {"folder": str(folder), "settings": settings.model_dump(), "seed": seed}
        store = folder / f"store-{uuid.uuid4().hex}"
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, json.dumps(told), str(store), str(rank), str(n_workers)],
                cwd=REPOSITORY,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(n_workers)
        ]

    def finish(self) -> None:
        """Wait until all have trained to the end."""
        for process in self.processes:
            _, said = process.communicate(timeout=_TIMEOUT_S)
            assert process.returncode == 0, said

    def kill_one_when(self, path: Path) -> None:
        """SIGKILL the last worker once a file is there, and the others, as their keeper would."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not path.exists():
            assert all(process.poll() is None for process in self.processes), "ended too early"
            assert time.monotonic() < deadline, f"{path} did not appear"
            time.sleep(0.005)
        for process in reversed(self.processes):
            process.send_signal(signal.SIGKILL)
            process.communicate()


def train_together(folder: Path, settings: TwhinSettings, seed: int, n_workers: int) -> None:
    """Train to the end."""
    WorkerGroup(folder, settings, seed, n_workers).finish()


def main(told: str, store: str, rank: str, n_workers: str) -> None:
    """One worker of a group that meets at a file."""
    warnings.simplefilter("ignore")
    config: dict[str, Any] = json.loads(told)
    import torch.distributed as dist

    from training.twhin.train import train_worker

    meeting = dist.FileStore(store, int(n_workers))
    dist.init_process_group("gloo", store=meeting, rank=int(rank), world_size=int(n_workers))
    train_worker(config)
    dist.destroy_process_group()


if __name__ == "__main__":
    # Run as a script: the folder of the tests leads the path, the repository is missing.
    sys.path[0] = str(REPOSITORY)
    main(*sys.argv[1:])
