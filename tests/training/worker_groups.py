"""Workers as plain processes over gloo, without Ray: one group, killed and resumed by tests.

They are forked from one process that has imported torchrec, which takes each seconds otherwise.
"""

import multiprocessing
import os
import time
import traceback
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

_TIMEOUT_S = 200
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["training.heavy_ranker.train", "training.twhin.train"])


class WorkerGroup:
    """Processes of one process group, each of which calls a function with what is given."""

    def __init__(
        self, folder: Path, call: Callable[..., None], *given: Any, n_workers: int
    ) -> None:
        """`call(*given)` is called in each; it and what is given to it can be pickled."""
        name = uuid.uuid4().hex
        self._said = [folder / f"said-{name}-{rank}" for rank in range(n_workers)]
        self.processes = [
            _CONTEXT.Process(
                target=_work,
                args=(call, given, str(folder / f"store-{name}"), rank, n_workers, said),
                daemon=True,
            )
            for rank, said in enumerate(self._said)
        ]
        for process in self.processes:
            process.start()

    def finish(self) -> None:
        """Wait until all have returned."""
        for process, said in zip(self.processes, self._said, strict=True):
            process.join(_TIMEOUT_S)
            assert process.exitcode == 0, said.read_text()

    def kill_one_when(self, path: Path) -> None:
        """SIGKILL the last worker once a file is there, and the others, as their keeper would."""
        deadline = time.monotonic() + _TIMEOUT_S
        while not path.exists():
            assert all(process.exitcode is None for process in self.processes), "ended too early"
            assert time.monotonic() < deadline, f"{path} did not appear"
            time.sleep(0.005)
        for process in reversed(self.processes):
            process.kill()
            process.join()


def _work(
    call: Callable[..., None],
    given: tuple[Any, ...],
    store: str,
    rank: int,
    n_workers: int,
    said: Path,
) -> None:
    """One worker of a group that meets at a file."""
    warnings.simplefilter("ignore")
    os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT), 2)
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    meeting = dist.FileStore(store, n_workers)
    dist.init_process_group("gloo", store=meeting, rank=rank, world_size=n_workers)
    try:
        call(*given)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        raise
    dist.destroy_process_group()
