import math

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from actors.features.text import STATISTICS, text_statistics
from actors.stores.texts import Texts


def statistics(text: str, links: int = 0) -> dict[str, float]:
    texts = Texts()
    texts.add(pa.array(["what stands before"]))
    starts, lengths = texts.add(pa.array([text]))
    texts.add(pa.array(["and after"]))
    values: npt.NDArray[np.float32] = text_statistics(
        texts.buffer, starts, lengths, np.array([links], np.int16)
    )
    return dict(zip(STATISTICS, values[0].tolist(), strict=True))


def squash(x: float) -> float:
    return 2 / (1 + math.exp(-x)) - 1


def score(letters: int, readability: float, shout: float, entropy: float, links: int) -> float:
    shape = 0.5 * squash(0.03 * letters) + 0.1 * squash(0.05 * readability) + 0.1 * (1 - shout)
    return 100 * (shape + 0.25 * squash(0.5 * entropy) + 0.05 * (links > 0))


def test_no_text() -> None:
    assert statistics("", links=1) == dict.fromkeys(STATISTICS, 0.0)


def test_one_word() -> None:
    # One token: no entropy, and the logarithm of one is no readability.
    assert statistics("hello") == pytest.approx(
        {"text_length": 5, "text_score": score(5, 0, 0, 0, 0), "hashtags": 0, "mentions": 0,
         "capitals_share": 0}, rel=1e-5,
    )  # fmt: skip


def test_repeated_words_say_less() -> None:
    # ab ab c: two kinds of three tokens, five bytes.
    entropy = -(2 / 3 * math.log2(2 / 3) + 1 / 3 * math.log2(1 / 3))
    found = statistics("ab ab\nc", links=2)
    assert found["text_score"] == pytest.approx(
        score(5, 5 * math.log(3) / 3, 0, entropy, 1), rel=1e-5
    )


def test_marks_and_capitals() -> None:
    found = statistics("#One @two @three A#b  @")
    assert (found["hashtags"], found["mentions"]) == (1, 3)
    assert found["capitals_share"] == pytest.approx(2 / 13)
    assert found["text_length"] == 23


def test_other_scripts_have_letters() -> None:
    # Each Cyrillic letter is two bytes, the first of which is counted as a letter.
    assert statistics("привет")["text_score"] == pytest.approx(score(6, 0, 0, 0, 0), rel=1e-5)


def test_very_long_texts() -> None:
    found = statistics("x " * 5_000)
    assert found["text_length"] == 10_000
    assert 0 < found["text_score"] <= 100
