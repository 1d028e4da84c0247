"""The columnar batch of recommended accounts, and what connections to them add up to."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from actors.follow_ties import FollowTies
from actors.stores.id_map import IdMap
from cluster.ids import Ids
from cluster.settings import Settings
from timeline.findings import Finding
from timeline.query import Query

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Aggregate = Literal["sum", "max", "multi_decay"]

MAX_PROOFS = 10


@dataclass(frozen=True)
class Accounts:
    """Accounts, best first; every array has n rows."""

    user_ids: Ids
    scores: Floats
    """The source's own."""
    proof_ids: Ids
    """(n, MAX_PROOFS): the accounts that led there, heaviest first; 0 pads."""
    proof_counts: npt.NDArray[np.int64]
    """How many led there in all."""

    def __len__(self) -> int:
        return len(self.user_ids)

    def take(self, rows: npt.NDArray[np.int64] | Mask | slice) -> "Accounts":
        """Accounts at the given rows, or of a mask."""
        return Accounts(*(column[rows] for column in vars(self).values()))

    def unproven(self) -> "Accounts":
        """The same, led to by nobody."""
        none = np.zeros_like(self.proof_ids), np.zeros_like(self.proof_counts)
        return Accounts(self.user_ids, self.scores, *none)


@dataclass(frozen=True)
class Seeker:
    """Who looks for accounts, and what is known of them by the second wave."""

    query: Query
    ties: FollowTies
    excluded: Ids
    """Sorted: the viewer, newest follows and those of before, whom the viewer hides or asked to
    leave out."""
    names: tuple[str, ...] = ()
    """Sources whose accounts count; all where there are none."""

    @property
    def settings(self) -> Settings:
        """Those of the request."""
        return self.query.settings

    def heard(self, limit: int) -> Ids:
        """The newest follows whom the viewer neither muted nor is blocked from."""
        viewer = self.query.viewer
        follows = self.ties.follow_ids
        return follows[~np.isin(follows, viewer.hidden_ids)][:limit]

    def new(self, user_ids: Ids) -> Mask:
        """Who of these may still be recommended."""
        new: Mask = self._numbers.get(user_ids) < 0
        return new

    def counts(self, *names: str) -> bool:
        """Whether the accounts of any of these sources count."""
        return not self.names or not set(self.names).isdisjoint(names)

    @cached_property
    def _numbers(self) -> IdMap:
        numbers = IdMap(len(self.excluded))
        numbers.get_or_insert(self.excluded)
        return numbers


class AccountSource(Protocol):
    """Finds accounts; one question may serve several sources of the original."""

    @property
    def names(self) -> tuple[str, ...]:
        """The sources of the original that it serves."""

    def find(self, seeker: Seeker) -> Finding[Mapping[str, Accounts]]:
        """A generator that asks at most one wave, and returns accounts by source."""


def ranked(user_ids: Ids, scores: npt.NDArray[np.number], limit: int) -> Accounts:
    """The `limit` best by score, of equals the lesser id; nobody led there."""
    best = np.lexsort((user_ids, -scores))[:limit]
    n = len(best)
    proofs = np.zeros((n, MAX_PROOFS), np.int64), np.zeros(n, np.int64)
    return Accounts(user_ids[best], scores[best].astype(np.float64), *proofs)


def connected(
    seed_ids: Ids,
    places: npt.NDArray[np.int64],
    user_ids: Ids,
    weights: npt.NDArray[np.floating],
    *,
    limit: int,
    least: int = 1,
    aggregate: Aggregate = "sum",
    nearness: npt.NDArray[np.floating] | None = None,
) -> Accounts:
    """The `limit` best accounts by the weights of their connections, and to whom those lead.

    Connection i (m,) goes from seed `seed_ids[places[i]]` to `user_ids[i]`; at most one of
    each pair. Accounts with fewer than `least` are left out. `multi_decay` is 0.1 of the
    greatest weight, plus each weight times 0.8 to the power of its rank, plus 0.1 for each.
    Proofs are the heaviest connections, or those of the seeds with the most `nearness` (s,).
    """
    if not len(user_ids):
        return NO_ACCOUNTS
    # A total order, so that the outcome does not depend on which shard said what first.
    first = weights if nearness is None else nearness[places]
    order = np.lexsort((places, -first, user_ids))
    ids, places = user_ids[order], places[order]
    values = weights[order].astype(np.float64)
    starts = np.flatnonzero(np.r_[True, ids[1:] != ids[:-1]])
    counts = np.diff(np.r_[starts, len(ids)])
    greatest = np.maximum.reduceat(values, starts)
    if aggregate == "sum":
        totals = np.add.reduceat(values, starts)
    elif aggregate == "max":
        totals = greatest
    else:
        ranks = np.arange(len(ids)) - np.repeat(starts, counts)
        totals = 0.1 * greatest + np.add.reduceat(values * 0.8**ranks, starts) + 0.1 * counts
    enough = np.flatnonzero(counts >= least)
    best = enough[np.lexsort((ids[starts[enough]], -totals[enough]))[:limit]]
    columns = np.arange(MAX_PROOFS)
    shown = columns < counts[best, None]
    proofs = np.zeros((len(best), MAX_PROOFS), np.int64)
    proofs[shown] = seed_ids[places[(starts[best, None] + columns)[shown]]]
    return Accounts(ids[starts[best]], totals[best], proofs, counts[best])


def told(found: Mapping[str, Accounts]) -> Finding[Mapping[str, Accounts]]:
    """A finding that asks nothing."""
    yield from ()
    return found


NO_ACCOUNTS = Accounts(
    np.empty(0, np.int64),
    np.empty(0),
    np.empty((0, MAX_PROOFS), np.int64),
    np.empty(0, np.int64),
)
"""No accounts."""
