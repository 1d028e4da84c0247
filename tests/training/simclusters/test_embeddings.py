import math
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.sparse_embeddings import SparseEmbeddings, topic_in_language
from tests.training.simclusters.test_interested_in import drawn, known_for
from training.simclusters.consumers import ConsumerGraph
from training.simclusters.embeddings import (
    Audiences,
    Cut,
    embed,
    producer_audiences,
    topic_audiences,
    unit_columns,
)
from training.simclusters.interested_in import interested_in
from training.simclusters.observed import Languages

K = 5
EVERYTHING = Cut(min_audience=1, min_score=0.0, communities_per_noun=K)

Model = dict[tuple[int, int], float]


def interests_of(seed: int, graph: ConsumerGraph) -> SparseEmbeddings:
    return interested_in(graph, *known_for(graph, seed), K).matrix


def model_of(embeddings: SparseEmbeddings, values: Any = None) -> Model:
    ids = np.repeat(embeddings.ids, np.diff(embeddings.offsets)).tolist()
    values = embeddings.scores if values is None else values
    pairs = zip(ids, embeddings.communities.tolist(), strict=True)
    return dict(zip(pairs, values.tolist(), strict=True))


def product(audience: Model, interests: Model) -> Model:
    """L2row(B) · U over (noun, user) and (user, community)."""
    squares: dict[int, float] = defaultdict(float)
    for (noun, _), weight in audience.items():
        squares[noun] += weight**2
    found: Model = defaultdict(float)
    for (noun, user), weight in audience.items():
        for (other, community), value in interests.items():
            if user == other and value:
                found[noun, community] += weight / math.sqrt(squares[noun]) * value
    return found


@given(st.integers(0, 10_000), st.sampled_from(["fav", "log_fav", "follow"]))
def test_producers_are_cosines_of_audiences(seed: int, by: Any) -> None:
    graph = drawn(seed)
    interests = interests_of(seed, graph)
    values = interests.columns[f"{by}_normalized"]
    found = embed(producer_audiences(graph, interests, by), interests, values, EVERYTHING)
    users = graph.user_ids[graph.consumers()].tolist()
    producers = graph.producer_ids[graph.producers].tolist()
    weights = {"fav": graph.favourites, "log_fav": graph.log_favourites, "follow": graph.followed}
    edges = zip(producers, users, weights[by].tolist(), strict=True)
    audience = {(producer, user): float(weight) for producer, user, weight in edges if weight}
    expected = product(audience, model_of(interests, values))
    assert model_of(found) == pytest.approx(expected, rel=1e-5, abs=1e-7)
    # Nothing was cut here: all the audience of a producer and of a community is in the sums.
    assert all(0 < score <= 1 for score in model_of(found).values())


@given(
    st.integers(0, 10_000),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([0.0, 0.3]),
)
def test_cuts_keep_the_best(
    seed: int, min_audience: int, per_noun: int, per_community: int, min_score: float
) -> None:
    graph = drawn(seed)
    interests = interests_of(seed, graph)
    values = interests.columns["fav_normalized"]
    audiences = producer_audiences(graph, interests)
    whole = model_of(embed(audiences, interests, values, EVERYTHING))
    cut = Cut(min_audience, min_score, per_noun, per_community)
    found = model_of(embed(audiences, interests, values, cut))
    sizes = dict(zip(graph.producer_ids.tolist(), graph.faver_counts.tolist(), strict=True))
    rows = defaultdict(list)
    for (noun, community), score in whole.items():
        if sizes[noun] >= min_audience and score > min_score:
            rows[noun].append((-score, community))
    columns = defaultdict(list)
    for noun, row in rows.items():
        for score, community in sorted(row)[:per_noun]:
            columns[community].append((score, noun))
    best = {(n, c) for c, column in columns.items() for _, n in sorted(column)[:per_community]}
    assert found == {pair: whole[pair] for pair in best}


def test_an_additive_embedding_grows_with_its_audience() -> None:
    graph = drawn(1)
    interests = interests_of(1, graph)
    values = interests.columns["log_fav_normalized"]
    audiences = producer_audiences(graph, interests, "log_fav")
    plain = model_of(embed(audiences, interests, values, EVERYTHING))
    additive = model_of(embed(audiences, interests, values, EVERYTHING, additive=True))
    norms = dict(zip(graph.producer_ids.tolist(), graph.log_faver_norms.tolist(), strict=True))
    assert additive == pytest.approx({p: s * norms[p[0]] for p, s in plain.items()}, rel=1e-6)
    assert plain


def test_it_does_not_depend_on_threads() -> None:
    graph = drawn(5, users=200, producers=80, edges=3_000)
    interests = interests_of(5, graph)
    audiences = producer_audiences(graph, interests)
    values = interests.columns["fav_normalized"]
    one, two = (embed(audiences, interests, values, EVERYTHING, threads=n) for n in (1, 2))
    assert model_of(one) == model_of(two)
    assert len(one) > 50


def matrix(rows: dict[int, dict[int, float]]) -> SparseEmbeddings:
    entries = [(user, c, score) for user, row in rows.items() for c, score in row.items()]
    users, communities, scores = (np.array(column) for column in zip(*entries, strict=True))
    scores = scores.astype(np.float32)
    return SparseEmbeddings.from_entries(
        users, communities.astype(np.int32), scores, {"fav_score": scores}
    )


INTERESTS = matrix({1: {0: 3.0}, 2: {0: 4.0, 1: 1.0}, 3: {1: 1.0}, 4: {2: 0.0}})
LANGUAGES = Languages(np.array([1, 2, 3]), np.array([1, 0, 0], np.int32), ["de", "en"])


def test_columns_get_length_one() -> None:
    assert unit_columns(INTERESTS, "fav_score").tolist() == pytest.approx(
        [0.6, 0.8, math.sqrt(0.5), math.sqrt(0.5), 0.0]
    )


def embedded(audiences: Audiences, cut: Cut = EVERYTHING) -> Model:
    return model_of(embed(audiences, INTERESTS, unit_columns(INTERESTS, "fav_score"), cut))


def test_topics_are_cosines_of_their_followers() -> None:
    followers, topics = _ids(1, 2, 2, 3, 77), _ids(9, 9, 8, 8, 8)
    audiences = topic_audiences(followers, topics, INTERESTS)
    # The unknown user 77 is in the audience of topic 8, and so in its length.
    assert embedded(audiences) == pytest.approx(
        {
            (9, 0): 1.4 * math.sqrt(1 / 2),
            (9, 1): 0.5,
            (8, 0): 0.8 / math.sqrt(3),
            (8, 1): math.sqrt(2 / 3),
        }
    )
    few = Cut(min_audience=3, min_score=0.5, communities_per_noun=1)
    assert embedded(audiences, few) == pytest.approx({(8, 1): math.sqrt(2 / 3)})


def test_topics_in_a_language_are_of_those_who_read_it() -> None:
    followers, topics = _ids(1, 2, 3, 77), _ids(9, 9, 9, 9)
    audiences = topic_audiences(followers, topics, INTERESTS, LANGUAGES)
    german, english = topic_in_language(9, "de"), topic_in_language(9, "en")
    assert dict(zip(audiences.noun_ids.tolist(), audiences.sizes.tolist(), strict=True)) == {
        german: 2,
        english: 1,
    }
    assert embedded(audiences) == pytest.approx(
        {(german, 0): 0.8 * math.sqrt(1 / 2), (german, 1): 1.0, (english, 0): 0.6}
    )


def test_nothing_gives_nothing() -> None:
    none = topic_audiences(_ids(), _ids(), INTERESTS)
    assert embedded(none) == embedded(topic_audiences(_ids(), _ids(), INTERESTS, LANGUAGES)) == {}
    nobody = SparseEmbeddings(_ids(), _ids(0), *(np.empty(0, t) for t in (np.int32, np.float32)))
    followed = topic_audiences(_ids(1), _ids(9), nobody)
    assert len(embed(followed, nobody, nobody.scores, EVERYTHING)) == 0


def _ids(*values: int) -> npt.NDArray[np.int64]:
    return np.array(values, np.int64)
