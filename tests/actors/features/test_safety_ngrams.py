from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.safety_ngrams import Ngrams, ngrams, pooled
from actors.features.safety_text import normal_forms

BUCKETS = 2**16
Texts = st.lists(st.text(alphabet="abc d", max_size=30), max_size=8)


def block(found: Ngrams, text: int, which: int) -> set[int]:
    begin, end = found.offsets[2 * text + which], found.offsets[2 * text + which + 1]
    return set(found.buckets[begin:end].tolist())


def test_words_pairs_and_character_ngrams_are_counted_once() -> None:
    found = ngrams(["ab ab", "ab", "abcd", ""], BUCKETS)
    # "ab", "ab ab" and the trigrams and the 4-gram of " ab ".
    assert np.diff(found.offsets).tolist() == [2, 3, 1, 3, 1, 9, 0, 0]
    assert block(found, 1, 0) < block(found, 0, 0)
    assert block(found, 1, 1) == block(found, 0, 1)
    assert len(found) == 4


def test_the_number_of_buckets_must_be_a_power_of_two() -> None:
    with pytest.raises(ValueError, match="power of two, got 1000"):
        ngrams(["a"], 1_000)
    assert ngrams(["some words here"], 4).buckets.max() < 4


def test_no_texts_have_no_ngrams() -> None:
    assert len(ngrams([], 8)) == 0
    assert pooled(ngrams([], 8), np.ones(8, np.float32), np.ones((8, 3), np.float32)).shape == (
        0,
        3,
    )


@given(Texts)
def test_ngrams_are_those_of_a_slow_model(texts: list[str]) -> None:
    """Two texts share exactly the buckets that their n-grams, written out, share."""
    found = ngrams(texts, 2**24)
    bucket_of: dict[tuple[str, ...], int] = {}
    for i, text in enumerate(texts):
        words = normal_forms([text]).split()
        pairs = [tuple(pair) for pair in pairwise(words)]
        expected = [{("word", w) for w in words} | {("pair", *p) for p in pairs}, set()]
        for word in words:
            inside = f" {word} "
            expected[1] |= {
                ("sign", inside[a : a + n]) for n in (3, 4, 5) for a in range(len(inside) - n + 1)
            }
        for which in (0, 1):
            assert len(block(found, i, which)) == len(expected[which])
        for gram in expected[0] | expected[1]:
            bucket_of.setdefault(gram, -1)
    assert len(set(found.buckets.tolist())) == len(bucket_of)


@given(Texts, st.integers(0, 2**32 - 1))
def test_pooling_is_the_weighted_sum(texts: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    rarities = rng.random(64).astype(np.float32) * (rng.random(64) < 0.8)
    rows = rng.normal(size=(64, 3)).astype(np.float32)
    found = ngrams(texts, 64)
    weights = found.weights(rarities.astype(np.float32))
    expected = np.zeros((len(texts), 3))
    text_of = np.repeat(np.arange(len(texts)), np.diff(found.offsets[::2]))
    np.add.at(expected, text_of, weights[:, None] * rows[found.buckets])
    np.testing.assert_allclose(
        pooled(found, rarities.astype(np.float32), rows), expected, atol=1e-5
    )


@given(Texts, st.data())
def test_taking_rows_takes_their_ngrams(texts: list[str], data: st.DataObject) -> None:
    found = ngrams(texts, 256)
    chosen = st.lists(st.integers(0, max(len(texts) - 1, 0)), max_size=5)
    rows = data.draw(chosen) if texts else []
    again = ngrams([texts[i] for i in rows], 256)
    taken = found.take(np.array(rows, np.int64))
    np.testing.assert_array_equal(taken.offsets, again.offsets)
    np.testing.assert_array_equal(taken.buckets, again.buckets)
