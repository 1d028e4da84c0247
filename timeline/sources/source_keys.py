"""Source keys: what the viewer did, as the posts and accounts that candidates are sought for."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from actors.signal_lists import EMPTY
from actors.signal_types import VISITS, SignalType
from actors.tastes import seeding
from cluster.ids import Ids
from timeline.candidates import Mask
from timeline.query import Query

ACCOUNT_SIGNALS = frozenset(
    {
        SignalType.ACCOUNT_FOLLOW,
        SignalType.REPEATED_PROFILE_VISIT_14D,
        SignalType.GOOD_PROFILE_CLICK_10S,
        SignalType.REAL_GRAPH_OON,
    }
)
"""Signals about accounts; those of all other types that may seed are about posts."""
OF_VIEWER = -1
"""In place of a signal: the key is the viewer."""


@dataclass(frozen=True)
class SourceKeys:
    """n keys, each to have a list of its own, that of the most recent signal first.

    Signals without a time come after those that have one, and the viewer's own keys, one for
    each engine that is asked about the viewer, last. Arrays of shape (n,).
    """

    signals: npt.NDArray[np.int16]
    """`SignalType`, or `OF_VIEWER`."""
    target_ids: Ids
    """Posts or accounts; 0 for the viewer."""
    author_ids: Ids
    of_accounts: Mask

    def __len__(self) -> int:
        return len(self.signals)

    @property
    def posts(self) -> Ids:
        """Which keys are posts."""
        return np.flatnonzero((self.signals != OF_VIEWER) & ~self.of_accounts)

    @property
    def accounts(self) -> Ids:
        """Which keys are accounts."""
        return np.flatnonzero(self.of_accounts)

    @property
    def visits(self) -> Mask:
        """Which keys are accounts visited again and again (n,)."""
        return np.isin(self.signals, np.array(list(VISITS), np.int16))

    @property
    def viewer(self) -> Ids:
        """Which keys are the viewer's own."""
        return np.flatnonzero(self.signals == OF_VIEWER)


def source_keys(query: Query, n_of_viewer: int) -> SourceKeys:
    """The viewer's signals of the types that settings name, each target once, and the viewer.

    Nothing by whom the viewer hides: it would be named as a reason. A target of several signals
    counts by the most recent of them: the same list again could only bring what its first copy
    brings before.
    """
    sources = query.settings.sources
    types = seeding(sources.signals)
    lists = [query.tastes.of(kind).take(slice(sources.max_signals)) for kind in types]
    targets, authors, times, _ = (
        np.concatenate(columns) for columns in zip(EMPTY, *lists, strict=True)
    )
    counts = [len(of.target_ids) for of in lists]
    signals = np.repeat(np.array(types, np.int16), counts)
    of_accounts = np.isin(signals, np.array(list(ACCOUNT_SIGNALS), np.int16))
    order = np.argsort(-times, kind="stable")
    heard = ~np.isin(authors, query.viewer.hidden_ids)
    order = order[((targets > 0) & (authors > 0) & heard)[order]]
    _, first = np.unique(np.where(of_accounts, -targets, targets)[order], return_index=True)
    order = order[np.sort(first)]
    own = np.zeros(n_of_viewer, np.int64)
    return SourceKeys(
        np.append(signals[order], np.full(n_of_viewer, OF_VIEWER, np.int16)),
        np.append(targets[order], own),
        np.append(authors[order], own),
        np.append(of_accounts[order], own > 0),
    )
