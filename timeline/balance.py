"""Balance: which ranked posts make a page, and in what order, so that no side takes it all.

The original has equal caps and moves in-network posts up between too many others; an exact share
of both sides, and runs that are looked at ahead, are this project's own.
"""

from collections import Counter
from collections.abc import Callable
from itertools import islice

import numpy as np
import numpy.typing as npt

from actors.features.binned import UNTRAINED_VERSION
from actors.models import LIGHT_RANKER
from cluster.heuristics_settings import BalanceSettings
from timeline.candidates import Candidates, Mask
from timeline.cursors import CursorKind
from timeline.mixing import Rows, best_first
from timeline.query import Query

Rules = tuple[Callable[[int], bool], ...]
SHARE = "in_network_share"
"""The viewer's preference that wins over the setting of the same name."""


def page(backfill: int, query: Query, candidates: Candidates) -> Rows:
    """The page that is asked for; `backfill` is the number of that source, −1 for none."""
    newer = query.walk.kind is CursorKind.NEWER
    return arrange(query, candidates, query.limit, backfill=backfill, newer=newer)


def arrange(
    query: Query, candidates: Candidates, limit: int, *, backfill: int = -1, newer: bool = False
) -> Rows:
    """Rows of at most `limit` candidates: balanced, without long runs, else by score.

    A request for `newer` posts is not filled up with those of strangers. Of the source
    `backfill` posts do not count against the cap of in-network posts, but have one of their own.
    """
    settings = query.settings.heuristics.balance
    share = _share(query)
    order = best_first(candidates)
    followed = candidates.feature("is_followed")[order] > 0
    of_backfill = candidates.source[order] == backfill if backfill >= 0 else ~followed & followed
    within = _within_caps(query, followed, of_backfill, limit, share)
    order, followed = order[within], followed[within]
    places = laid_out(followed, candidates.author_ids[order], limit, share, settings)
    rows: Rows = order[places]
    return rows[: _without_tail(followed[places], settings)] if newer else rows


def wanted_of_sides(query: Query) -> tuple[int, int]:
    """How many posts in network, and how many others, a page wants at most of its own accord."""
    share = _share(query)
    if share is None:
        return query.limit, query.limit
    within = _in_network_of(query.limit, share)
    return within, query.limit - within


def laid_out(
    followed: Mask,
    author_ids: npt.NDArray[np.int64],
    limit: int,
    share: float | None,
    settings: BalanceSettings,
) -> Rows:
    """Places, in the order of a page, of candidates (n,) that stand best first.

    `followed` are those in network, of which the page has the `share`.
    """
    inside, authors = followed.tolist(), author_ids.tolist()
    chosen = _chosen(inside, authors, limit, share, settings.max_author_run)
    max_run = settings.max_out_of_network_run
    if share is not None:
        within = _in_network_of(len(chosen), share)
        # A share of few in-network posts cannot do with runs as short as others'.
        max_run = max(max_run, -(-(len(chosen) - within) // (within + 1)))
    layout = _Layout(
        [inside[at] for at in chosen],
        [authors[at] for at in chosen],
        max_run,
        settings.max_author_run,
    )
    return np.array([chosen[layout.place_next()] for _ in chosen], np.int64)


def _share(query: Query) -> float | None:
    settings = query.settings.heuristics.balance
    share = settings.in_network_share
    if share is not None and query.versions.get(LIGHT_RANKER) == UNTRAINED_VERSION:
        share = max(share, settings.untrained_in_network_share)
    return query.state.preferences.get(SHARE, share)


def _within_caps(
    query: Query, followed: Mask, of_backfill: Mask, limit: int, share: float | None
) -> Mask:
    """Which of the candidates, best first, are the best so many of their side."""
    caps = query.settings.for_you
    most_inside, most_outside = caps.max_in_network, caps.max_out_of_network
    if share is not None:
        within = _in_network_of(limit, share)
        most_inside, most_outside = max(most_inside, within), max(most_outside, limit - within)
    most_of_backfill = query.settings.sources.backfill.max_shown
    inside = followed & ~of_backfill
    keep: Mask = np.where(inside, np.cumsum(inside) <= most_inside, True)
    keep &= followed | (np.cumsum(~followed) <= most_outside)
    keep &= ~of_backfill | (np.cumsum(of_backfill) <= most_of_backfill)
    return keep


def _in_network_of(n: int, share: float) -> int:
    """How many posts of n are to be in network."""
    return int(n * share + 0.5)


def _chosen(
    inside: list[bool], authors: list[int], limit: int, share: float | None, max_author_run: int
) -> list[int]:
    """Places of the posts on the page, ascending: the best of each side.

    An author has no more than can be kept apart on the page, while there are others.
    """
    n = min(limit, len(inside))
    n_inside = sum(inside)
    # An author with m posts needs (m / run) − 1 others between them.
    most = max_author_run * (n + 1) // (max_author_run + 1)
    if share is None:
        return _best(list(range(len(inside))), authors, n, most)
    wanted = min(_in_network_of(n, share), n_inside)
    n_outside = min(n - wanted, len(inside) - n_inside)
    of_inside = [at for at, followed in enumerate(inside) if followed]
    of_outside = [at for at, followed in enumerate(inside) if not followed]
    best = _best(of_inside, authors, n - n_outside, most)
    return sorted(best + _best(of_outside, authors, n_outside, most))


def _best(places: list[int], authors: list[int], n: int, most: int) -> list[int]:
    """The first n of places, ascending; at most so many of an author while there are others."""
    counts: dict[int, int] = {}
    found: list[int] = []
    spare: list[int] = []
    for at in places:
        if len(found) == n:
            break
        author = authors[at]
        count = counts.get(author, 0)
        # Of posts whose author is unknown nobody can say that they have the same one.
        if author and count >= most:
            spare.append(at)
        else:
            counts[author] = count + 1
            found.append(at)
    return sorted(found + spare[: n - len(found)])


def _without_tail(followed: Mask, settings: BalanceSettings) -> int:
    """The length of a page without most of what follows its last in-network post."""
    last = np.flatnonzero(followed)
    head = int(last[-1]) + 1 if len(last) else 0
    tail = len(followed) - head
    kept = max(settings.newer_tail, int(settings.newer_tail_share * tail))
    return head + min(tail, kept)


class _Layout:
    """Puts the posts of a page, which stand best first, in order, one place after the other.

    The best post goes next that keeps the runs within their limits, and lets the rest of the
    page be within them, too. What is not possible is given up, the least important first.
    """

    def __init__(
        self, inside: list[bool], authors: list[int], max_run: int, max_author_run: int
    ) -> None:
        self._inside, self._authors = inside, authors
        self._max_run, self._max_author_run = max_run, max_author_run
        self._left = len(inside)
        self._waiting = [
            [at for at, followed in enumerate(inside) if followed is side] for side in (True, False)
        ]
        counts = Counter(author for author in authors if author)
        self._rivals = {author: count for author, count in counts.items() if count > max_author_run}
        """Authors of so many posts that they have to be kept apart → how many of these wait."""
        self._run, self._author, self._author_run = 0, 0, 0
        """Out-of-network posts, and posts of which author, that the page ends with so far."""
        within, beyond = map(len, self._waiting)
        self._sides_fit = beyond <= max_run * (within + 1)
        self._authors_fit = all(
            count <= max_author_run * (self._left - count + 1) for count in self._rivals.values()
        )
        run, author_run = self._within_run, self._within_author_run
        self._rules: tuple[Rules, ...] = (
            (run, author_run, self._sides_still_fit, self._authors_still_fit),
            (run, author_run, self._authors_still_fit),
            (author_run, self._authors_still_fit),
            (author_run,),
            (),
        )

    def place_next(self) -> int:
        """The post at the next place, as its place by score."""
        options = self._bests()
        at = self._first_by(self._rules[0], options)
        if at is None:
            options = sorted({*options, *self._heaviest()})
            found = (self._first_by(rules, options) for rules in self._rules)
            at = next(at for at in found if at is not None)
        self._place(at)
        return at

    def _first_by(self, rules: Rules, options: list[int]) -> int | None:
        """The best of the options that all the rules let be next."""
        for at in options:
            for rule in rules:
                if not rule(at):
                    break
            else:
                return at
        return None

    def _bests(self) -> list[int]:
        """The best of each side, best first, and the best by others than whom the page ends with.

        The latter only where it ends with as many of one author as may be.
        """
        found = [side[0] for side in self._waiting if side]
        if self._author and self._author_run >= self._max_author_run:
            for side in self._waiting:
                others = (at for at in side if self._authors[at] != self._author)
                found.extend(islice(others, 1))
        return sorted(found)

    def _heaviest(self) -> list[int]:
        """The best of each side by whoever has most posts waiting, which may have to come next."""
        if not self._rivals:
            return []
        heaviest = max(self._rivals, key=lambda author: self._rivals[author])
        return [
            at
            for side in self._waiting
            for at in islice((at for at in side if self._authors[at] == heaviest), 1)
        ]

    def _within_run(self, at: int) -> bool:
        return self._inside[at] or self._run < self._max_run

    def _within_author_run(self, at: int) -> bool:
        same = self._authors[at] == self._author > 0
        return not same or self._author_run < self._max_author_run

    def _sides_still_fit(self, at: int) -> bool:
        """Whether enough in-network posts are left to stand between the others."""
        if not self._sides_fit:
            return True
        within, beyond = map(len, self._waiting)
        if self._inside[at]:
            return beyond <= self._max_run * within
        return beyond - 1 <= self._max_run * (within + 1) - (self._run + 1)

    def _authors_still_fit(self, at: int) -> bool:
        """Whether each author's posts can still be kept apart by those of others."""
        if not self._authors_fit:
            return True
        author, left = self._authors[at], self._left - 1
        # For its own author's posts a post always leaves as much room as there was.
        return all(
            count <= self._max_author_run * (left - count + 1)
            for rival, count in self._rivals.items()
            if rival != author
        )

    def _place(self, at: int) -> None:
        author = self._authors[at]
        self._waiting[0 if self._inside[at] else 1].remove(at)
        self._left -= 1
        self._run = 0 if self._inside[at] else self._run + 1
        self._author_run = self._author_run + 1 if author == self._author > 0 else 1
        self._author = author
        if author in self._rivals:
            self._rivals[author] -= 1
            if not self._rivals[author]:
                del self._rivals[author]
