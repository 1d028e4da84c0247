"""What is believed of an ad, who may see it, and what its source is told."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from actors.viewer_state import ViewerState
from cluster.mixer_settings import AdsSettings
from tests.timeline.candidate_rows import NOW_MS, query, rows
from timeline.ads import (
    AD_FREE,
    Ad,
    AdsContext,
    context_of,
    for_viewer,
    left_today,
    names_of_next,
    read_ads,
    wanted,
)

PLAIN = {"id": "a", "advertiser_id": "x"}
RULES = AdsSettings()


def offered(*ads: Any, max_ads: int | None = None) -> tuple[list[Ad], int]:
    offer = read_ads(orjson.dumps({"ads": ads}), 10_000, max_ads)
    assert offer.problem == ""
    return list(offer.ads), offer.refused


def test_an_ad_as_it_may_come() -> None:
    full = {
        **PLAIN,
        "position": 3,
        "brand_safety": ["gore", "spam", "gore"],
        "excluded_topic_ids": [5, "9007199254740993"],
        "text": "Binoculars",
        "url": "https://shop.example/binoculars",
        "payload": {"image": "b.jpg", "width": 640, "loud": False, "price": 9.5, "tag": None},
        "expires_ms": NOW_MS,
        "adults_only": True,
    }
    assert offered(PLAIN) == ([Ad("a", "x")], 0)
    assert offered(full) == (
        [
            Ad(
                *("a", "x", 3, frozenset(["gore", "spam"]), frozenset([5, 2**53 + 1])),
                *("Binoculars", "https://shop.example/binoculars"),
                {"image": "b.jpg", "width": 640, "loud": False, "price": 9.5, "tag": None},
                NOW_MS,
                True,
            )
        ],
        0,
    )


NO_IDS: list[Any] = [0, -1, 1.5, "x", None, True, 2**63]
NO_PAYLOADS: list[Any] = [[], "a", None, {"a": {}}, {"a": [1]}, {"a": {"b": 1}}]
BAD: list[Any] = [
    *(None, 5, "a", [], {}, {"id": "a"}),
    *({**PLAIN, "id": ""}, {**PLAIN, "id": 5}, {**PLAIN, "id": "a" * 129}),
    *({**PLAIN, "advertiser_id": None}, {**PLAIN, "sponsor": "x"}),
    *({**PLAIN, "position": -1}, {**PLAIN, "position": "3"}, {**PLAIN, "position": 1.0}),
    *({**PLAIN, "position": True}, {**PLAIN, "position": 1_001}),
    {**PLAIN, "brand_safety": ["goer"]},
    {**PLAIN, "brand_safety": "gore"},
    *({**PLAIN, "excluded_topic_ids": [bad]} for bad in NO_IDS),
    *({**PLAIN, "text": "a" * 1_001}, {**PLAIN, "text": 5}),
    *({**PLAIN, "url": bad} for bad in ("javascript:alert(1)", "//x.example", "https://a b", "x")),
    *({**PLAIN, "payload": bad} for bad in NO_PAYLOADS),
    {**PLAIN, "payload": {str(k): k for k in range(65)}},
    *({**PLAIN, "expires_ms": bad} for bad in (-1, "5", 2**53 + 1)),
    {**PLAIN, "adults_only": 1},
]


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
def test_a_bad_ad_is_left_out_and_counted(bad: Any) -> None:
    good = {**PLAIN, "id": "b"}
    assert offered(bad, good) == ([Ad("b", "x")], 1)


def test_copies_and_ads_beyond_the_limit_are_refused() -> None:
    ads = [{**PLAIN, "id": name} for name in "abac"]
    assert [ad.id for ad in offered(*ads)[0]] == ["a", "b", "c"]
    assert offered(*ads)[1] == 1
    assert [ad.id for ad in offered(*ads, max_ads=2)[0]] == ["a", "b"]
    assert offered(*ads, max_ads=2)[1] == 2
    # A bad one takes nobody's place.
    assert [ad.id for ad in offered({}, *ads, max_ads=2)[0]] == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"5", b"{}", b'{"ads": null}', b'{"ads": {}}', b"\xff"),
        b'{"ads": [NaN]}',
        b"[" * 3_000,
        b'{"ads": []}' + b" " * 10_000,
    ],
)
def test_what_is_no_offer(body: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_ads(body, 10_000, None)


def test_an_empty_offer_is_one() -> None:
    assert offered() == ([], 0)


@pytest.mark.parametrize(
    ("given", "age_years", "expected"),
    [
        ({}, 0, True),
        ({"expires_ms": NOW_MS + 1}, 0, True),
        ({"expires_ms": NOW_MS}, 0, False),
        ({"expires_ms": NOW_MS - 1}, 40, False),
        ({"adults_only": True}, 0, False),
        ({"adults_only": True}, 17, False),
        ({"adults_only": True}, 18, True),
    ],
)
def test_who_may_see_an_ad(given: dict[str, Any], age_years: int, expected: bool) -> None:
    ad = Ad("a", "x", **given)
    seen = for_viewer([ad], ViewerState(age_years=age_years), NOW_MS, RULES)
    assert seen == ([ad] if expected else [])


@pytest.mark.parametrize(
    ("product", "preferences", "n_posts", "expected"),
    [
        ("for_you", {}, 1, True),
        ("following", {}, 1, True),
        ("lists", {}, 1, False),
        ("for_you", {}, 0, False),
        ("for_you", {AD_FREE: 1.0}, 1, False),
        ("for_you", {AD_FREE: 0.0}, 1, True),
        ("for_you", {"in_network_share": 1.0}, 1, True),
    ],
)
def test_which_pages_have_ads(
    product: str, preferences: dict[str, float], n_posts: int, expected: bool
) -> None:
    state = ViewerState(preferences=preferences)
    assert wanted(product, state, n_posts, RULES) == expected


def test_what_a_source_is_told() -> None:
    shown = rows(*({"topic_ids": k} for k in range(40)))
    asked = replace(query(), state=ViewerState(languages=("de", "en")), deadline_s=0.0)
    context = context_of(asked, "for_you", shown)
    assert context == AdsContext(
        *(asked.viewer_id, "for_you", NOW_MS, 0.0),
        *(tuple(range(100, 135)), tuple(range(35)), ("de", "en")),
    )
    assert context_of(query(), "for_you", shown).languages == ()
    speaking = query()
    assert speaking.context is not None
    speaking.context = replace(speaking.context, language="fr")
    assert context_of(speaking, "for_you", shown).languages == ("fr",)


def test_a_viewer_has_so_many_a_day() -> None:
    rules = AdsSettings(max_per_day=3)
    modules_ms: dict[str, int] = {"topics": NOW_MS, "who_to_follow": NOW_MS}
    told = []
    # One each six hours: the fourth has to wait for the first to be a day old.
    for hour in range(0, 60, 6):
        now_ms = NOW_MS + hour * 3_600_000
        state = ViewerState(modules_ms=modules_ms)
        left = left_today(state, now_ms, rules)
        told.append(left)
        modules_ms |= dict.fromkeys(names_of_next(min(left, 1), state, now_ms), now_ms)
    assert told == [3, 2, 1, 0, 1, 1, 1, 0, 1, 1]
    assert modules_ms.keys() == {"topics", "who_to_follow", "ad_1", "ad_2", "ad_3"}
    assert left_today(ViewerState(), NOW_MS, rules) == 3
    assert left_today(ViewerState(modules_ms=modules_ms), now_ms, AdsSettings(max_per_day=0)) == 0


def test_ads_served_at_once_have_different_names() -> None:
    state = ViewerState(modules_ms={"ad_1": NOW_MS - 86_400_000, "ad_2": NOW_MS - 1})
    assert names_of_next(3, state, NOW_MS) == ["ad_1", "ad_3", "ad_4"]
    assert names_of_next(0, state, NOW_MS) == []
