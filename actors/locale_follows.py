"""Who was followed lately, and from which country and language: counted anew every minute.

A follow counts where the follower lives, who has a country and a language. The counts of
several shards add up, so popularity is the same for any number of them.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from actors.state import ShardState
from actors.stores.id_map import IdMap
from actors.stores.kernels import kernel
from actors.stores.versions import versions_of
from cluster.ids import Ids

Counts = npt.NDArray[np.int32]

REFRESH_MS = 60_000
_PLACES_TOLD = 64
"""Pairs of a country and a language kept of a minute: some 100 KB each."""
_CHEAP = 50_000
"""So many follows are counted in a millisecond."""
_NOWHERE = -1
"""The code of no country and no language."""
MAX_TOLD = 5_000
"""Accounts that one shard tells of: sums are exact while no more were followed in the window;
of more, those that have the most follows are told."""


def _none() -> Counts:
    return np.empty(0, np.int32)


@dataclass(frozen=True)
class LocaleFollows:
    """New follows of n accounts, and of all accounts together."""

    user_ids: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    """Ascending."""
    everywhere: Counts = field(default_factory=_none)
    in_country: Counts = field(default_factory=_none)
    in_language: Counts = field(default_factory=_none)
    totals: tuple[int, int, int] = (0, 0, 0)
    """Everywhere, in the country, in the language."""


@dataclass(frozen=True)
class AskLocaleFollows:
    """Who was followed lately, from a country and from a language; for every shard.

    A country or language of "" is nobody's.
    """

    country: str
    language: str
    window_ms: int
    now_ms: int
    exact: bool = False
    """Of all that is known now: the same answer whatever was asked before."""

    def answer(self, state: ShardState) -> LocaleFollows:
        """As of the minute of `now_ms`: of that minute, what the first to ask found. A shard of
        few follows counts anew whenever one came."""
        counted = _counted(state, self.window_ms, self.now_ms, exact=self.exact)
        return counted.of(state, self.country, self.language)


def summed(parts: Sequence[LocaleFollows]) -> LocaleFollows:
    """What several shards counted, as one."""
    if not parts:
        return LocaleFollows()
    ids, at = np.unique(np.concatenate([part.user_ids for part in parts]), return_inverse=True)
    columns = np.zeros((3, len(ids)), np.int32)
    for name, column in zip(("everywhere", "in_country", "in_language"), columns, strict=True):
        np.add.at(column, at, np.concatenate([getattr(part, name) for part in parts]))
    totals = np.array([part.totals for part in parts]).sum(axis=0).tolist()
    everywhere, in_country, in_language = columns
    return LocaleFollows(ids, everywhere, in_country, in_language, tuple(totals))


class _Counted:
    """One shard's new follows as of a minute, each with where its follower is."""

    def __init__(self, state: ShardState, window_ms: int, now_ms: int) -> None:
        self.minute = now_ms // REFRESH_MS
        self.n_writes = _n_writes(state)
        until_ms = (self.minute + 1) * REFRESH_MS
        rows = state.graph.follows.register()
        since, until = versions_of(np.array([until_ms - window_ms, until_ms]), np.zeros(2, int))
        recent = np.flatnonzero(rows.active & (rows.versions >= since) & (rows.versions < until))
        numbers = IdMap()
        at = numbers.get_or_insert(rows.other_ids[recent])
        order = np.argsort(numbers.keys)
        places = np.empty(len(order), np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        self._user_ids, self._at = numbers.keys[order], places[at]
        owners = state.users.rows_of(rows.owner_ids[recent])
        self._codes = np.zeros((2, len(recent)), np.int16)
        if len(state.users):
            for codes, name in zip(self._codes, ("country", "language"), strict=True):
                codes[:] = np.where(owners >= 0, state.users[name][owners], 0)
        self._told: dict[tuple[str, str], LocaleFollows] = {}

    def of(self, state: ShardState, country: str, language: str) -> LocaleFollows:
        """The counts for one country and language."""
        told = self._told.get((country, language))
        if told is None:
            told = self._count(state, country, language)
            if len(self._told) < _PLACES_TOLD:
                self._told[country, language] = told
        return told

    def _count(self, state: ShardState, *words: str) -> LocaleFollows:
        n = len(self._user_ids)
        find = state.users.words.find
        country, language = (find(word) if word else _NOWHERE for word in words)
        counts = np.zeros((3, n), np.int32)
        _tally(self._at, self._codes, country, language, counts)
        kept = np.arange(n)
        if n > MAX_TOLD:
            order = np.lexsort((self._user_ids, -counts[0], -counts[1:].max(axis=0)))
            kept = np.sort(order[:MAX_TOLD])
        totals = counts.sum(axis=1).tolist()
        everywhere, in_country, in_language = counts[:, kept]
        return LocaleFollows(
            self._user_ids[kept], everywhere, in_country, in_language, tuple(totals)
        )


@kernel
def _tally(
    at: npt.NDArray[np.int32],
    codes: npt.NDArray[np.int16],
    country: int,
    language: int,
    counts: Counts,
) -> None:
    """Count follow i under `at[i]`: everywhere, in the country, in the language."""
    for i in range(len(at)):
        counts[0, at[i]] += 1
        counts[1, at[i]] += codes[0, i] == country
        counts[2, at[i]] += codes[1, i] == language


def _n_writes(state: ShardState) -> tuple[int, int]:
    return state.graph.follows.n_writes, state.users.n_writes


def _counted(state: ShardState, window_ms: int, now_ms: int, *, exact: bool) -> _Counted:
    minute = now_ms // REFRESH_MS
    with _LOCK:
        counted = _KEPT.get(state, {}).get(window_ms)
    fresh = counted is not None and counted.minute == minute
    if counted is not None and (exact or len(state.graph.follows) <= _CHEAP):
        fresh = fresh and counted.n_writes == _n_writes(state)
    if counted is None or not fresh:
        counted = _Counted(state, window_ms, now_ms)
        with _LOCK:
            _KEPT.setdefault(state, {})[window_ms] = counted
    return counted


_KEPT: WeakKeyDictionary[ShardState, dict[int, _Counted]] = WeakKeyDictionary()
_LOCK = threading.Lock()
