"""One list of signals: targets in their order, with when and how much."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids

Floats = npt.NDArray[np.float64]
NO_IDS = np.empty(0, np.int64)


class SignalList(NamedTuple):
    """Signals of one type in their order; arrays of shape (n,)."""

    target_ids: Ids
    """Posts, or accounts."""
    author_ids: Ids
    """Of the posts; accounts are their own."""
    times_ms: Ids
    """0 where the signal is a score."""
    values: Floats
    """What the type measures: visits, milliseconds, a score or a weight; else 0."""

    def take(self, chosen: npt.NDArray[np.int64] | npt.NDArray[np.bool_] | slice) -> "SignalList":
        """The chosen ones."""
        return SignalList(
            self.target_ids[chosen],
            self.author_ids[chosen],
            self.times_ms[chosen],
            self.values[chosen],
        )


EMPTY = SignalList(NO_IDS, NO_IDS, NO_IDS, np.empty(0))


def unvalued(target_ids: Ids, author_ids: Ids, times_ms: Ids) -> SignalList:
    """Signals that measure nothing."""
    return SignalList(target_ids, author_ids, times_ms, np.zeros(len(target_ids)))


def joined(parts: Iterable[SignalList]) -> SignalList:
    """Lists one after the other."""
    return SignalList(*(np.concatenate(c) for c in zip(EMPTY, *parts, strict=True)))


def newest_first(found: SignalList) -> SignalList:
    """By time, then target, descending."""
    return found.take(np.lexsort((-found.target_ids, -found.times_ms)))


def first_of_each(found: SignalList) -> SignalList:
    """Without repeated targets, the order kept."""
    _, first = np.unique(found.target_ids, return_index=True)
    return found.take(np.sort(first))


def by_author(found: SignalList) -> SignalList:
    """The authors of posts, each once, newest first."""
    authors = found.author_ids
    by_account = unvalued(authors, authors, found.times_ms)
    return first_of_each(newest_first(by_account.take(authors > 0)))
