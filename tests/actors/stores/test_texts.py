import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.texts import Texts
from actors.stores.words import MAX_WORDS, Words

STRINGS = st.lists(st.none() | st.text(max_size=6), max_size=8)


@given(STRINGS, STRINGS, st.integers(0, 3))
def test_texts_come_back(first: list[str | None], second: list[str | None], skip: int) -> None:
    texts = Texts()
    column = pa.array([*first, *second], pa.string())
    parts = [column.slice(0, len(first)), column.slice(len(first)).slice(skip)]
    kept = [*first, *second[skip:]]
    places = [texts.add(part) for part in parts]
    starts, lengths = (np.concatenate(p) for p in zip(*places, strict=True))
    # The empty text and no text are the same.
    assert texts.gather(starts, lengths).to_pylist() == [t or None for t in kept]
    backwards = texts.gather(starts[::-1].copy(), lengths[::-1].copy())
    assert backwards.to_pylist() == [t or None for t in reversed(kept)]


def test_nothing_is_added_by_no_rows() -> None:
    texts = Texts()
    starts, lengths = texts.add(pa.array(["a"]).take(pa.array([], pa.int64())))
    assert len(starts) == len(lengths) == len(texts.buffer) == 0
    assert texts.gather(starts, lengths).to_pylist() == []


def test_words() -> None:
    words = Words()
    codes = words.codes(pa.array(["de", None, "en", "de"]))
    assert codes.tolist() == [1, 0, 2, 1]
    assert words.words(codes).to_pylist() == ["de", None, "en", "de"]
    assert words.codes(pa.array(["fr", "en"])).tolist() == [3, 2]
    assert words.codes(pa.array([], pa.string())).tolist() == []


def test_looking_for_a_word_does_not_add_it() -> None:
    words = Words()
    assert words.find("de") == -1
    assert words.code("en") == 1
    assert (words.find("en"), words.find("de")) == (1, -1)


def test_a_full_dictionary_keeps_what_it_has() -> None:
    words = Words()
    many = pa.array([f"w{k}" for k in range(MAX_WORDS + 2)])
    codes = words.codes(many)
    assert codes[MAX_WORDS - 1] == MAX_WORDS
    assert codes[MAX_WORDS:].tolist() == [0, 0]
    assert words.codes(pa.array(["w0", "another"])).tolist() == [1, 0]
