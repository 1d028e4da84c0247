"""What stands of many nodes' edges, against a dictionary."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores.interactions import InteractionGraph
from actors.stores.standing import (
    NO_KIND,
    authors_known,
    standing_of_posts,
    standing_of_users,
)

FAVOURITE, REPOST, REPLY, UNFAVOURITE, UNREPOST = 1, 2, 3, 8, 9
UNDO_OF = np.full(16, NO_KIND, np.uint8)
UNDO_OF[UNFAVOURITE], UNDO_OF[UNREPOST] = FAVOURITE, REPOST
COUNTED = 1 << FAVOURITE | 1 << REPOST
KINDS = [FAVOURITE, FAVOURITE, REPOST, REPLY, UNFAVOURITE, UNREPOST]

Edge = tuple[int, int, int, int]
"""User, post, kind, time."""
edges_strategy = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(10, 14), st.sampled_from(KINDS), st.integers(100, 108)
    ),
    max_size=60,
)


def graph_of(edges: list[Edge], size: int) -> InteractionGraph:
    graph = InteractionGraph(16, size)
    if edges:
        users, posts, kinds, times = np.array(edges, np.int64).T
        graph.insert(users, posts, posts + 1_000, kinds.astype(np.uint8), times)
    return graph


def model(edges: list[Edge], side: int, node: int, mask: int, min_ms: int) -> dict[int, int]:
    """Neighbour → the kinds that stand; the last word counts, of one instant an undo's."""
    last: dict[tuple[int, int], tuple[int, bool]] = {}
    for edge in edges:
        kind = int(UNDO_OF[edge[2]]) if UNDO_OF[edge[2]] != NO_KIND else edge[2]
        if edge[side] == node and edge[3] >= min_ms:
            key = (edge[1 - side], kind)
            last[key] = max(last.get(key, (0, False)), (edge[3], kind != edge[2]))
    found: dict[int, int] = {}
    for (other, kind), (_, undone) in last.items():
        if not undone and mask >> kind & 1:
            found[other] = found.get(other, 0) | 1 << kind
    return found


@settings(max_examples=60)
@given(edges_strategy, st.sampled_from([5, 13, 100]), st.sampled_from([0, 104]))
def test_what_stands_is_what_the_model_says(edges: list[Edge], size: int, min_ms: int) -> None:
    graph = graph_of(edges, size)
    users, posts = np.arange(1, 6), np.arange(10, 16)
    masks = np.where(posts % 2, 1 << FAVOURITE, COUNTED)
    for side, nodes, of_node, found in (
        (
            *(0, users, np.full(5, COUNTED)),
            standing_of_users(graph, users, COUNTED, UNDO_OF, min_ms, 100),
        ),
        (1, posts, masks, standing_of_posts(graph, posts, masks, UNDO_OF, min_ms, 100)),
    ):
        for k, node in enumerate(nodes.tolist()):
            mine = slice(found.offsets[k], found.offsets[k + 1])
            expected = model(edges, side, node, int(of_node[k]), min_ms)
            others = found.other_ids[mine].tolist()
            assert dict(zip(others, found.kinds[mine].tolist(), strict=True)) == expected
            assert found.n_pairs[k] == sum(kinds.bit_count() for kinds in expected.values())
            assert found.n_read[k] == sum(e[side] == node and e[3] >= min_ms for e in edges)
            if side == 0:
                assert found.author_ids[mine].tolist() == [post + 1_000 for post in others]


def test_no_more_edges_are_read_than_the_limit() -> None:
    graph = graph_of([(1, 10 + k, FAVOURITE, 100 + k) for k in range(9)], 100)
    found = standing_of_users(graph, np.array([1]), COUNTED, UNDO_OF, 0, 4)
    assert found.n_read.tolist() == [4]
    assert found.other_ids.tolist() == [18, 17, 16, 15]


def test_authors_of_posts() -> None:
    graph = graph_of([(1, 10, FAVOURITE, 100), (1, 11, REPLY, 101)], 1)
    assert authors_known(graph, np.array([11, 12, 10])).tolist() == [1_011, 0, 1_010]
