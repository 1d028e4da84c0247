"""Workers as plain processes over gloo, without Ray: one group, killed and resumed by tests."""

import pickle
import signal
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[3]
_TIMEOUT_S = 200


class WorkerGroup:
    """Processes of one process group, each of which calls a function with its rank."""

    def __init__(
        self, folder: Path, call: Callable[..., None], *given: Any, n_workers: int
    ) -> None:
        """`call(*given)` is called in each; it and what is given to it can be pickled."""
        name = uuid.uuid4().hex
        told = folder / f"told-{name}"
        told.write_bytes(pickle.dumps((call, given)))
        self.processes = [
            subprocess.Popen(
                [sys.executable, __file__, str(told), str(folder / f"store-{name}"),
                 str(rank), str(n_workers)],
                cwd=REPOSITORY,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(n_workers)
        ]  # fmt: skip

    def finish(self) -> None:
        """Wait until all have returned."""
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


def main(told: str, store: str, rank: str, n_workers: str) -> None:
    """One worker of a group that meets at a file."""
    warnings.simplefilter("ignore")
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    # Written by the test that started this process.
    call, given = pickle.loads(Path(told).read_bytes())
    meeting = dist.FileStore(store, int(n_workers))
    dist.init_process_group("gloo", store=meeting, rank=int(rank), world_size=int(n_workers))
    call(*given)
    dist.destroy_process_group()


if __name__ == "__main__":
    # Run as a script: the folder of the tests leads the path, the repository is missing.
    sys.path[0] = str(REPOSITORY)
    main(*sys.argv[1:])
