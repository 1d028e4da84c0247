"""Verdicts on many posts at once: like one at a time, and closed where something fails."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.known_labels import KNOWN_LABELS, label_bits
from actors.viewer_state import ViewerState
from cluster.visibility_settings import VisibilitySettings
from tests.timeline.candidate_rows import VIEWER, context, query, rows
from timeline.candidates import NONE, unhydrated
from timeline.visibility import COLLECTED, for_you_levels, judge, judge_facts
from timeline.visibility_actions import REMOVALS, Action, Level
from timeline.visibility_facts import Facts
from timeline.visibility_rules import POLICIES, RULES

USERS = st.integers(1, 6)
LABELS = st.sets(st.sampled_from(KNOWN_LABELS), max_size=3)
TIES = st.lists(USERS, max_size=2, unique=True).map(sorted)
POSTS = st.fixed_dictionaries(
    {
        "author_ids": USERS,
        "created_ms": st.sampled_from([0, 1, 1, 1, 1]),
        "newest_ids": st.sampled_from([0, 0, 7]),
        "labels": st.tuples(LABELS, LABELS).map(lambda two: tuple(label_bits(*s) for s in two)),
        "marks": st.sampled_from([0, 0, 0, 1, 2, 3]),
        "deleted": st.sampled_from([False, False, False, True]),
        "author_gone": st.sampled_from([False, False, False, True]),
        "author_protected": st.sampled_from([False, False, True]),
        "linked": st.tuples(*[st.sampled_from([0, 0, 0, 1, 2, 3])] * 4),
    }
)
LEVELS = st.sampled_from(list(Level))


@given(st.lists(st.tuples(POSTS, LEVELS), min_size=1, max_size=8), TIES, TIES, TIES, st.booleans())
def test_verdicts_are_those_of_the_rules_asked_one_by_one(
    given_posts: list[tuple[dict[str, Any], Level]],
    follows: list[int],
    blocks: list[int],
    mutes: list[int],
    adult: bool,
) -> None:
    posts, levels = zip(*given_posts, strict=True)
    state = ViewerState(age_years=30 * adult, allow_sensitive=adult)
    facts = Facts(
        VIEWER,
        context(follows=follows, blocks=blocks, mutes=mutes),
        state,
        VisibilitySettings(),
        rows(*posts),
    )
    together = judge_facts(np.array(levels, np.uint8), facts)
    for row, level in enumerate(levels):
        one = replace(facts, rows=np.array([row]))
        at = Level.OWN if posts[row]["author_ids"] == VIEWER else level
        holding = [rule for rule in POLICIES[at] if rule.when(one)[0]]
        first = [(holding[0].action, holding[0])] if holding else []
        beside = [
            (action, next(rule for rule in holding if rule.action == action))
            for action in COLLECTED
            if any(rule.action == action for rule in holding)
        ]
        removed = bool(first) and first[0][0] in REMOVALS
        expected = first if removed else first + [each for each in beside if each not in first]
        assert together.told(row) == expected
        assert together.removed[row] == removed
        assert together.levels[row] == at
        ranked_down = Action.DOWN_RANK in [action for action, _ in expected]
        assert together.down_rank[row] == (0.5 if ranked_down else 1.0)
        assert together.rule_names[row] == (holding[0].name if holding else "")


def test_the_level_is_for_each_row_and_own_posts_have_theirs() -> None:
    labelled = {"labels": (label_bits("gore"), 0)}
    posts = rows(
        labelled | {"is_followed": 1},
        labelled,
        labelled | {"author_ids": VIEWER},
        {"is_followed": 1},
    )
    assert for_you_levels(posts).tolist() == [0, 1, 1, 0]
    asked = query()
    verdicts = judge(for_you_levels(posts), asked, posts)
    assert verdicts.rule_names == ["unsafe_for_ads", "not_recommended_gore", "notice", ""]
    assert verdicts.action.dtype == np.uint8
    assert verdicts.rule.dtype == np.int16
    assert verdicts.removed.tolist() == [False, True, False, False]
    assert verdicts.avoid_ads.tolist() == [True, False, True, False]
    assert verdicts.post_ids.tolist() == [100, 101, 102, 103]
    assert asked.degraded == []


def test_no_posts_have_no_verdicts() -> None:
    assert len(judge(Level.FOLLOWING, query(), NONE)) == 0


def test_posts_of_which_nothing_is_known_are_dropped() -> None:
    posts = unhydrated(np.array([1, 2]), np.array([3, VIEWER]), np.zeros(2))
    for level in Level:
        verdicts = judge(level, query(), posts)
        assert verdicts.action.tolist() == [Action.DROP] * 2
        assert verdicts.rule_names == ["facts_unknown"] * 2
        assert not verdicts.failed.any()


@pytest.mark.parametrize("level", [level for level in Level if level != Level.OWN])
def test_a_rule_that_raises_drops_what_it_was_asked_about(level: Level) -> None:
    asked = replace(query(), context=None)  # so that nobody knows whom the viewer blocked
    posts = rows({}, {"labels": (label_bits("pdna"), 0)}, {"author_ids": VIEWER})
    verdicts = judge(level, asked, posts)
    assert verdicts.action.tolist() in (
        [Action.DROP, Action.DROP, Action.ALLOW],
        [Action.DROP, Action.TOMBSTONE, Action.ALLOW],
    )
    assert verdicts.rule_names[0].startswith("author_muted")
    assert verdicts.rule_names[0].endswith(" (failed)")
    assert verdicts.rule_names[1:] == ["pdna", ""]
    assert verdicts.failed.tolist() == [True, False, False]
    assert asked.degraded == ["visibility"]


def test_a_column_that_is_missing_drops_everything() -> None:
    posts = rows({}, {"author_ids": VIEWER})
    asked = query()
    broken = replace(posts, labels=np.zeros((2, 0), np.uint64))
    assert judge(Level.FOLLOWING, asked, broken).rule_names == [
        "pdna (failed)",
        "notice_3 (failed)",
    ]
    assert judge(Level.FOLLOWING, asked, broken).removed.all()
    assert asked.degraded == ["visibility"]


def test_a_failing_rule_keeps_its_own_name_apart() -> None:
    posts = rows({"created_ms": 0}, {})
    broken = replace(posts, marks=np.zeros(0, np.uint16))
    names = judge(Level.FOLLOWING, query(), broken).rule_names
    assert names == ["facts_unknown", "exclusive (failed)"]


def test_rules_that_are_off() -> None:
    posts = rows(
        {"labels": (label_bits("gore"), 0)},
        {"labels": (label_bits("gore", "nsfw_text"), 0)},
        {"labels": (label_bits("pdna"), 0)},
    )
    off = VisibilitySettings(rules_off=("not_recommended_gore", "pdna", "no_such_rule"))
    facts = Facts(VIEWER, context(), ViewerState(), off, posts)
    names = judge_facts(Level.FOR_YOU_OUT, facts).rule_names
    assert names == ["unsafe_for_ads", "not_recommended_nsfw_text", "pdna"]
    hard = {rule.name for rule in RULES if rule.hard}
    assert {"facts_unknown", "post_deleted", "author_blocked", "author_muted", "pdna"} <= hard


def test_a_code_that_is_no_level() -> None:
    with pytest.raises(ValueError, match="99"):
        judge(np.array([99], np.uint8), query(), rows({}))
