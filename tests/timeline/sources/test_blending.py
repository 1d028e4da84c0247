from itertools import pairwise
from statistics import fmean, pstdev

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from timeline.sources.blending import Blending, blended, first_of_each

LISTS = st.lists(st.lists(st.integers(1, 12), max_size=8, unique=True), max_size=5)


def rows_of(lists: list[list[int]], filling: list[bool] | None = None) -> Blending:
    lengths = [len(one) for one in lists]
    keys = np.repeat(np.arange(len(lists)), lengths)
    ranks = np.array([rank for one in lists for rank in range(len(one))], np.int64)
    fills = np.array(filling or [False] * len(lists), bool)
    scores = np.array([1 / (1 + post) for one in lists for post in one], np.float32)
    return Blending(keys, ranks, scores, np.zeros(len(keys), np.int64), fills[keys])


def posts_by(
    blender: str, lists: list[list[int]], rows: Blending, evenness: float = 1.0
) -> list[int]:
    posts = np.array([post for one in lists for post in one], np.int64)
    order = blended(blender, rows, evenness)  # type: ignore[arg-type]
    first, _ = first_of_each(posts[order])
    return list(map(int, posts[order][first]))


def turn_by_turn(lists: list[list[int]], weights: list[float] | None = None) -> list[int]:
    """Each list speaks when it has gathered 1; what was said before is passed over."""
    left = [list(one) for one in lists]
    gathered = [0.0] * len(lists)
    said: list[int] = []
    while any(left):
        for at, one in enumerate(left):
            gathered[at] += weights[at] if weights else 1.0
            if gathered[at] >= 1 - 1e-9:
                gathered[at] -= 1
                post = one.pop(0) if one else 0
                if post and post not in said:
                    said.append(post)
    return said


@given(LISTS)
def test_lists_take_turns(lists: list[list[int]]) -> None:
    assert posts_by("round_robin", lists, rows_of(lists)) == turn_by_turn(lists)


def test_a_repeated_post_passes_the_turn() -> None:
    lists = [[1, 2, 3], [1, 4], [5]]
    # The second list's turn is over with the post 1: 5 comes before 4.
    assert posts_by("round_robin", lists, rows_of(lists)) == [1, 5, 2, 4, 3]


@given(LISTS, st.sampled_from([0.25, 0.5, 1.0]))
def test_longer_lists_speak_more_often(lists: list[list[int]], evenness: float) -> None:
    longest = max([len(one) for one in lists], default=0)
    weights = [(1 - evenness) * len(one) / max(longest, 1) + evenness for one in lists]
    found = posts_by("count_weighted", lists, rows_of(lists), evenness)
    assert found == turn_by_turn(lists, weights)


def test_after_many_turns_every_list_speaks_in_each() -> None:
    lists = [list(range(1, 7_001)), [8_001, 8_002, 8_003]]
    found = posts_by("count_weighted", lists, rows_of(lists), 0.0)
    # A weight of 3/7000 gathers 1 in turn 2,334, and in the 3,000 turns only once.
    assert [found.index(post) for post in (8_001, 8_002, 8_003)] == [2_334, 3_002, 3_004]


@given(LISTS, st.integers(0, 4))
def test_filling_lists_come_after_the_others(lists: list[list[int]], last: int) -> None:
    filling = [at >= last for at in range(len(lists))]
    said = turn_by_turn(lists[:last])
    said += [post for post in turn_by_turn(lists[last:]) if post not in said]
    assert posts_by("back_fill", lists, rows_of(lists, filling)) == said


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 8)), min_size=1, max_size=20
    )
)
def test_scores_are_compared_by_their_engines_measure(made: list[tuple[int, int, int]]) -> None:
    made = sorted(made, key=lambda row: row[0])
    keys = np.array([row[0] for row in made])
    ranks = np.concatenate([np.arange(n) for n in np.bincount(keys)])
    engines = np.array([row[1] for row in made])
    scores = np.array([row[2] for row in made], np.float32)
    nothing = np.zeros(len(made), bool)
    order = blended("similarity", Blending(keys, ranks, scores, engines, nothing), 1.0)
    values = []
    for engine, score in zip(engines.tolist(), scores.tolist(), strict=True):
        mine = scores[engines == engine].tolist()
        spread = pstdev(mine)
        values.append((score - fmean(mine)) / spread if spread else 0.0)
    told = [values[row] for row in order.tolist()]
    assert all(a >= b - 1e-9 for a, b in pairwise(told))
    assert sorted(order.tolist()) == list(range(len(made)))
