"""Which rule holds for which post, viewer and surface: the tables of visibility, row by row."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.known_labels import KNOWN_LABELS, label_bits
from actors.post_marks import Mark
from actors.viewer_state import ViewerState
from cluster.visibility_settings import VisibilitySettings
from tests.timeline.candidate_rows import VIEWER, context, rows
from timeline.visibility import Verdicts, judge_facts
from timeline.visibility_actions import COLLECTED, REMOVALS, Action, Level
from timeline.visibility_facts import Facts
from timeline.visibility_rules import POLICIES, RULES, SENSITIVE_LABELS

AUTHOR, OTHER = 50, 60
ADULT = ViewerState(age_years=30, allow_sensitive=True)
IN, OUT = Level.FOR_YOU_IN, Level.FOR_YOU_OUT
FOLLOWING, LISTS, TALK = Level.FOLLOWING, Level.LISTS, Level.CONVERSATION
QUOTED, TOP, ADS, OWN = Level.QUOTED, Level.TOP_POSTS, Level.ADS, Level.OWN


def post(*labels: str, author: tuple[str, ...] = (), **given: Any) -> dict[str, Any]:
    return {"labels": (label_bits(*labels), label_bits(*author)), **given}


def facts(
    *posts: dict[str, Any],
    state: ViewerState | None = None,
    settings: VisibilitySettings | None = None,
    **viewer: Any,
) -> Facts:
    state, settings = state or ViewerState(), settings or VisibilitySettings()
    return Facts(VIEWER, context(**viewer), state, settings, rows(*posts))


def judged(level: Level, labelled: dict[str, Any], **given: Any) -> Verdicts:
    return judge_facts(level, facts(labelled, **given))


def said(level: Level, labelled: dict[str, Any], **given: Any) -> list[tuple[str, str]]:
    """What is said of one post: names of actions and rules."""
    verdicts = judged(level, labelled, **given)
    return [(action.name.lower(), rule.name) for action, rule in verdicts.told(0)]


FRIEND = {"follows": [AUTHOR]}

REMOVED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (post(created_ms=0), {}, "facts_unknown"),
    (post(deleted=True), {}, "post_deleted"),
    (post(author_gone=True), {}, "author_gone"),
    (post("pdna"), {}, "pdna"),
    (post("spam"), {}, "spam"),
    (post("bounce"), {}, "bounce"),
    (post(marks=Mark.EXCLUSIVE), {}, "exclusive"),
    (post("safety_crisis_4"), {}, "safety_crisis_4"),
    (post(), {"mutes": [AUTHOR]}, "author_muted"),
    (post(linked=(0, 0, OTHER)), {"mutes": [OTHER]}, "author_muted"),
    (post(), {"blocks": [AUTHOR]}, "author_blocked"),
    (post(), {"blocked_by": [AUTHOR]}, "blocked_by_author"),
    (post(author_protected=True), {"follows": [OTHER]}, "author_protected"),
    (post("hateful_conduct"), {}, "no_reach_3"),
]
"""What no timeline, list or notification shows."""


@pytest.mark.parametrize("level", [IN, OUT, FOLLOWING, LISTS, TOP, ADS])
@pytest.mark.parametrize(("labelled", "viewer", "rule"), REMOVED)
def test_what_no_feed_shows(
    level: Level, labelled: dict[str, Any], viewer: dict[str, Any], rule: str
) -> None:
    assert said(level, labelled, **viewer) == [("drop", rule)]


TOMBSTONES = ("post_deleted", "author_gone", "bounce", "exclusive", "author_muted")
TOMBSTONES += ("author_blocked", "blocked_by_author", "author_protected")


@pytest.mark.parametrize("level", [TALK, QUOTED])
@pytest.mark.parametrize(("labelled", "viewer", "rule"), REMOVED[:-1])
def test_in_conversations_and_quotes_a_placeholder_stands_for_some(
    level: Level, labelled: dict[str, Any], viewer: dict[str, Any], rule: str
) -> None:
    tombstones = (*TOMBSTONES, "safety_crisis_4") if level == TALK else TOMBSTONES
    expected = ("tombstone", f"{rule}_tombstone") if rule in tombstones else ("drop", rule)
    assert said(level, labelled, **viewer) == [expected]


@pytest.mark.parametrize("level", [IN, OUT, FOLLOWING, LISTS, TOP, ADS])
@pytest.mark.parametrize("column", range(4))
@pytest.mark.parametrize("tie", ["blocks", "blocked_by", "mutes"])
def test_feeds_show_nothing_that_links_to_whom_the_viewer_hides(
    level: Level, column: int, tie: str
) -> None:
    linked = [0, 0, 0, 0]
    linked[column] = OTHER
    assert judged(level, post(linked=linked), **{tie: [OTHER]}).removed.all()
    # The one post that shows it stands as it is among those above the one asked for.
    in_talk = judged(TALK, post(linked=linked), **{tie: [OTHER]})
    assert bool(in_talk.removed[0]) == (column == 2)


def test_posts_for_subscribers() -> None:
    subscriber = ViewerState(subscriptions=np.array([7, AUTHOR]))
    for level in POLICIES:
        assert said(level, post(marks=Mark.EXCLUSIVE), state=subscriber) == []
    assert said(IN, post(author_protected=True), **FRIEND) == []


@pytest.mark.parametrize(
    ("level", "label", "expected"),
    [
        *((level, "abuse_episodic", "drop") for level in (IN, OUT, QUOTED, TOP, ADS)),
        *((level, "abuse_episodic", "interstitial") for level in (FOLLOWING, LISTS, TALK)),
        *((level, "emergency_drop", "drop") for level in (IN, OUT, QUOTED, TOP, ADS)),
        *((level, "emergency_drop", "interstitial") for level in (FOLLOWING, LISTS)),
        (TALK, "emergency_drop", "tombstone"),
    ],
)
def test_following_covers_what_for_you_drops(level: Level, label: str, expected: str) -> None:
    rule = label if expected == "drop" else f"{label}_{expected}"
    assert said(level, post(label), **FRIEND)[0] == (expected, rule)


SENSITIVE_POSTS = [post(label) for label in SENSITIVE_LABELS] + [post(marks=Mark.SENSITIVE)]
SENSITIVE_NAMES = (*SENSITIVE_LABELS, "marked")


@pytest.mark.parametrize(
    ("state", "allowed"),
    [
        (ViewerState(), False),
        (ViewerState(allow_sensitive=True), False),
        (ViewerState(age_years=30), False),
        (ViewerState(age_years=17, allow_sensitive=True), False),
        (ViewerState(age_years=18, allow_sensitive=True), True),
    ],
)
@pytest.mark.parametrize(
    ("labelled", "name"), list(zip(SENSITIVE_POSTS, SENSITIVE_NAMES, strict=True))
)
def test_sensitive_posts_by_viewer(
    state: ViewerState, allowed: bool, labelled: dict[str, Any], name: str
) -> None:
    for level in (IN, FOLLOWING, LISTS, TALK):
        verdicts = judged(level, labelled, state=state)
        assert bool(verdicts.covered[0]) != allowed
        assert allowed or verdicts.rule_names == [f"cover_{name}"]
        assert verdicts.avoid_ads.all()
    assert bool(judged(QUOTED, labelled, state=state).removed[0]) != allowed
    # What its author marked is recommended to those who allow it; what others labelled never.
    for level in (OUT, TOP):
        shown = allowed and name == "marked"
        verdicts = judged(level, labelled, state=state)
        assert bool(verdicts.removed[0]) != shown
        assert shown or verdicts.rule_names == [f"not_recommended_{name}"]
    willing = VisibilitySettings(recommend_sensitive=True)
    assert bool(judged(OUT, labelled, state=state, settings=willing).removed[0]) != allowed


def test_settings_of_age() -> None:
    labelled, unknown = post("gore_high_precision"), ViewerState(allow_sensitive=True)
    assert judged(IN, labelled, state=unknown).covered.all()
    trusting = VisibilitySettings(unknown_age="adult")
    assert said(IN, labelled, state=unknown, settings=trusting) == [("avoid_ads", "unsafe_for_ads")]
    older = VisibilitySettings(adult_age_years=21)
    young = ViewerState(age_years=20, allow_sensitive=True)
    assert judged(IN, labelled, state=young, settings=older).covered.all()
    strict = VisibilitySettings(minors_in_network="drop")
    for level in (IN, FOLLOWING, LISTS, TALK, QUOTED):
        for one in SENSITIVE_POSTS:
            found = said(level, one, state=unknown, settings=strict)
            assert found == [("drop", "sensitive_for_minors")]
            assert not judged(level, one, state=ADULT, settings=strict).removed.any()


UNRECOMMENDED = {
    *("abusive", "low_quality", "nsfw_video", "nsfw_text", "spam_high_recall", "gore"),
    *("duplicate_content", "bystander_abusive", "do_not_amplify", "safety_crisis_2"),
    *("safety_crisis_3", "automated_spam", "high_proactive_tos", "nsfw_high_recall"),
    *("nsfw_near_perfect", "hidden_reply", *SENSITIVE_LABELS),
}
REMOVED_EVERYWHERE = {"pdna", "bounce", "spam", "hateful_conduct", "abuse_episodic"}
REMOVED_EVERYWHERE |= {"emergency_drop", "safety_crisis_4"}
UNRECOMMENDED_AUTHORS = {
    *("nsfw_admin", "abusive", "low_quality", "read_only", "compromised", "nsfw_text"),
    *("recommendations_blacklist", "spam_high_recall", "duplicate_content", "do_not_amplify"),
    *("nsfw_high_precision", "nsfw_near_perfect", "nsfw_banner_image", "nsfw_avatar_image"),
    *("engagement_spammer", "abusive_high_recall", "not_graduated", "likely_ivs", "spam"),
    "automated_spam",
}


@pytest.mark.parametrize("label", KNOWN_LABELS)
def test_labels_out_of_network_and_in_network(label: str) -> None:
    out = judged(OUT, post(label), state=ADULT)
    in_network = judged(IN, post(label), state=ViewerState(), **FRIEND)
    if label in REMOVED_EVERYWHERE:
        assert out.removed.all()
        assert in_network.removed.all()
    elif label in UNRECOMMENDED:
        assert out.rule_names == [f"not_recommended_{label}"]
        assert not in_network.removed.any()
        assert bool(in_network.covered[0]) == (label in SENSITIVE_LABELS)
    else:
        assert bool(out.removed[0]) == (label == "slur")
        assert not in_network.removed.any()
    of_author = judged(OUT, post(author=(label,)), state=ADULT)
    expected = f"not_recommended_author_{label}" if label in UNRECOMMENDED_AUTHORS else ""
    assert of_author.rule_names == [expected]
    assert not judged(IN, post(author=(label,)), **FRIEND).removed.any()


@pytest.mark.parametrize(
    ("labelled", "followed"),
    [
        (post("do_not_amplify"), "avoid_ads"),
        (post("safety_crisis_3"), "avoid_ads"),
        (post(author=("do_not_amplify",)), "avoid_ads"),
        (post(author=("not_graduated",)), None),
        (post(author=("likely_ivs",)), None),
    ],
)
def test_some_labels_only_keep_a_post_from_strangers(
    labelled: dict[str, Any], followed: str | None
) -> None:
    assert judged(OUT, labelled).removed.all()
    assert [action for action, _ in said(OUT, labelled, **FRIEND)] == [followed] * bool(followed)


@given(
    st.sampled_from(SENSITIVE_NAMES),
    st.integers(0, 120),
    st.booleans(),
    st.sets(st.sampled_from(KNOWN_LABELS)),
    st.builds(
        VisibilitySettings,
        unknown_age=st.sampled_from(["minor", "adult"]),
        recommend_sensitive=st.booleans(),
    ),
)
def test_what_recommendations_drop_as_sensitive_the_own_network_covers(
    name: str, age: int, allows: bool, others: set[str], settings: VisibilitySettings
) -> None:
    """Over all labels of the group, viewers, settings, and whatever other labels there are."""
    marked = post(*others, marks=Mark.SENSITIVE)
    labelled = marked if name == "marked" else post(name, *others)
    state = ViewerState(age_years=age, allow_sensitive=allows)
    out = judged(OUT, labelled, state=state, settings=settings)
    in_network = judged(IN, labelled, state=state, settings=settings, **FRIEND)
    may_see = allows and (age >= 18 or (age == 0 and settings.unknown_age == "adult"))
    if not may_see:
        assert out.removed.all()
        assert in_network.covered.all() or in_network.removed.all()
        assert in_network.removed.any() == bool(others & REMOVED_EVERYWHERE)
    assert in_network.removed[0] <= out.removed[0]


NO_REACH: list[tuple[str, Level, bool, list[str]]] = [
    # label, surface, followed: actions, the first being the verdict
    *(("slur", level, True, ["soft_intervention", "avoid_ads"]) for level in (IN, FOLLOWING)),
    *(("slur", level, True, ["soft_intervention", "avoid_ads"]) for level in (LISTS, TALK)),
    *(("slur", level, True, ["drop"]) for level in (OUT, TOP)),
    *(("slur", level, False, ["drop"]) for level in (IN, OUT, FOLLOWING, LISTS, QUOTED, TOP)),
    ("slur", QUOTED, True, ["soft_intervention", "avoid_ads"]),
    ("slur", TALK, False, ["soft_intervention", "down_rank", "avoid_ads"]),
    *(
        ("hateful_conduct", level, followed, ["drop"])
        for level in (IN, OUT, FOLLOWING, LISTS, QUOTED, TOP)
        for followed in (True, False)
    ),
    *(
        ("hateful_conduct", TALK, followed, [cover, "limited_engagement", "avoid_ads"])
        for followed, cover in ((True, "soft_intervention"), (False, "interstitial"))
    ),
]


@pytest.mark.parametrize(("label", "level", "followed", "expected"), NO_REACH)
def test_freedom_of_speech_not_reach(
    label: str, level: Level, followed: bool, expected: list[str]
) -> None:
    viewer = FRIEND if followed else {}
    assert [action for action, _ in said(level, post(label), **viewer)] == expected


def test_authors_are_told_of_labels_and_see_their_posts() -> None:
    own = {"author_ids": VIEWER}
    for level in Level:
        for label in KNOWN_LABELS:
            verdicts = judged(level, post(label, **own, marks=Mark.SENSITIVE | Mark.EXCLUSIVE))
            assert not verdicts.removed.any()
            assert not verdicts.covered.any()
            assert (verdicts.action[0] == Action.NOTICE) == (label != "limited_reply")
        assert said(level, post("slur", **own))[0] == ("notice", "notice_1")
        assert said(level, post("hateful_conduct", **own)) == [
            ("notice", "notice_3"),
            ("limited_engagement", "no_reach_3_limited"),
            ("avoid_ads", "no_reach_ads"),
        ]
        assert said(level, post(author=("compromised",), **own)) == [("notice", "notice_account")]
        assert said(level, post(**own)) == []
        assert said(level, post(deleted=True, **own)) == [("drop", "post_deleted")]
        assert said(level, post(created_ms=0, **own)) == [("drop", "facts_unknown")]


def test_a_reply_hidden_from_who_began_the_conversation() -> None:
    hidden = post("hidden_reply", linked=(0, 0, 0, VIEWER))
    assert said(TALK, hidden) == [("tombstone", "reply_hidden_from_viewer_tombstone")]
    assert said(TOP, hidden) == [("drop", "reply_hidden_from_viewer")]
    assert said(TALK, post("hidden_reply", linked=(0, 0, 0, OTHER))) == []


def test_what_holds_beside_the_verdict() -> None:
    labelled = post(*("gore_high_precision", "misleading", "limited_reply", "abusive"))
    assert said(IN, labelled) == [
        ("interstitial", "cover_gore_high_precision"),
        ("soft_intervention", "misleading"),
        ("limited_engagement", "limited_reply"),
        ("down_rank", "down_rank_post"),
        ("avoid_ads", "unsafe_for_ads"),
    ]
    verdicts = judged(IN, labelled, settings=VisibilitySettings(down_rank=0.25))
    assert verdicts.limited.all()
    assert verdicts.avoid_ads.all()
    assert verdicts.down_rank.tolist() == [0.25]
    removed = judged(IN, post("pdna", "limited_reply", "abusive"))
    assert not (removed.limited | removed.avoid_ads).any()
    assert removed.down_rank.tolist() == [1.0]
    assert said(IN, post(newest_ids=7)) == [("limited_engagement", "outdated")]
    assert said(IN, post(newest_ids=100)) == []


def test_removals_stand_before_covers_and_these_before_the_rest() -> None:
    def rank(action: Action) -> int:
        if action in REMOVALS:
            return 0
        return 1 if action in (Action.INTERSTITIAL, Action.NOTICE) else 2

    assert set(POLICIES) == set(Level)
    for rules in POLICIES.values():
        ranks = [rank(rule.action) for rule in rules]
        assert ranks == sorted(ranks)
        assert len({rule.name for rule in rules}) == len(rules)
        assert rules[0].name == "facts_unknown"
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names) < 2**15
    assert all(rule.action in COLLECTED for rules in POLICIES.values() for rule in rules[-5:])


class Watched(Facts):
    """Facts that remember which of them were asked for."""

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("_") and name not in ("none", "asked"):
            object.__getattribute__(self, "__dict__").setdefault("asked", set()).add(name)
        return super().__getattribute__(name)


_GROUNDWORK = {"candidates", "rows", "viewer_id", "context", "author_ids"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_needs_what_it_reads(rule: Any) -> None:
    everything = post(
        *KNOWN_LABELS, author=KNOWN_LABELS, author_protected=True, marks=63, linked=(9, 9, 9, 1)
    )
    willing = VisibilitySettings(recommend_sensitive=True, minors_in_network="drop")
    asked = set()
    for age in (0, 30):
        state = ViewerState(age_years=age, allow_sensitive=True)
        watched = Watched(VIEWER, context(), state, willing, rows(everything))
        rule.when(watched)
        asked |= watched.asked
    inside = {"subscribed", "is_adult"} & rule.needs
    assert rule.needs <= asked
    assert asked - _GROUNDWORK - ({"state", "settings"} if inside else set()) <= rule.needs
