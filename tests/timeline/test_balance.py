from dataclasses import replace
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.features.binned import UNTRAINED_VERSION
from actors.models import LIGHT_RANKER
from actors.viewer_state import ViewerState
from cluster.controls import PREFERENCES
from cluster.heuristics_settings import BalanceSettings
from cluster.settings import Settings
from tests.timeline.candidate_rows import query, rows
from timeline import balance
from timeline.balance import arrange, laid_out
from timeline.candidates import NONE, Candidates
from timeline.query import Query


def asking(limit: int = 10, preferences: dict[str, float] | None = None, **given: Any) -> Query:
    settings = Settings(heuristics={"balance": given})  # type: ignore[arg-type]
    return replace(query(settings, limit), state=ViewerState(preferences=preferences or {}))


def ranked(sides: str, authors: str | None = None) -> Candidates:
    """Candidates best first: `i` in network and `o` out of it; letters for their authors."""
    posts = [{"is_followed": side == "i", "scores": -k} for k, side in enumerate(sides)]
    if authors is not None:
        for post, author in zip(posts, authors, strict=True):
            post["author_ids"] = ord(author)
    return rows(*posts)


def order_of(places: Any, sides: str) -> str:
    return "".join(sides[at] for at in places)


def longest(letters: Any) -> int:
    return max((len(list(run)) for _, run in groupby(letters)), default=0)


PAGES: dict[str, tuple[str, int, list[int]]] = {
    # Best first, the page's length, rows on the page.
    "both halves by score": ("ioioio", 6, [0, 1, 2, 3, 4, 5]),
    "as many of either side": ("iiiiiiooo", 6, [0, 1, 6, 2, 7, 8]),
    "the odd one is in network": ("ooooiiii", 5, [0, 1, 4, 5, 6]),
    "no more than two strangers in a row": ("ooooiiii", 8, [0, 1, 4, 2, 3, 5, 6, 7]),
    "in-network posts are kept for between them": ("iiioooo", 7, [0, 1, 3, 4, 2, 5, 6]),
    "too few of those: the tail has none": ("ooiooooo", 8, [0, 1, 2, 3, 4, 5, 6, 7]),
    "too few of those, one moves up": ("oooooi", 6, [0, 1, 5, 2, 3, 4]),
    "what one side lacks the other fills in": ("oiiiiiii", 6, [0, 1, 2, 3, 4, 5]),
    "of strangers alone": ("ooooo", 4, [0, 1, 2, 3]),
    "shorter than asked for": ("io", 10, [0, 1]),
}


@pytest.mark.parametrize("name", PAGES)
def test_pages(name: str) -> None:
    sides, limit, expected = PAGES[name]
    assert arrange(asking(), ranked(sides), limit).tolist() == expected


AUTHORS: dict[str, tuple[str, str, int, list[int]]] = {
    "two of an author, then another": ("iiii", "aaab", 1, [0, 3, 1, 2]),
    "apart": ("iiioo", "aaabc", 1, [0, 3, 1, 4, 2]),
    "kept for between them": ("iiiii", "bcaaa", 1, [2, 0, 3, 1, 4]),
    "another author's post in place of the last": ("iiiiii", "aaaabc", 1, [0, 4, 1, 5, 2]),
    "only one author": ("iii", "aaa", 1, [0, 1, 2]),
    "runs of two": ("iiiiii", "aaaabc", 2, [0, 1, 4, 2, 3, 5]),
}


@pytest.mark.parametrize("name", AUTHORS)
def test_runs_of_authors(name: str) -> None:
    sides, authors, run, expected = AUTHORS[name]
    limit = len(expected)
    asked = asking(max_author_run=run)
    found = arrange(asked, ranked(sides, authors), limit)
    if name == "two of an author, then another":
        # Three of four cannot be kept apart; a page of four needs them all the same.
        assert longest(authors[at] for at in found) == 2
        assert sorted(found.tolist()) == sorted(expected)
    else:
        assert found.tolist() == expected


def test_posts_of_unknown_authors_are_no_run() -> None:
    found = arrange(asking(max_author_run=1), ranked("iiii", "\0\0\0\0"), 4)
    assert found.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("share", "n_inside"), [(0.5, 18), (0.0, 0), (0.2, 7), (0.8, 28), (1.0, 35)]
)
@pytest.mark.parametrize("chosen", [False, True])
def test_the_share_is_exact_and_the_viewers_own_wins(
    share: float, n_inside: int, chosen: bool
) -> None:
    assert balance.SHARE in PREFERENCES
    asked = (
        asking(preferences={balance.SHARE: share})
        if chosen
        else asking(in_network_share=share, max_out_of_network_run=2)
    )
    sides = "io" * 70
    found = order_of(arrange(asked, ranked(sides), 35), sides)
    assert len(found) == 35
    assert found.count("i") == n_inside
    # Few in-network posts stand apart as evenly as they can.
    beyond = [0 if side == "o" else k + 1 for k, side in enumerate(found)]
    assert longest(beyond) <= max(2, -(-(35 - n_inside) // (n_inside + 1)))


@pytest.mark.parametrize(("share", "n_inside"), [(0.5, 16), (0.9, 18)])
def test_an_untrained_system_leans_on_the_network(share: float, n_inside: int) -> None:
    sides = "oi" * 40
    asked = asking(20, in_network_share=share, untrained_in_network_share=0.8)
    asked.versions = {LIGHT_RANKER: UNTRAINED_VERSION}
    assert order_of(arrange(asked, ranked(sides), 20), sides).count("i") == n_inside
    assert balance.wanted_of_sides(asked) == (n_inside, 20 - n_inside)
    asked.state = ViewerState(preferences={balance.SHARE: 0.1})
    assert order_of(arrange(asked, ranked(sides), 20), sides).count("i") == 2
    asked.state = ViewerState()
    asked.versions = {LIGHT_RANKER: "20240101T000000-0001"}
    assert order_of(arrange(asked, ranked(sides), 20), sides).count("i") == round(20 * share)


def test_without_a_share_scores_decide() -> None:
    sides = "iiiiiioo"
    asked = asking(in_network_share=None)
    asked.versions = {LIGHT_RANKER: UNTRAINED_VERSION}
    assert arrange(asked, ranked(sides), 6).tolist() == [0, 1, 2, 3, 4, 5]


def test_caps_of_both_sides_and_of_the_backfill() -> None:
    settings = Settings(  # type: ignore[call-arg]
        for_you={"max_in_network": 3, "max_out_of_network": 2},
        sources={"backfill": {"max_shown": 1}},
        heuristics={"balance": {"in_network_share": None}},
    )
    asked = query(settings, 20)
    sides = "iiiiioooo"
    assert sorted(arrange(asked, ranked(sides), 20).tolist()) == [0, 1, 2, 5, 6]
    candidates = replace(ranked(sides), source=np.array([0, 7, 7, 7, 0, 0, 0, 7, 0], np.int8))
    found = arrange(asked, candidates, 20, backfill=7)
    # One of the backfill, which is no in-network post to the cap; its stranger falls to both.
    assert sorted(found.tolist()) == [0, 1, 4, 5, 6]
    assert balance.page(7, asked, candidates).tolist() == found.tolist()


def test_a_share_that_is_asked_for_wins_over_the_caps() -> None:
    sides = "io" * 100
    found = arrange(asking(preferences={balance.SHARE: 0.9}), ranked(sides), 100)
    assert order_of(found, sides).count("i") == 90


@pytest.mark.parametrize(
    ("sides", "kept"), [("iiooooooooo", 7), ("ooooooo", 5), ("ioio", 4), ("oio" + "o" * 80, 10)]
)
def test_newer_posts_are_not_filled_up_with_strangers(sides: str, kept: int) -> None:
    settings = Settings(  # type: ignore[call-arg]
        for_you={"max_out_of_network": 100}, heuristics={"balance": {"in_network_share": None}}
    )
    whole = arrange(query(settings), ranked(sides), 100)
    newer = arrange(query(settings), ranked(sides), 100, newer=True)
    assert len(whole) == len(sides)
    assert newer.tolist() == whole[:kept].tolist()


def test_nothing_is_arranged_of_nothing() -> None:
    found = arrange(asking(), NONE, 10)
    assert found.shape == (0,)
    assert found.dtype == np.int64
    assert arrange(asking(), ranked("io"), 0).tolist() == []


def debunched(sides: str, max_run: int) -> list[int]:
    """The published algorithm: where a run would grow too long the next in-network post moves."""
    places = list(range(len(sides)))
    run = 0
    for at in range(len(places)):
        run = run + 1 if sides[places[at]] == "o" else 0
        if run > max_run:
            later = [k for k in range(at, len(places)) if sides[places[k]] == "i"]
            if not later:
                break
            places.insert(at, places.pop(later[0]))
            run = 0
    return places


@given(st.text("io", max_size=30), st.integers(1, 4))
@example("oooiiioooooooooo", 2)
def test_as_published_where_that_keeps_the_runs_or_nothing_can(sides: str, max_run: int) -> None:
    settings = BalanceSettings(in_network_share=None, max_out_of_network_run=max_run)
    followed = np.array([side == "i" for side in sides], bool)
    authors = np.arange(1, len(sides) + 1)
    found = laid_out(followed, authors, len(sides), None, settings).tolist()
    published = debunched(sides, max_run)
    too_long = "o" * (max_run + 1)
    possible = sides.count("o") <= max_run * (sides.count("i") + 1)
    if possible and too_long in order_of(published, sides):
        assert too_long not in order_of(found, sides)
    else:
        assert found == published


def possible(counts: tuple[tuple[bool, int, int], ...], max_run: int, author_run: int) -> bool:
    """Whether posts, so many (side, author, count), can stand without longer runs at all."""

    @cache
    def from_here(left: tuple[int, ...], run: int, author: int, of_author: int) -> bool:
        if not any(left):
            return True
        for k, (inside, who, _) in enumerate(counts):
            new_run = 0 if inside else run + 1
            new_of = of_author + 1 if who == author else 1
            if left[k] and new_run <= max_run and new_of <= author_run:
                rest = (*left[:k], left[k] - 1, *left[k + 1 :])
                if from_here(rest, new_run, who, new_of):
                    return True
        return False

    return from_here(tuple(count for _, _, count in counts), 0, 0, 0)


@given(
    st.lists(st.integers(1, 6), max_size=12),
    st.integers(0, 12),
    st.sampled_from([None, 0.5, 0.6, 0.75, 1.0]),
    st.integers(1, 3),
    st.integers(1, 4),
)
@example([1, 3, 2, 2, 4, 4, 3, 2, 2, 2], 10, None, 3, 2)
def test_any_page(
    authors: list[int], limit: int, share: float | None, max_run: int, author_run: int
) -> None:
    """Odd authors are in network. No row twice, the share exact, no run longer than it must be."""
    settings = BalanceSettings(
        in_network_share=share, max_out_of_network_run=max_run, max_author_run=author_run
    )
    inside = np.array([author % 2 == 1 for author in authors], bool)
    places = laid_out(inside, np.array(authors, np.int64), limit, share, settings).tolist()
    n = min(limit, len(authors))
    assert len(set(places)) == len(places) == n
    if share is not None:
        n_inside, n_outside = int(inside.sum()), int((~inside).sum())
        wanted = min(int(n * share + 0.5), n_inside)
        assert int(inside[places].sum()) == n - min(n - wanted, n_outside)
    for author in set(authors):
        of_author = [at for at in places if authors[at] == author]
        assert of_author == sorted(of_author)
        assert (
            of_author == [at for at, who in enumerate(authors) if who == author][: len(of_author)]
        )
    shown = [authors[at] for at in places]
    counts = tuple((who % 2 == 1, who, shown.count(who)) for who in sorted(set(shown)))
    if possible(counts, n, author_run):
        assert longest(shown) <= author_run
    # Where authors have to change more often than sides, sides may have to give way.
    if author_run >= max_run and possible(counts, max_run, author_run):
        assert longest([0 if who % 2 == 0 else k + 1 for k, who in enumerate(shown)]) <= max_run


@given(st.lists(st.booleans(), max_size=40), st.integers(0, 40))
def test_of_different_authors_each_side_is_ordered_by_score(
    followed: list[bool], limit: int
) -> None:
    inside = np.array(followed, bool)
    authors = np.arange(1, len(followed) + 1)
    places = laid_out(inside, authors, limit, 0.5, BalanceSettings())
    for side in (True, False):
        of_side = places[inside[places] == side].tolist()
        assert of_side == np.flatnonzero(inside == side)[: len(of_side)].tolist()


def test_of_a_thousand_viewers_half_is_in_network() -> None:
    rng = np.random.default_rng(7)
    shares, settings = [], Settings().heuristics.balance
    for _ in range(1_000):
        n = int(rng.integers(80, 150))
        # In-network posts have the better scores by as much as chance will have it.
        inside = rng.random(n) < np.linspace(rng.random(), rng.random(), n)
        if min(inside.sum(), (~inside).sum()) < 20:
            continue
        authors = rng.zipf(1.5, n) % 30 * 2 + inside + 1
        places = laid_out(inside, authors, 35, settings.in_network_share, settings)
        shares.append(inside[places].mean())
        assert longest(authors[places].tolist()) <= settings.max_author_run
        beyond = np.where(inside[places], np.arange(35) + 1, 0)
        assert longest(beyond.tolist()) <= settings.max_out_of_network_run
    assert len(shares) > 500
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert np.abs(np.array(shares) - 0.5).max() <= 0.05
