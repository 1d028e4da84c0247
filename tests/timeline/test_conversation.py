from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.timeline.candidate_rows import rows
from tests.timeline.linked_worlds import linked, tree
from timeline.candidates import NONE, Candidates
from timeline.conversation import ConversationModules, conversation_modules, valid_conversations
from timeline.linked import Linked

ROOT, PARENT, REPLY = 1, 2, 3
CHAIN = {ROOT: 0, PARENT: ROOT, REPLY: PARENT}


def of(candidates: Candidates, posts: Candidates, barred: Any = ()) -> ConversationModules:
    found, bars = linked(candidates, posts), np.isin(posts.post_ids, list(barred))
    modules = conversation_modules(candidates, found, bars)
    check(modules, candidates, found, bars)
    return modules


def check(modules: ConversationModules, candidates: Candidates, found: Linked, bars: Any) -> None:
    """What always holds: entries are valid, in order, and no post stands twice."""
    valid = valid_conversations(candidates, found, bars)
    assert valid[modules.rows].all()
    assert (np.diff(modules.rows) > 0).all()
    shown = modules.post_ids[modules.post_ids > 0].tolist()
    assert len(shown) == len(set(shown))
    above = modules.ancestors[modules.ancestors >= 0]
    assert not bars[above].any()
    assert (
        found.posts.post_ids[above].tolist()
        == modules.post_ids[:, :2][modules.ancestors >= 0].tolist()
    )
    assert (modules.post_ids[:, 2] == candidates.post_ids[modules.rows]).all()
    assert (modules.is_module() == (candidates.links[modules.rows, 0] > 0)).all()


def picked(posts: Candidates, *post_ids: int) -> Candidates:
    return posts.take(np.isin(posts.post_ids, post_ids))


def test_a_reply_stands_below_root_and_nearest_ancestor() -> None:
    posts = tree(CHAIN | {4: REPLY, 5: 4})
    assert of(picked(posts, 5), posts).post_ids.tolist() == [[1, 4, 5]]
    assert of(picked(posts, REPLY), posts).post_ids.tolist() == [[1, 2, 3]]
    assert of(picked(posts, PARENT), posts).post_ids.tolist() == [[1, 0, 2]]
    assert of(picked(posts, ROOT), posts).post_ids.tolist() == [[0, 0, 1]]


@pytest.mark.parametrize(
    ("focal", "barred", "shown"),
    [
        (REPLY, [], [[1, 2, 3]]),
        # Two posts where the older one is a reply, or not what the focal one replies to; one.
        (REPLY, [ROOT], []),
        (REPLY, [PARENT], []),
        (REPLY, [ROOT, PARENT], []),
        (PARENT, [], [[1, 0, 2]]),
        (PARENT, [ROOT], []),
        (ROOT, [], [[0, 0, 1]]),
        (ROOT, [ROOT], [[0, 0, 1]]),
    ],
)
def test_validity(focal: int, barred: list[int], shown: list[list[int]]) -> None:
    posts = tree(CHAIN)
    assert of(picked(posts, focal), posts, barred).post_ids.tolist() == shown


def test_who_begins_is_the_root_whatever_the_reply_says() -> None:
    posts = tree(CHAIN)
    candidates = picked(posts, PARENT)
    for claimed in (0, PARENT, REPLY, 99):
        candidates.links[:, 2] = claimed
        assert of(candidates, posts).post_ids.tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("claimed", [0, REPLY, PARENT, 99])
def test_a_deep_reply_without_a_true_root_is_not_shown(claimed: int) -> None:
    posts = tree(CHAIN)
    candidates = picked(posts, REPLY)
    candidates.links[:, 2] = claimed
    assert of(candidates, posts).post_ids.tolist() == []


def test_replies_in_a_circle_are_not_shown() -> None:
    posts = rows({"post_ids": 1, "links": [2, 0, 1]}, {"post_ids": 2, "links": [1, 0, 1]})
    own = rows({"post_ids": 3, "links": [3, 0, 3]})
    assert len(of(posts.take(np.array([0])), posts).rows) == 0
    assert len(of(own, own).rows) == 0


def test_an_ancestor_leaves_to_the_reply_that_carries_it() -> None:
    posts = tree(CHAIN | {4: REPLY, 9: 0}, {1: 9.0, 2: 8.0, 3: 7.0, 4: 1.0, 9: 0.5})
    # 4 carries 1 and 3; 2 is its ancestor, too, though it is not shown.
    assert of(posts, posts).post_ids.tolist() == [[1, 3, 4], [0, 0, 9]]
    # What must not be shown carries nothing.
    modules = of(posts, posts, barred=[3])
    assert modules.post_ids.tolist() == [[1, 2, 3], [0, 0, 9]]


def test_of_entries_that_share_a_post_the_best_is_kept() -> None:
    posts = tree({1: 0, 2: 1, 3: 1, 4: 3, 5: 3}, {2: 1.0, 4: 2.0, 5: 3.0})
    assert of(picked(posts, 2, 4, 5), posts).post_ids.tolist() == [[1, 3, 5]]
    # The first where all are as good.
    even = tree({1: 0, 2: 1, 3: 1})
    assert of(picked(even, 2, 3), even).post_ids.tolist() == [[1, 0, 2]]


def test_a_repost_counts_as_what_it_reposts() -> None:
    posts = tree({1: 0, 2: 1})
    candidates = rows(
        {"post_ids": 7, "repost_of_ids": 1, "scores": 5.0},
        {"post_ids": 2, "links": [1, 0, 1], "scores": 1.0},
    )
    assert of(candidates, posts).post_ids.tolist() == [[1, 0, 2]]
    assert of(candidates, posts, barred=[1]).post_ids.tolist() == [[0, 0, 7]]
    replied = rows({"post_ids": 7, "repost_of_ids": 2, "links": [1, 0, 1]})
    # A repost of a reply is no reply.
    modules = conversation_modules(replied, linked(replied, posts), np.zeros(2, bool))
    assert modules.post_ids.tolist() == [[0, 0, 7]]


def test_none() -> None:
    assert len(of(NONE, NONE).rows) == 0
    assert of(NONE, NONE).post_ids.shape == (0, 3)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Candidates, Candidates]:
    """Posts of conversations at most three replies deep, and some of them as candidates."""
    parents: dict[int, int] = {}
    depths = {0: -1}
    for post in range(1, draw(st.integers(1, 14)) + 1):
        above = [p for p, depth in depths.items() if depth < 3]
        parents[post] = draw(st.sampled_from(above))
        depths[post] = depths[parents[post]] + 1
    scores = draw(st.permutations(range(1, len(parents) + 1)))
    posts = tree(parents, dict(zip(parents, map(float, scores), strict=True)))
    chosen = draw(st.lists(st.sampled_from(sorted(parents)), unique=True))
    return posts.take(np.array([post - 1 for post in chosen], np.int64)), posts


@given(conversations())
def test_as_published_one_by_one(drawn: tuple[Candidates, Candidates]) -> None:
    candidates, posts = drawn
    parents = dict(zip(posts.post_ids.tolist(), posts.links[:, 0].tolist(), strict=True))
    scores = dict(zip(candidates.post_ids.tolist(), candidates.scores.tolist(), strict=True))

    def ancestors(post: int) -> list[int]:
        return [parents[post], *ancestors(parents[post])] if parents[post] else []

    # No candidate that is an ancestor of another; then the copy of the best score of each post;
    # then modules that are still whole.
    carried = {above for post in scores for above in ancestors(post)}
    entries = {
        post: list(dict.fromkeys([*ancestors(post)[-1:], *ancestors(post)[:1], post]))
        for post in scores
        if post not in carried
    }
    best: dict[int, int] = {}
    for post, entry in entries.items():
        for one in entry:
            if one not in best or scores[post] > scores[best[one]]:
                best[one] = post
    whole = [e for post, e in entries.items() if all(best[one] == post for one in e)]
    modules = of(candidates, posts)
    assert [[post for post in row if post] for row in modules.post_ids.tolist()] == whole


@given(conversations(), st.sets(st.integers(1, 14)))
def test_nothing_is_lost_that_could_be_shown(
    drawn: tuple[Candidates, Candidates], barred: set[int]
) -> None:
    candidates, posts = drawn
    modules = of(candidates, posts, barred)
    found = linked(candidates, posts)
    valid = valid_conversations(candidates, found, np.isin(posts.post_ids, list(barred)))
    shown = set(modules.post_ids.reshape(-1).tolist()) - {0}
    roots = np.where(candidates.links[:, 2] > 0, candidates.links[:, 2], candidates.post_ids)
    # Every conversation of which anything may be shown is there.
    for root in set(roots[valid].tolist()):
        here = candidates.post_ids[valid & (roots == root)]
        assert not shown.isdisjoint(here.tolist())
