"""What stands where on a page: modules by their index, ads by the rules of their own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.known_labels import label_bits
from actors.post_marks import Mark
from cluster.mixer_settings import AdsSettings, MixerSettings
from tests.timeline.candidate_rows import rows
from timeline.ads import Ad
from timeline.candidates import NONE
from timeline.cursors import CursorKind, Walk
from timeline.mixer import (
    MODULE,
    Around,
    Neighbour,
    mix,
    neighbours,
    place,
    posts_since_ad,
    posts_until_ad,
    together,
)
from timeline.modules import Module, ModuleKind
from timeline.walks import ads_around

POST, AVOID = Neighbour(), Neighbour(avoid=True)
SPAM, GORE = (int(label_bits(name)) for name in ("spam", "gore"))
MANY = AdsSettings(max_share=0.5, max_per_advertiser=100, min_between=2)
"""Rules that leave room, for tests of one rule at a time."""


def ad(name: str = "a", **given: Any) -> Ad:
    return Ad(name, given.pop("advertiser_id", name), **given)


def module(kind: ModuleKind) -> Module:
    settings = MixerSettings()
    return Module(kind, kind, getattr(settings, kind).position, kind)


ACCOUNTS, TOPICS, PROMPT = module("who_to_follow"), module("topics"), module("prompt")


def mixed(n_posts: int, modules: Sequence[Module], ads: Sequence[Ad] = ()) -> list[Any]:
    """Posts as their numbers, modules as their kinds, ads as their ids."""
    page = mix(range(n_posts), modules, ads, [POST] * n_posts, AdsSettings())
    return [getattr(entry, "kind", getattr(entry, "id", entry)) for entry in page]


@pytest.mark.parametrize(
    ("n_posts", "modules", "expected"),
    [
        (3, [], [0, 1, 2]),
        (9, [ACCOUNTS], [0, 1, 2, 3, 4, "who_to_follow", 5, 6, 7, 8]),
        # Each at its index at the time: the prompt moves the other two by one.
        (
            8,
            [ACCOUNTS, TOPICS, PROMPT],
            ["prompt", 0, 1, 2, 3, 4, "who_to_follow", 5, 6, 7, "topics"],
        ),
        # The order given does not matter.
        (
            8,
            [PROMPT, TOPICS, ACCOUNTS],
            ["prompt", 0, 1, 2, 3, 4, "who_to_follow", 5, 6, 7, "topics"],
        ),
        (7, [TOPICS], [0, 1, 2, 3, 4, 5, 6, "topics"]),
        # A shorter page has them at its end, in the published order.
        (2, [ACCOUNTS, TOPICS], [0, 1, "who_to_follow", "topics"]),
        (0, [TOPICS, ACCOUNTS, PROMPT], ["prompt", "who_to_follow", "topics"]),
    ],
)
def test_modules_stand_at_the_published_indices(
    n_posts: int, modules: list[Module], expected: list[Any]
) -> None:
    assert mixed(n_posts, modules) == expected


def test_ads_come_last_and_modules_are_no_posts() -> None:
    page = mixed(10, [ACCOUNTS, TOPICS, PROMPT], [ad("a"), ad("b"), ad("c")])
    # One post before the first, four between two; 2 of 12 are a fifth, 3 of 13 would be more.
    assert page == [
        *("prompt", 0, "a", 1, 2, 3, 4, "b", "who_to_follow", 5, 6, 7, "topics", 8, 9),
    ]


@pytest.mark.parametrize(
    ("ads", "beside", "expected"),
    [
        ([], [POST] * 9, []),
        ([ad()], [], []),
        ([ad()], [POST], []),  # its neighbour would be on another page
        ([ad()], [POST, POST], [(1, "a")]),
        ([ad("a"), ad("b"), ad("c")], [POST] * 9, [(1, "a"), (4, "b"), (7, "c")]),
        # Bought for an index: there, else after it, and before those for any.
        ([ad("a", position=3)], [POST] * 9, [(3, "a")]),
        ([ad("a", position=0)], [POST] * 9, [(1, "a")]),
        ([ad("a"), ad("b", position=1)], [POST] * 9, [(1, "b"), (4, "a")]),
        ([ad("a", position=7), ad("b", position=2)], [POST] * 9, [(2, "b"), (7, "a")]),
        ([ad("a", position=2), ad("b", position=3)], [POST] * 9, [(2, "a"), (5, "b")]),
        ([ad("a", position=9)], [POST] * 9, []),
        ([ad("a", position=8)], [POST] * 9, [(8, "a")]),
        # Nothing stands beside what is to be avoided, on either side.
        ([ad()], [AVOID, POST, POST], [(2, "a")]),
        ([ad()], [POST, AVOID, POST, POST], [(3, "a")]),
        ([ad()], [POST, AVOID, POST, AVOID, POST], []),
        ([ad("a", position=2)], [POST, POST, AVOID, POST, POST], [(4, "a")]),
        # Modules may be neighbours, but are not counted: posts come first, and in between.
        ([ad()], [MODULE, MODULE, POST, POST], [(3, "a")]),
        ([ad()], [POST, MODULE, AVOID], [(1, "a")]),
        ([ad("a"), ad("b")], [POST, MODULE, MODULE, POST, POST], [(1, "a")]),
        ([ad("a"), ad("b")], [POST, MODULE, POST, POST, MODULE], [(1, "a"), (5, "b")]),
        ([ad()], [MODULE, MODULE, MODULE], []),
    ],
)
def test_where_ads_stand(
    ads: list[Ad], beside: list[Neighbour], expected: list[tuple[int, str]]
) -> None:
    assert [(index, one.id) for index, one in place(ads, beside, MANY)] == expected


@pytest.mark.parametrize(
    ("excluding", "beside", "expected"),
    [
        ({"brand_safety": frozenset(["spam"])}, Neighbour(labels=SPAM), False),
        ({"brand_safety": frozenset(["spam"])}, Neighbour(labels=SPAM | GORE), False),
        ({"brand_safety": frozenset(["spam", "gore"])}, Neighbour(labels=GORE), False),
        ({"brand_safety": frozenset(["spam"])}, Neighbour(labels=GORE), True),
        ({"brand_safety": frozenset()}, Neighbour(labels=GORE), True),
        ({"excluded_topic_ids": frozenset([7])}, Neighbour(topic_ids=frozenset([5, 7])), False),
        ({"excluded_topic_ids": frozenset([7])}, Neighbour(topic_ids=frozenset([5])), True),
    ],
)
@pytest.mark.parametrize("side", ["before", "after"])
def test_what_an_advertiser_excludes_is_no_neighbour(
    excluding: dict[str, Any], beside: Neighbour, expected: bool, side: str
) -> None:
    both = [beside, POST] if side == "before" else [POST, beside]
    assert bool(place([ad(**excluding)], both, MANY)) == expected
    # The next one on offer takes the place.
    placed = place([ad(**excluding), ad("other")], both, MANY)
    assert [one.id for _, one in placed] == ["a" if expected else "other"]


@pytest.mark.parametrize(
    ("max_share", "n_posts", "expected"),
    [(0.2, 3, 0), (0.2, 4, 1), (0.2, 7, 1), (0.2, 8, 2), (0.2, 12, 3), (0.5, 9, 8), (0, 50, 0)],
)
def test_ads_are_a_share_of_ads_and_posts(max_share: float, n_posts: int, expected: int) -> None:
    rules = AdsSettings(max_share=max_share, min_between=1)
    ads = [ad(str(k)) for k in range(50)]
    assert len(place(ads, [POST] * n_posts, rules)) == expected
    # Modules are no posts.
    assert len(place(ads, [MODULE] * 50 + [POST] * n_posts, rules)) == expected


def test_an_advertiser_has_so_many_of_a_page() -> None:
    ads = [ad("a", advertiser_id="x"), ad("b", advertiser_id="x"), ad("c", advertiser_id="y")]
    one = place(ads, [POST] * 20, replace_rules(max_per_advertiser=1))
    two = place(ads, [POST] * 20, replace_rules(max_per_advertiser=2))
    assert [found.id for _, found in one] == ["a", "c"]
    assert [found.id for _, found in two] == ["a", "b", "c"]


def replace_rules(**changed: Any) -> AdsSettings:
    return MANY.model_copy(update=changed)


@pytest.mark.parametrize(
    ("since_ad", "expected"), [(None, 1), (0, 4), (1, 3), (3, 1), (4, 1), (90, 1)]
)
def test_the_spacing_holds_across_pages(since_ad: int | None, expected: int) -> None:
    [(index, _)] = place([ad()], [POST] * 9, replace_rules(min_between=4), Around(since_ad))
    assert index == expected


@pytest.mark.parametrize(
    ("until_ad", "expected"),
    [(None, [1, 6]), (0, [1]), (2, [1]), (3, [1, 6]), (4, [1, 6]), (90, [1, 6])],
)
def test_the_spacing_holds_above_what_was_shown(until_ad: int | None, expected: list[int]) -> None:
    rules = replace_rules(min_between=4)
    placed = place([ad("a"), ad("b")], [POST] * 6, rules, Around(until_ad=until_ad))
    assert [index for index, _ in placed] == expected


@pytest.mark.parametrize("left", [0, 1, 2, 9])
def test_a_day_has_so_many(left: int) -> None:
    ads = [ad(str(k)) for k in range(5)]
    rules = replace_rules(min_between=2)
    assert len(place(ads, [POST] * 9, rules, Around(left_today=left))) == min(left, 4)


def test_how_many_posts_came_since_the_last_ad() -> None:
    assert posts_since_ad([1, PROMPT, 2], None) is None
    assert posts_since_ad([1, PROMPT, 2], 3) == 5
    assert posts_since_ad([1, ad(), PROMPT, 2, 3], None) == 2
    assert posts_since_ad([1, ad(), 2, ad(), 3], 7) == 1
    assert posts_since_ad([], 7) == 7


def test_how_many_posts_come_until_the_next_ad() -> None:
    assert posts_until_ad([1, PROMPT, 2], None) == 2
    assert posts_until_ad([1, PROMPT, 2], 3) == 5
    assert posts_until_ad([1, PROMPT, 2, ad(), 3, ad()], 3) == 2
    assert posts_until_ad([], 7) == 7
    assert posts_until_ad([], None) == 0


def test_neighbours_of_candidates() -> None:
    candidates = rows(
        {},
        {"labels": [SPAM, 0], "topic_ids": 5},
        {"labels": [SPAM, GORE]},
        {"marks": Mark.IMAGE},
        {"marks": Mark.SENSITIVE | Mark.IMAGE},
    )
    avoid = np.array([False, False, True, False, False])
    assert neighbours(candidates, avoid) == [
        POST,
        Neighbour(labels=SPAM, topic_ids=frozenset([5])),
        Neighbour(avoid=True, labels=SPAM | GORE),
        POST,
        AVOID,
    ]
    assert neighbours(NONE, np.empty(0, bool)) == []


def test_an_entry_of_several_posts_is_all_of_them() -> None:
    posts = [Neighbour(False, SPAM, frozenset([1])), Neighbour(True, GORE, frozenset([2])), POST]
    assert together(posts) == Neighbour(True, SPAM | GORE, frozenset([1, 2]))
    assert together([POST]) == POST


SIDES = st.one_of(
    st.just(MODULE),
    st.builds(
        Neighbour,
        avoid=st.sampled_from([False, False, False, True]),
        labels=st.sampled_from([0, 0, SPAM, GORE, SPAM | GORE]),
        topic_ids=st.frozensets(st.integers(1, 3), max_size=2),
    ),
)
ADS = st.lists(
    st.builds(
        Ad,
        id=st.just("a"),
        advertiser_id=st.sampled_from("xyz"),
        position=st.none() | st.integers(0, 30),
        brand_safety=st.frozensets(st.sampled_from(["spam", "gore"])),
        excluded_topic_ids=st.frozensets(st.integers(1, 3), max_size=1),
    ),
    max_size=8,
).map(lambda ads: [replace(one, id=str(k)) for k, one in enumerate(ads)])
RULES = st.builds(
    AdsSettings,
    min_before=st.integers(1, 3),
    min_between=st.integers(1, 4),
    max_share=st.sampled_from([0, 0.1, 0.2, 1 / 3, 0.5]),
    max_per_advertiser=st.integers(1, 3),
)


def broken(page: list[Neighbour | Ad], rules: AdsSettings, around: Around) -> str:
    """The first rule that a page breaks, written as the documentation words it; or ''."""
    at = [index for index, entry in enumerate(page) if isinstance(entry, Ad)]
    ads = [entry for entry in page if isinstance(entry, Ad)]
    n_posts = sum(isinstance(entry, Neighbour) and entry.is_post for entry in page)
    posts_before = [
        sum(isinstance(entry, Neighbour) and entry.is_post for entry in page[:index])
        for index in at
    ]
    if 0 in at or len(page) - 1 in at:
        return "known neighbours"
    if any(b - a < rules.min_between for a, b in pairwise(posts_before)):
        return "spacing"
    since_ad, until_ad, left = around.since_ad, around.until_ad, around.left_today
    first = rules.min_before if since_ad is None else rules.min_between - since_ad
    if posts_before and posts_before[0] < first:
        return "first"
    if at and until_ad is not None and n_posts - posts_before[-1] + until_ad < rules.min_between:
        return "last"
    if left is not None and len(ads) > left:
        return "day"
    if len(ads) > rules.max_share * (len(ads) + n_posts) + 1e-6:
        return "share"
    if max(Counter(one.advertiser_id for one in ads).values(), default=0) > (
        rules.max_per_advertiser
    ):
        return "advertiser"
    if any(index < (one.position or 0) for index, one in zip(at, ads, strict=True)):
        return "earlier than bought"
    for index, one in zip(at, ads, strict=True):
        for side in (page[index - 1], page[index + 1]):
            if isinstance(side, Ad):
                return "adjacent"
            labels = [name for name in one.brand_safety if side.labels & int(label_bits(name))]
            if side.avoid or labels or side.topic_ids & one.excluded_topic_ids:
                return "brand safety"
    return ""


FEW = st.none() | st.integers(0, 5)
AROUND = st.builds(Around, since_ad=FEW, until_ad=FEW, left_today=FEW)


@given(ADS, st.lists(SIDES, max_size=30), RULES, AROUND)
def test_every_rule_holds_and_no_further_ad_would_fit(
    ads: list[Ad], beside: list[Neighbour], rules: AdsSettings, around: Around
) -> None:
    placed = place(ads, beside, rules, around)
    assert placed == place(ads, list(beside), rules, around)
    page: list[Neighbour | Ad] = list(beside)
    for index, one in placed:
        page.insert(index, one)
    assert [(index, entry) for index, entry in enumerate(page) if isinstance(entry, Ad)] == placed
    assert broken(page, rules, around) == ""
    assert len({one.id for _, one in placed}) == len(placed)
    for one in ads:
        if one not in [found for _, found in placed]:
            for index in range(len(page) + 1):
                assert broken([*page[:index], one, *page[index:]], rules, around)


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.booleans()), max_size=6),
    st.integers(1, 6),
)
def test_pages_below_and_above_others_keep_the_spacing(
    pages: list[tuple[int, int, bool]], min_between: int
) -> None:
    """Each page of a ranked walk: posts, ads offered, and whether it stands above the others."""
    rules = replace_rules(min_between=min_between, max_share=0.5)
    shown: list[Any] = []
    walk = Walk()
    for n, n_ads, above in pages:
        if walk.kind is None:
            around = Around()
        elif above:
            walk = replace(walk, kind=CursorKind.NEWER)
            around = Around(until_ad=walk.until_ad)
        else:
            walk = replace(walk, kind=CursorKind.OLDER)
            around = Around(since_ad=walk.since_ad)
        ads = [ad(str(k)) for k in range(n_ads)]
        page = mix(range(n), [], ads, [POST] * n, rules, around)
        shown = [*page, *shown] if walk.kind is CursorKind.NEWER else [*shown, *page]
        walk = Walk(CursorKind.OLDER, None, None, 0, False, *ads_around(walk, page))
    at = [index for index, entry in enumerate(shown) if isinstance(entry, Ad)]
    assert all(b - a > min_between for a, b in pairwise(at))


@given(ADS, st.lists(SIDES, min_size=1, max_size=12), RULES)
def test_a_page_holds_everything_in_its_order(
    ads: list[Ad], beside: list[Neighbour], rules: AdsSettings
) -> None:
    beside = [replace(entry, is_post=True) for entry in beside]
    page = mix(range(len(beside)), [TOPICS, ACCOUNTS, PROMPT], ads, beside, rules)
    assert [entry for entry in page if isinstance(entry, int)] == list(range(len(beside)))
    kinds = [entry.kind for entry in page if isinstance(entry, Module)]
    assert Counter(kinds) == Counter(["who_to_follow", "topics", "prompt"])
    assert page[0] == PROMPT
