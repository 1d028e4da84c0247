"""What a JetStream log handle knows of its lanes without asking: makes an idle poll cost nothing.

Pure bookkeeping under one lock; hints (an append was acknowledged), pages (what a replica
answered) and probes (is there anything no hint told of) go in, the lanes worth asking come out.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from cluster.jetstream_fetch import LanePage


class LaneNews:
    """Acknowledged heads, and for each lane an offset above which nothing is known to be."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._heads: dict[int, int] = {}
        # A lane that is absent may hold anything.
        self._known: dict[int, int] = {}
        self._acked = 0
        self._contiguous = 0

    @property
    def contiguous(self) -> int:
        """The last offset up to which every append was hinted or probed."""
        with self._changed:
            return self._contiguous

    def is_acknowledged(self, offset: int) -> bool:
        """Whether some writer's acknowledged append reaches `offset`."""
        with self._changed:
            return offset <= self._acked

    def head(self, lane: int) -> int:
        """The last acknowledged offset of the lane that this handle heard of; 0 for none."""
        with self._changed:
            return self._heads.get(lane, 0)

    def learn_append(self, first: int, lanes: tuple[int, ...]) -> None:
        """An append to `lanes`, from offset `first` on, was acknowledged."""
        with self._changed:
            for offset, lane in enumerate(lanes, first):
                self._heads[lane] = max(self._heads.get(lane, 0), offset)
                if lane in self._known:
                    self._known[lane] = max(self._known[lane], offset)
            last = first + len(lanes) - 1
            self._acked = max(self._acked, last)
            # Behind a gap stands an append whose hint was lost; the next probe finds it.
            if first == self._contiguous + 1:
                self._contiguous = last
            self._changed.notify_all()

    def learn_probe(self, last: int) -> None:
        """Appends up to about `last` were found that no hint told of: any lane may have some."""
        with self._changed:
            self._known.clear()
            self._contiguous = max(self._contiguous, last)

    def learn_record(self, lane: int, offset: int) -> None:
        """The lane has, or will have, a record at `offset`."""
        with self._changed:
            self._known[lane] = max(self._known.get(lane, 0), offset)

    def learn_pages(self, pages: Mapping[int, LanePage]) -> list[int]:
        """Takes in replicas' answers; returns lanes that lack a record they should have.

        A lagging replica was asked, or the record was trimmed: `forget` it then.
        """
        lacking = []
        with self._changed:
            for lane, page in pages.items():
                known = self._known.get(lane, 0)
                if page.answered and not page.more and known > page.reached:
                    lacking.append(lane)
                self._known[lane] = max(known, page.reached + page.more)
        return lacking

    def forget(self, lane: int, trimmed: int) -> None:
        """The lane has no records up to `trimmed`."""
        with self._changed:
            if self._known.get(lane, 0) <= trimmed:
                self._known[lane] = 0

    def forget_all(self) -> None:
        """Hints may have been missed: any lane may hold anything."""
        with self._changed:
            self._known.clear()
            self._changed.notify_all()

    def due(self, positions: Mapping[int, int]) -> dict[int, int]:
        """The lanes that may have something after their position."""
        with self._changed:
            return self._due(positions)

    def wait(self, positions: Mapping[int, int], timeout_s: float) -> None:
        """Returns when a lane is due, or after `timeout_s`."""
        with self._changed:
            self._changed.wait_for(lambda: self._due(positions), timeout_s)

    def _due(self, positions: Mapping[int, int]) -> dict[int, int]:
        known = self._known
        return {
            lane: position
            for lane, position in positions.items()
            if lane not in known or known[lane] > position
        }
