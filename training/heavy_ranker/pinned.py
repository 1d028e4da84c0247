"""Which data a run learns from, kept beside its checkpoints: what grows meanwhile is for the next.

Else a run that was cut off would begin anew whenever an event had been archived since, which on
a running system is always, and one that takes longer than its process lives would never end.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster.archive import Archive
from cluster.durable import replace_file

_PINNED = "pinned.json"


@dataclass(frozen=True)
class Pinned:
    """How far a run has read."""

    until_ms: int
    """Nothing that happened from then on is known to it."""
    archive: dict[str, int]
    """By lane of the log, the offset of the last record in the archive."""


def pinned(folder: Path, archive: Archive, until_ms: int, *, goes_on: bool) -> Pinned:
    """What the run in a private folder reads: up to `until_ms`, unless it began before.

    One that began keeps to what it read where it `goes_on`, and otherwise (it found too little,
    or was cut off before it had found out) only while nothing was archived since: after that
    the folder is emptied.
    """
    path = folder / _PINNED
    now = {str(lane): offset for lane, offset in sorted(archive.positions().items())}
    if path.exists():
        before = Pinned(**json.loads(path.read_bytes()))
        if goes_on or before.archive == now:
            return before
        shutil.rmtree(folder)
        folder.mkdir(mode=0o700)
    found = Pinned(until_ms, now)
    replace_file(path, json.dumps(asdict(found), indent=1).encode())
    return found
