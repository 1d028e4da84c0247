"""Topics of posts against dictionaries of communities."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.stores.sparse_embeddings import SparseEmbeddings
from actors.topic_social_proof import (
    Listing,
    PostTopics,
    TopicTastes,
    topic_social_proof,
)
from cluster.ids import Ids

Row = dict[int, float]


def ids(*values: int) -> Ids:
    return np.array(values, np.int64)


def matrix(*rows: Row) -> SparseEmbeddings:
    """A row for each of the ids 0, 1, 2, …, in their order."""
    return SparseEmbeddings(
        np.arange(len(rows)),
        np.cumsum([0, *map(len, rows)]),
        np.array([c for row in rows for c in row], np.int32),
        np.array([s for row in rows for s in row.values()], np.float32),
    )


def cosine(one: Row, other: Row) -> float:
    dot = sum(score * other.get(community, 0) for community, score in one.items())
    sizes = [math.sqrt(sum(score**2 for score in row.values())) for row in (one, other)]
    return dot / (sizes[0] * sizes[1]) if all(sizes) else 0.0


def proof(offsets: Ids, topic_ids: Ids, **given: object) -> PostTopics:
    n, m = len(offsets) - 1, len(topic_ids)
    defaults: dict[str, object] = {
        "has_language": np.ones(n, bool),
        "allowed": np.ones(m, bool),
    }
    return topic_social_proof(offsets, topic_ids, **(defaults | given))  # type: ignore[arg-type]


def test_the_best_topics_of_each_post() -> None:
    posts = matrix({1: 1.0}, {1: 1.0, 2: 1.0}, {1: 1.0})
    topics = matrix({1: 2.0}, {2: 1.0}, {3: 1.0})
    carried = ids(70, 71, 72, 70, 71, 70)
    rows = ids(0, 1, 2, 0, 1, 0)
    given = {"posts": posts, "topics": [topics], "topic_rows": [rows]}
    found = proof(ids(0, 3, 5, 6), carried, **given)
    assert found.offsets.tolist() == [0, 1, 3, 4]
    assert found.topic_ids.tolist() == [70, 70, 71, 70]
    assert found.scores == pytest.approx([1, math.sqrt(0.5), math.sqrt(0.5), 1])
    twice = proof(ids(0, 3), ids(70, 71, 70), **(given | {"topic_rows": [ids(0, 1, 0)]}))
    assert twice.topic_ids.tolist() == [70]
    # Two embeddings of a topic add up; no row in one of them is 0.
    both = proof(
        ids(0, 3, 5, 6),
        carried,
        **(given | {"topics": [topics, topics], "topic_rows": [rows, ids(-1, 1, 2, 0, 1, 0)]}),
    )
    assert both.scores == pytest.approx([1, math.sqrt(2), math.sqrt(2), 2])
    # A sure annotation needs no score; a post without a language gets nothing.
    sure = ids(0, 0, 1, 0, 0, 0).astype(bool)
    spoken = np.array([True, False, True])
    some = proof(ids(0, 3, 5, 6), carried, **given, always=sure, has_language=spoken)
    assert some.topic_ids.tolist() == [70, 72, 70]
    assert some.offsets.tolist() == [0, 2, 2, 3]
    one = proof(ids(0, 3, 5, 6), carried, **given, max_topics=1, allowed=carried != 70)
    assert one.topic_ids.tolist() == [71]
    assert proof(ids(0), ids(), **(given | {"topic_rows": [ids()]})).offsets.tolist() == [0]


def test_padding() -> None:
    found = PostTopics(ids(0, 2, 2, 5), ids(8, 9, 5, 6, 7), np.array([4, 3, 3, 2, 1], np.float32))
    topics, scores = found.padded(2)
    assert topics.tolist() == [[8, 9], [0, 0], [5, 6]]
    assert scores.tolist() == [[4, 3], [0, 0], [3, 2]]
    assert PostTopics(ids(0), ids(), np.empty(0, np.float32)).padded(3)[0].shape == (0, 3)


def test_exact_zeros_are_dropped_and_thresholds_are_strict() -> None:
    given = {
        "posts": matrix({1: 1.0}),
        "topics": [matrix({2: 1.0}, {1: 1.0})],
        "topic_rows": [ids(0, 1)],
    }
    assert proof(ids(0, 2), ids(5, 6), **given).topic_ids.tolist() == [6]
    assert proof(ids(0, 2), ids(5, 6), **given, threshold=1.0).topic_ids.tolist() == []


@pytest.mark.parametrize(
    ("listing", "expected"),
    [
        (Listing.FOLLOWABLE, [1, 2]),
        (Listing.FOLLOWING, [1, 5]),
        (Listing.IMPLICIT_FOLLOW, [2, 3]),
        (Listing.ALL, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_allow_lists(listing: Listing, expected: list[int]) -> None:
    given = {"opted_out_ids": ids(3), "not_interested_ids": ids(4)}
    tastes = TopicTastes(ids(5, 1, 4), **given)
    topics, white_list = ids(1, 2, 3, 4, 5, 6), ids(1, 2, 3, 4)
    assert topics[tastes.allows(topics, white_list, listing)].tolist() == expected
    paused = TopicTastes(ids(5, 1, 4), **given, paused=True)
    left = topics[paused.allows(topics, white_list, listing)].tolist()
    assert left == (expected if listing is Listing.ALL else [])


_ROWS = st.dictionaries(st.integers(0, 6), st.floats(0.125, 4, width=32), max_size=4)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(_ROWS, st.booleans(), st.lists(st.integers(0, 3), unique=True)), max_size=4),
    st.lists(_ROWS, min_size=4, max_size=4),
    st.lists(_ROWS, min_size=4, max_size=4),
    st.sets(st.integers(0, 3)),
    st.integers(1, 3),
)
def test_against_dictionaries(
    posts: list[tuple[Row, bool, list[int]]],
    favoured: list[Row],
    known_for: list[Row],
    allowed: set[int],
    most: int,
) -> None:
    carried = ids(*(topic for _, _, topics in posts for topic in topics))
    found = topic_social_proof(
        np.cumsum([0, *(len(topics) for _, _, topics in posts)]),
        carried,
        posts=matrix(*(row for row, _, _ in posts)),
        topics=[matrix(*favoured), matrix(*known_for)],
        topic_rows=[carried, carried],
        has_language=np.array([spoken for _, spoken, _ in posts], bool),
        allowed=np.isin(carried, ids(*allowed)),
        max_topics=most,
    )
    for k, (row, spoken, topics) in enumerate(posts):
        scores = {t: cosine(row, favoured[t]) + cosine(row, known_for[t]) for t in topics}
        kept = {t: s for t, s in scores.items() if spoken and t in allowed and s > 0}
        mine = slice(found.offsets[k], found.offsets[k + 1])
        assert len(found.topic_ids[mine]) == min(most, len(kept))
        # Sums of another order may swap what is equal but for rounding.
        best = sorted(kept.values(), reverse=True)[:most]
        assert found.scores[mine].tolist() == pytest.approx(best)
        assert [kept[t] for t in found.topic_ids[mine].tolist()] == pytest.approx(best)
