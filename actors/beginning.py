"""How a state begins: from snapshots, or from the archive where the log was trimmed."""

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from actors import snapshot
from actors.state import ALL_ROWS, ShardState
from cluster.archive import Archive
from cluster.ids import N_PARTITIONS, owners_of
from cluster.routing import route

_LOG = logging.getLogger(__name__)


class LogTrimmed(RuntimeError):
    """What a state has to read next is no longer in the log, and not in the archive either."""


def begin(
    state: ShardState,
    snapshots: Path,
    first_offsets: Mapping[int, int],
    until_ms: int | None = None,
) -> dict[int, int]:
    """Fill an empty state; returns the offset by lane after which the log must be read.

    Partitions that no snapshot holds are filled from the archive if the log, which has
    `first_offsets` left, does not reach back to their beginning. With `until_ms` nothing
    later is in them. Raises what is wrong with the archive.
    """
    positions = snapshot.restore(state, snapshots, until_ms)
    if missing := _missing(positions, first_offsets):
        archive = Archive(state.settings.archive_root)
        archived = archive.positions()
        if all(archived.get(lane, 0) >= first_offsets[lane] - 1 for lane in missing):
            _LOG.warning("the log was trimmed behind what snapshots hold: reading the archive")
            positions = _fill_from(archive, state, until_ms)
    for lane, offset in positions.items():
        if not offset:
            # Whatever others of the lane hold, it is read from its beginning.
            state.recent[lane].watermark_ms = 0
    state.applied = {lane: (offset, ALL_ROWS) for lane, offset in positions.items()}
    return positions


def check_reached(
    positions: Mapping[int, int], first_offsets: Mapping[int, int], archive_root: str
) -> None:
    """Raise `LogTrimmed` where records after `positions` are gone."""
    for lane in _missing(positions, first_offsets):
        raise LogTrimmed(
            f"lane {lane}: the state ends at offset {positions[lane]}, the log begins at "
            f"{first_offsets[lane]}, and neither a snapshot nor the archive {archive_root} holds "
            "what lies between"
        )


def _missing(positions: Mapping[int, int], first_offsets: Mapping[int, int]) -> list[int]:
    """Lanes of which records after `positions` were trimmed."""
    return [lane for lane, offset in positions.items() if offset < first_offsets[lane] - 1]


def _fill_from(archive: Archive, state: ShardState, until_ms: int | None) -> dict[int, int]:
    """Apply the archive to the partitions of which nothing was restored."""
    archived, batches = archive.whole(until_ms=None if until_ms is None else until_ms + 1)
    n_lanes = state.settings.log.lanes
    restored_ms = {lane: recent.watermark_ms for lane, recent in state.recent.items()}
    for batch in batches:
        for part in route(batch, n_lanes).values():
            # Offset 1 comes before the end of any snapshot, whose partitions pass it over.
            state.apply(part, np.ones(part.num_rows, np.int64), imported=True)
    for lane, watermark_ms in restored_ms.items():
        # The log is read on from where the first of the partitions ends.
        if watermark_ms:
            recent = state.recent[lane]
            recent.watermark_ms = min(recent.watermark_ms, watermark_ms)
    lanes = owners_of(np.arange(N_PARTITIONS), n_lanes)
    ends = np.array([archived.get(lane, 0) for lane in range(n_lanes)], np.int64)[lanes]
    state.skip_until = np.where(state.skip_until > 0, state.skip_until, ends)
    return snapshot.end_of(state)
