"""The actor that keeps the past: log to archive, and retention."""

import logging
import os
import threading
import time
from typing import Any

import ray

from actors import snapshot
from actors.labelling import labelled_positions
from cluster.archiver import Archiver
from cluster.logs import features_lane, open_reader
from cluster.settings import Settings

_LOG = logging.getLogger(__name__)
_STEP_EVERY_S = 2.0
"""A step writes a file for each sort of event, however few there are."""
_TRIM_EVERY_S = 60.0
_YIELDS = 5
"""How much less pressing the archive is than requests, as `nice` has it."""


class Keeper:
    """Archives the log as it grows and trims what every reader has passed.

    `writer` is the handle of the actor that owns the log, or None where this process may
    trim it itself. With `trims` False the log stays: shards that stop at a past instant may
    still have to read what snapshots of later hold.
    """

    def __init__(self, settings: Settings, writer: Any = None, trims: bool = True) -> None:
        self._settings = settings
        self._writer = writer
        self._trims = trims
        self._stop = threading.Event()
        self._step = threading.Lock()
        self._log = open_reader(settings)
        lane = features_lane(settings)
        self._archiver = Archiver(
            self._log, settings.archive_root, range(settings.log.lanes), features_lane=lane
        )
        self.failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self._thread.start()

    def flush(self) -> int:
        """Archive everything acknowledged so far; returns the records archived."""
        total = 0
        with self._step:
            while done := self._archiver.step():
                total += done
        return total

    def status(self) -> dict[str, Any]:
        """Archived offsets, and what went wrong last."""
        positions = self._archiver.positions()
        return {"archived": max(positions.values(), default=0), "failure": self.failure}

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        os.nice(_YIELDS)  # Of this thread alone.
        next_trim = time.monotonic() + _TRIM_EVERY_S
        while not self._stop.is_set():
            try:
                with self._step:
                    self._archiver.step()
                self.failure = None
                if time.monotonic() >= next_trim:
                    self._housekeep()
                    next_trim = time.monotonic() + _TRIM_EVERY_S
                self._stop.wait(_STEP_EVERY_S)
            except Exception as error:
                # The archive falls behind and retention waits for it; nothing is lost.
                self.failure = f"{type(error).__name__}: {error}"
                _LOG.exception("archiving failed, trying again")
                self._stop.wait(5.0)

    def _housekeep(self) -> None:
        """Compact the archive, and trim the log behind archive and snapshots."""
        now_ms = time.time_ns() // 1_000_000
        with self._step:
            for date in self._archiver.fragmented():
                self._archiver.compact(date, now_ms)
            self._archiver.sweep(now_ms)
            archived = self._archiver.positions()
        if not self._trims:
            return
        kept = snapshot.safe_offsets(self._settings.data_dir / "snapshots")
        kept[features_lane(self._settings)] = archived.get(features_lane(self._settings), 0)
        trim = {lane: min(archived.get(lane, 0), offset) for lane, offset in kept.items()}
        # Where posts are labelled, that is a reader as well.
        labelled = labelled_positions(self._settings)
        trim = {lane: min(offset, labelled.get(lane, offset)) for lane, offset in trim.items()}
        trim = {lane: offset for lane, offset in trim.items() if offset > 0}
        if not trim:
            return
        if self._writer is None:
            self._log.trim(trim)
        else:
            ray.get(self._writer.trim.remote(trim), timeout=60)
