"""Builds indexes of vectors in a process of its own, and swaps them in.

Vectors that come are compared one by one until there is an index of them. To build one takes
a core for minutes, which the process that answers requests cannot spare; to extend the one that
serves, seconds.
"""

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actors.stores.hnsw import HnswBase, build_base, extend_base

if TYPE_CHECKING:
    # The process that builds needs none of it.
    from actors.vectors import VectorsKind

_LOG = logging.getLogger(__name__)
_LOOK_EVERY_S = 5.0
_RETRY_S = 300.0
_IDLE_FOR_S = 1_800.0
"""How long a build may take on time that nothing else wants. A core that is merely shared with
it answers late: whoever wakes waits until its turn has ended."""
_NICE = 10
"""How it runs if that was not enough."""
_MOST_GONE = 0.25
"""Of an extended index, vectors that were replaced or removed: with more it is built anew."""


class BuildFailed(RuntimeError):
    """The process that was to build an index ended without one."""


class NearRebuilds:
    """A thread that rebuilds the index of a shard's vectors when too many are not in it.

    `vectors` gives the kind as it is now: a restore begins it anew. Exporting and swapping
    need no other thread to wait, since an index has a lock of its own. What fails is counted
    in `failed` and tried again later. Under `scratch` lies the index that was built last, to be
    extended by the next one.
    """

    def __init__(
        self,
        vectors: Callable[[], "VectorsKind"],
        scratch: Path,
        rebuild_after: int,
        *,
        look_every_s: float = _LOOK_EVERY_S,
        retry_s: float = _RETRY_S,
        idle_for_s: float = _IDLE_FOR_S,
    ) -> None:
        self._vectors = vectors
        self._scratch = scratch
        self._rebuild_after = rebuild_after
        self._look_every_s = look_every_s
        self._retry_s = retry_s
        self._idle_for_s = idle_for_s
        self._not_before = 0.0
        self._stop = threading.Event()
        self._building = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._last: Path | None = None
        """The folder of the index that was built last."""
        self.built = 0
        self.failed = 0
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="near-rebuilds", daemon=True)

    def start(self) -> None:
        """Begin to look, now and then, whether an index is due."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and the process that builds if there is one."""
        self._stop.set()
        with self._building:
            if self._child:
                self._child.kill()
        if self._thread.ident:
            self._thread.join(10)
        shutil.rmtree(self._scratch, ignore_errors=True)

    def status(self) -> dict[str, Any]:
        """How many indexes were built, how many builds failed, and why the last one did."""
        return {"built": self.built, "failed": self.failed, "failure": self.failure}

    def _run(self) -> None:
        while not self._stop.wait(self._look_every_s):
            if time.monotonic() < self._not_before:
                continue
            try:
                if self._due():
                    self._rebuild()
                    self.built += 1
                    self.failure = None
            except Exception as error:
                if self._stop.is_set():
                    return
                self.failed += 1
                self.failure = f"{type(error).__name__}: {error}"
                self._not_before = time.monotonic() + self._retry_s
                _LOG.exception("an index of vectors was not built, trying again later")

    def _due(self) -> bool:
        return self._vectors().sizes()["vectors_one_by_one"] > self._rebuild_after

    def _rebuild(self) -> None:
        kind = self._vectors()
        version = kind.version
        before, ids, vectors, mark = kind.export_fresh_near(version)
        extended = before.path
        gone = np.count_nonzero(ids == 0) > _MOST_GONE * len(ids)
        if extended is None or not extended.exists() or gone:
            extended = None
            ids, vectors, mark = kind.export_near(version)
        self._scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._scratch))
        try:
            np.save(folder / _VECTORS, vectors)
            dimension = vectors.shape[1]
            del vectors
            self._build(folder, extended)
            (folder / _VECTORS).unlink()
            base = HnswBase.load(folder / _INDEX, ids, dimension)
            kind.swap_near(version, base, mark)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            # If it was the file that was to be extended, the next one is built anew.
            self._keep(None)
            raise
        self._keep(folder)

    def _keep(self, folder: Path | None) -> None:
        if self._last:
            shutil.rmtree(self._last, ignore_errors=True)
        self._last = folder

    def _build(self, folder: Path, extended: Path | None) -> None:
        """Run `main` over a folder; raises `BuildFailed`."""
        arguments = [str(folder), *([str(extended)] if extended else [])]
        try:
            self._run_main(folder, [_IDLE, *arguments], self._idle_for_s)
        except subprocess.TimeoutExpired:
            self._run_main(folder, [_SHARING, *arguments], None)

    def _run_main(self, folder: Path, arguments: list[str], timeout_s: float | None) -> None:
        command = [sys.executable, "-m", "actors.near_rebuild", *arguments]
        path = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        with open(folder / "errors", "w+b") as errors:
            with self._building:
                if self._stop.is_set():
                    raise BuildFailed("stopped")
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                    env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
                )
            try:
                status = self._child.wait(timeout_s)
            finally:
                with self._building:
                    if self._child.stdin:
                        self._child.stdin.close()
                    self._child.kill()
                    self._child.wait()
                    self._child = None
            if status:
                errors.seek(0)
                told = errors.read().decode(errors="replace").strip().splitlines()
                raise BuildFailed(f"exit status {status}: {told[-1] if told else 'no message'}")


_VECTORS = "vectors.npy"
_INDEX = "index.hnsw"
_IDLE, _SHARING = "idle", "sharing"


def main() -> None:
    """Build the index of the vectors in a folder, or with a third argument that file's and
    these; ends when the process that asked does."""
    policy, folder, *extended = sys.argv[1], *map(Path, sys.argv[2:])
    if policy == _IDLE:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    else:
        os.nice(_NICE)
    # Its end of the pipe closes however that process ends.
    threading.Thread(target=_end_with_input, daemon=True).start()
    vectors = np.load(folder / _VECTORS, mmap_mode="r")
    if extended:
        extend_base(folder / _INDEX, extended[0], vectors)
    else:
        build_base(folder / _INDEX, vectors)


def _end_with_input() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
