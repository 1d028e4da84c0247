"""In which order accounts of several sources come: drawn by weight, and deduplicated.

The original's fatigue (rank plus 5 for each time a recommendation was shown in vain) is not
here: no event says that an account was recommended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from timeline.follow_recommendations.accounts import NO_ACCOUNTS, Accounts, Floats, Mask

Draw = Literal["random", "round_robin"]


@dataclass(frozen=True)
class Pool:
    """What all sources found, row by row; an account has a row for each source that found it."""

    accounts: Accounts
    sources: npt.NDArray[np.int64]
    """(n,): places in `names`."""
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.accounts)

    def take(self, rows: npt.NDArray[np.int64] | Mask) -> "Pool":
        """The given rows."""
        return Pool(self.accounts.take(rows), self.sources[rows], self.names)


def pooled(found: Mapping[str, Accounts]) -> Pool:
    """Sources' accounts as one pool, source by source."""
    names, parts = tuple(found), [NO_ACCOUNTS, *found.values()]
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    sources = np.repeat(np.arange(len(names)), [len(part) for part in found.values()])
    return Pool(Accounts(*(np.concatenate(column) for column in columns)), sources, names)


def weighted_order(
    pool: Pool,
    weights: Mapping[str, float],
    seed: int,
    *,
    shuffle: bool = False,
    draw: Draw = "random",
) -> npt.NDArray[np.int64]:
    """Rows of a pool in the order in which sources are drawn and give their next account.

    A source is drawn with replacement in proportion to its weight (1 unless told), until it
    has nothing left; one of weight 0 never is. Drawn as a race: where the accounts of each
    source arrive at the instants of a Poisson process of that rate, the order of arrival has
    exactly this distribution. `round_robin` spaces each source's accounts evenly instead.
    `shuffle` first reorders each source at random: see `shuffled`.
    """
    rows, arrivals = [np.empty(0, np.int64)], [np.empty(0)]
    for place, name in enumerate(pool.names):
        weight = weights.get(name, 1.0)
        mine = np.flatnonzero(pool.sources == place)
        if weight <= 0 or not len(mine):
            continue
        # A source draws the same whichever others there are.
        rng = np.random.default_rng([seed, crc32(name.encode())])
        rows.append(mine[shuffled(len(mine), rng)] if shuffle else mine)
        gaps = rng.exponential(size=len(mine)) if draw == "random" else np.ones(len(mine))
        arrivals.append(np.cumsum(gaps) / weight)
    order: npt.NDArray[np.int64] = np.argsort(np.concatenate(arrivals), kind="stable")
    return np.concatenate(rows)[order]


def shuffled(n: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A weighted random permutation in which rank r, from 0, has the weight 1 / r².

    The first has an infinite weight and stays first, as in the original.
    """
    return np.argsort(rng.exponential(size=n) * np.arange(n, dtype=np.float64) ** 2, kind="stable")


def first_n(user_ids: Ids, order: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.int64]:
    """The first row of each of the first `n` accounts in an order of rows."""
    _, first = np.unique(user_ids[order], return_index=True)
    return order[np.sort(first)[:n]]


def merged_scores(pool: Pool, user_ids: Ids) -> Floats:
    """Sum over sources of 1 / (1 + rank in the source): how strongly all agree on each (n,)."""
    places = np.flatnonzero(np.r_[True, pool.sources[1:] != pool.sources[:-1]])
    lengths = np.diff(np.r_[places, len(pool)])
    ranks = np.arange(len(pool)) - np.repeat(places, lengths)
    order = np.argsort(user_ids)
    at = np.searchsorted(user_ids[order], pool.accounts.user_ids)
    at = np.minimum(at, max(len(order) - 1, 0))
    if not len(order):
        return np.empty(0)
    known = user_ids[order][at] == pool.accounts.user_ids
    totals = np.bincount(order[at[known]], 1 / (1 + ranks[known]), len(user_ids))
    return totals.astype(np.float64)


def evidence(pool: Pool, user_ids: Sequence[int]) -> list[list[tuple[str, int]]]:
    """Which sources found each account, and in which row of the pool; in the pool's order."""
    found: dict[int, list[tuple[str, int]]] = {user: [] for user in user_ids}
    wanted = np.flatnonzero(np.isin(pool.accounts.user_ids, np.array(user_ids, np.int64)))
    for row in wanted.tolist():
        user = int(pool.accounts.user_ids[row])
        found[user].append((pool.names[pool.sources[row]], row))
    return [found[user] for user in user_ids]
