"""What-ifs, explanations, reach and experiments as text."""

from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console

from cluster.commands.analytics_text import print_analytics
from cluster.commands.experiments_text import print_experiments
from cluster.commands.what_if_text import print_what_if
from cluster.commands.why_text import print_why
from timeline.analytics_examples import ANALYTICS

WHAT_IF: dict[str, Any] = {
    "user_id": "1",
    "changed": {"heavy_ranker.weights.is_replied": {"before": 13.5, "after": 0.0}},
    "experiment_arms": ["ads:few", "reply:more"],
    "sources_off": ["popular"],
    "before": {
        "degraded": [],
        "items": [{"post_id": "71", "source": "in_network"}, {"post_id": "72", "source": "lists"}],
    },
    "after": {"degraded": ["ads"], "items": [{"post_id": "72", "source": "lists"}]},
    "moved": [
        {
            "post_id": "72",
            "from": 1,
            "to": 0,
            "why": [{"part": "others", "before": None, "after": None}],
        },
        {
            "post_id": "71",
            "from": 0,
            "to": None,
            "why": [
                {"part": "sources", "before": ["in_network", "popular"], "after": []},
                {"part": "head is_replied", "before": 0.41234, "after": 0.0},
                {"part": "dropped_by", "before": None, "after": "page"},
                {"part": "factor reply", "before": 1.0, "after": 0.5},
            ],
        },
    ],
}

WHY: dict[str, Any] = {
    "post_id": "5",
    "user_id": "1",
    "found": True,
    "verdict": "dropped",
    "found_by": ["cr_mixer"],
    "path": {"engines": ["twhin_ann"], "signal": "tweet_favorite_90d", "signal_id": "4"},
    "proofs": [{"user_id": "9", "kind": "favourite"}],
    "position": None,
    "dropped_by": "visibility",
    "filters": [
        {"name": "seen", "passed": True},
        {"name": "visibility", "passed": False, "rule": "slur"},
    ],
    "ranks": [
        {"stage": "light_ranker", "before": None, "after": 3},
        {"stage": "seen", "before": 3, "after": 3},
        {"stage": "heuristics", "before": 3, "after": 0},
    ],
    "score": {
        "light_ranker": 0.5,
        "heavy_ranker": 0.25,
        "predicted": [
            {"engagement": "is_replied", "probability": 0.1, "weight": 13.5, "adds": 1.35}
        ],
        "factors": {"reply": 0.75, "author_diversity": 1.0},
        "final": 0.1875,
    },
    "features": {"age_hours": 1.5},
}


def text_of(say: Callable[..., None], what: Mapping[str, Any], **more: Any) -> str:
    console = Console(record=True, width=160)
    say(console, what, **more)
    return console.export_text()


def rows_of(text: str) -> list[list[str]]:
    """The cells of a table's rows."""
    return [
        [cell.strip() for cell in line.strip("│┃").split("│")]
        for line in text.splitlines()
        if line.startswith("│")
    ]


def test_both_orders_and_what_moved_by_itself_first() -> None:
    text = text_of(print_what_if, WHAT_IF)
    assert "experiments: ads:few, reply:more" in text
    assert text.splitlines()[0] == (
        "For You of user 1, if heavy_ranker.weights.is_replied were 0.0 (it is 13.5) and popular "
        "were not asked"
    )
    assert rows_of(text) == [
        ["1", "71", "in_network", "72", "lists"],
        ["2", "72", "lists", "", ""],
        ["71", "1", "not on it", "sources: in_network, popular → none"],
        ["", "", "", "head is_replied: 0.4123 → 0"],
        ["", "", "", "dropped_by: none → page"],
        ["72", "2", "1", "only by others"],
    ]
    assert "as it would be, degraded: ads" in text
    assert rows_of(text_of(print_what_if, WHAT_IF, moved=1))[-1][3] == "dropped_by: none → page"
    assert "nothing moved" in text_of(print_what_if, {**WHAT_IF, "moved": []})


def test_why_a_post_was_dropped() -> None:
    lines = text_of(print_why, WHY).splitlines()
    assert lines[:5] == [
        "post 5 for user 1: dropped",
        "found by cr_mixer: by twhin_ann, from tweet_favorite_90d of 4, favourite by 9",
        "dropped by visibility, rule slur",
        "rank after light_ranker 4, heuristics 1",
        "score light_ranker 0.5, heavy_ranker 0.25, reply ×0.75 = 0.1875",
    ]
    assert ["is_replied", "0.1000", "13.5", "+1.3500"] in rows_of("\n".join(lines))
    assert ["age_hours", "1.5"] in rows_of("\n".join(lines))
    assert "age_hours" not in text_of(print_why, WHY, features=False)


def test_why_a_post_was_not_found() -> None:
    told = {"post_id": "5", "user_id": "1", "verdict": "not_a_candidate", "found": False}
    detail = {"detail": "no source found it, of none"}
    assert text_of(print_why, told | detail) == (
        "post 5 for user 1: not_a_candidate\nno source found it, of none\n"
    )


def test_reach() -> None:
    text = text_of(print_analytics, ANALYTICS)
    assert text.splitlines()[:4] == [
        "user 1033 since 2023-11-17",
        "318 followers (+2 −1); on screen 412 times, for about 371 viewers; in 655 answers",
        "found by: in_network 82%, user_tweet_entity_graph 18%",
        "engagements (of impressions): favourite 23 (5.58%), reply 4 (0.97%), repost 3 (0.73%)",
    ]
    assert rows_of(text) == [
        ["2023-11-17", "412", "371", "655", "30", "+1"],
        ["90017", "208", "19", "favourite 15, reply 4"],
    ]


def test_experiments() -> None:
    nobody: dict[str, Any] = {"countries": [], "languages": [], "user_ids": []}
    young = {**nobody, "languages": ["de"], "account_age_days_below": 7.0}
    arms = [
        {"name": "few", "percent": 2.5, "overrides": {"mixer.ads.max_share": 0.1}},
        {"name": "control", "percent": 2.5, "overrides": {}},
    ]
    listed = [
        {"name": "ads", "layer": "x", "slots": [0.0, 40.0], "cohort": young, "arms": arms},
        {
            **{"name": "all", "layer": None, "slots": [0.0, 100.0]},
            **{"cohort": {**nobody, "account_age_days_below": None}, "arms": arms[1:]},
        },
    ]
    found = {"experiments": listed, "user_id": "1", "arms": ["ads:few"]}
    text = text_of(print_experiments, found)
    whom = "languages de; accounts younger than 7 days; 0–40 % of layer x"
    assert rows_of(text) == [
        ["ads", whom, "few", "2.5 %", "mixer.ads.max_share = 0.1"],
        ["", "", "control", "2.5 %", "nothing"],
        ["all", "everybody", "control", "2.5 %", "nothing"],
    ]
    assert text.splitlines()[-1] == "user 1: ads:few"
