"""A store's rows on their way into a smaller one, in slices between which both are written to.

To forget old rows a store is built anew from those that are kept. Done at once that holds up
whoever writes for seconds; so the rows move slice by slice. What is written meanwhile goes
into the old store as ever, which readers read until the end, and into the new one too where
the row has been moved or passed over, or came later. A row that still waits takes it along.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

S = TypeVar("S")


class Move(Generic[S]):
    """The rows 0 … n − 1 of a store on their way to its `successor`, in their order."""

    def __init__(self, successor: S, n: int) -> None:
        self.successor = successor
        self._n = n
        self._moved = 0

    def follows(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
        """Which writes must be made in the successor too; row −1 stands for one to come."""
        passed: npt.NDArray[np.bool_] = (rows < self._moved) | (rows >= self._n)
        return passed

    def run(self, hand_over: Callable[[slice], None], ends: Ids) -> Iterator[None]:
        """Move the rows up to each of `ends`, of which the last is n."""
        for end in ends.tolist():
            hand_over(slice(self._moved, end))
            self._moved = end
            yield


def slices_of(costs: npt.NDArray[np.integer], budget: int) -> Ids:
    """Where to cut rows that cost so much each, into slices of about the budget."""
    total = np.cumsum(costs)
    if not len(total):
        return np.empty(0, np.int64)
    ends = np.searchsorted(total, np.arange(budget, int(total[-1]) + budget, budget)) + 1
    return np.unique(np.minimum(ends, len(total)))


def finished(slices: Generator[None, None, S]) -> S:
    """What a generator returns in the end, with nothing between its slices."""
    while True:
        try:
            next(slices)
        except StopIteration as end:
            found: S = end.value
            return found
