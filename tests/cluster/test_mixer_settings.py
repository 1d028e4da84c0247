"""The settings of mixing, and that the documentation tells them as they are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cluster.mixer_settings import AdsSettings, MixerSettings, TopicsSettings, WhoToFollowSettings

RULES = MixerSettings()
PAGE = Path(__file__).resolve().parents[2] / "docs" / "mixing.md"


def test_the_published_defaults() -> None:
    names = ("post_preview", "who_to_follow", "who_to_subscribe", "prompt")
    assert [getattr(RULES, name).position for name in names] == [3, 5, 7, 0]
    creators, preview = RULES.who_to_subscribe, RULES.post_preview
    assert (creators.interval_ms, creators.min_items, creators.max_items) == (108_000_000, 3, 20)
    assert (preview.interval_ms, preview.max_items, preview.max_found) == (7_200_000, 1, 200)
    assert (preview.window_ms, preview.products) == (604_800_000, ("for_you",))
    accounts, pill = RULES.who_to_follow, RULES.new_posts
    assert (accounts.interval_ms, accounts.min_items, accounts.max_items) == (108_000_000, 3, 20)
    assert (pill.max_avatars, pill.delay_ms) == (3, 240_000)
    assert (RULES.dismissals.fatigue_ms, RULES.dismissals.max_count) == (604_800_000, 4)
    assert (RULES.ads.source, RULES.ads.timeout_ms, RULES.ads.max_organic) == ("none", 1_200, 35)
    assert (accounts.on, RULES.topics.on, RULES.prompt.on) == (True, True, True)


def test_settings_that_change_one_thing_keep_the_rest() -> None:
    rules = MixerSettings.model_validate({"who_to_follow": {"on": False}, "ads": {}})
    assert rules.who_to_follow == WhoToFollowSettings(on=False)
    assert (rules.who_to_follow.position, rules.topics) == (5, RULES.topics)


@pytest.mark.parametrize(
    "wrong",
    [
        {"source": "file"},
        {"source": "http"},
        {"source": "http", "url": "ftp://x.example/ads"},
        {"url": "http://a b"},
        {"min_before": 0},
        {"min_between": 0},
        {"min_between": 201},
        {"max_per_day": -1},
        {"max_share": 0.6},
    ],
)
def test_ads_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AdsSettings(**wrong)


def test_the_least_is_not_more_than_the_most() -> None:
    with pytest.raises(ValidationError, match="min_items 4 is more than max_items 3"):
        TopicsSettings(min_items=4, max_items=3)


def _defaults(settings: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _defaults(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", json.dumps(value)


def test_the_documentation_has_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert rows == list(_defaults(RULES.model_dump(mode="json")))
