"""Who is known for topics, counted by hand and by dictionaries."""

from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.sparse_embeddings import SparseEmbeddings, topic_in_language
from cluster.events import Kind
from training.simclusters.topic_seeds import TopicSeeds, embed_topics, topic_seeds

ADA, BEN, CAI = 11, 12, 13
CARS, SHIPS = 1, 2

Post = tuple[int, int, str | None, list[int] | None]


def posts_of(*posts: Post) -> pa.Table:
    ids, authors, languages, topics = zip(*posts, strict=True) if posts else ([],) * 4
    return pa.table(
        {
            "post_id": pa.array(ids, pa.int64()),
            "author_id": pa.array(authors, pa.int64()),
            "language": pa.array(languages, pa.string()),
            "topics": pa.array(topics, pa.list_(pa.int64())),
        }
    )


def favours_of(*on: int, off: tuple[int, ...] = ()) -> pa.Table:
    kinds = [Kind.FAVOURITE] * len(on) + [Kind.UNFAVOURITE] * len(off)
    return pa.table(
        {"post_id": pa.array([*on, *off], pa.int64()), "kind": pa.array(kinds, pa.uint8())}
    )


def found(posts: pa.Table, favours: pa.Table, **given: Any) -> dict[int, list[int]]:
    seeds = topic_seeds(posts, favours, **{"min_share": 0.5, "per_topic": 9} | given)
    known = defaultdict(list)
    for key, producer in zip(seeds.keys.tolist(), seeds.producer_ids.tolist(), strict=True):
        known[key].append(producer)
    return dict(known)


def test_who_is_favoured_for_a_topic_is_known_for_it() -> None:
    posts = posts_of(
        (1, ADA, "en", [CARS]),
        (2, ADA, "en", None),
        (3, BEN, "en-GB", [CARS, SHIPS]),
        (4, BEN, "de", [CARS]),
        (5, CAI, None, [CARS]),
        (6, CAI, "en", [SHIPS]),
    )
    # Ada has 3 favourites for cars of 4; Ben has 2 in English and 3 in German; Cai one for ships,
    # of which nothing is left, and three without a language.
    favours = favours_of(*[1] * 3, 2, *[3] * 2, *[4] * 3, *[5] * 3, 6, 99, off=(6,))
    english, german = (topic_in_language(CARS, language) for language in ("en", "de"))
    assert found(posts, favours) == {english: [ADA], german: [BEN]}
    ships = topic_in_language(SHIPS, "en")
    low = {english: [ADA, BEN], german: [BEN], ships: [BEN]}
    assert found(posts, favours, min_share=0.4) == low
    assert found(posts, favours, min_share=0.4, per_topic=1) == low | {english: [ADA]}
    assert found(posts, favours_of()) == {}
    assert found(posts_of(), favours) == {}


def test_a_topic_is_the_sum_of_who_is_known_for_it() -> None:
    producers = SparseEmbeddings.from_entries(
        np.array([ADA, ADA, BEN, BEN]),
        np.array([0, 1, 1, 4], np.int32),
        np.array([2.0, 1.0, 3.0, 4.0], np.float32),
    )
    seeds = TopicSeeds(np.array([7, 7, 7, 8, 9]), np.array([ADA, BEN, CAI, BEN, CAI]))
    topics = embed_topics(seeds, producers, 2)
    assert topics.ids.tolist() == [7, 8]
    rows = [dict(zip(*(a.tolist() for a in topics.of(key)), strict=True)) for key in (7, 8)]
    # Of equals the lesser community stays.
    assert rows == [{1: 4.0, 4: 4.0}, {4: 4.0, 1: 3.0}]
    assert embed_topics(seeds, producers, 9).of(7)[0].tolist() == [1, 4, 0]
    nobody = TopicSeeds(np.empty(0, np.int64), np.empty(0, np.int64))
    assert len(embed_topics(nobody, producers, 2)) == 0
    nothing = SparseEmbeddings.from_entries(
        np.empty(0, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)
    )
    assert len(embed_topics(seeds, nothing, 2)) == 0


_POSTS = st.lists(
    st.tuples(
        st.sampled_from([ADA, BEN, CAI]),
        st.sampled_from(["en", "EN-us", "de", None]),
        st.none() | st.lists(st.sampled_from([CARS, SHIPS]), unique=True, max_size=2),
    ),
    max_size=6,
)


@given(_POSTS, st.data(), st.sampled_from([0.1, 0.5, 1.0]), st.integers(1, 3))
def test_against_dictionaries(
    drawn: list[Any], data: st.DataObject, share: float, per_topic: int
) -> None:
    posts = [(100 + n, *post) for n, post in enumerate(drawn)]
    liked = data.draw(st.lists(st.sampled_from([0, *(p[0] for p in posts)]), max_size=12))
    totals: dict[int, int] = defaultdict(int)
    on_topic: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    for post_id, author, language, topics in posts:
        totals[author] += liked.count(post_id)
        for topic in topics or [] if language else []:
            key = topic_in_language(topic, str(language))
            on_topic[key][author] += liked.count(post_id)
    expected = {}
    for key, counts in on_topic.items():
        known = [a for a, n in counts.items() if n and n >= share * totals[a]]
        if known:
            expected[key] = sorted(known, key=lambda a: (-counts[a], a))[:per_topic]
    assert (
        found(posts_of(*posts), favours_of(*liked), min_share=share, per_topic=per_topic)
        == expected
    )
