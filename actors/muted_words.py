"""Which texts hold a word or phrase that somebody does not want to read."""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt


def holding(texts: Sequence[str | None], keywords: Iterable[str]) -> npt.NDArray[np.bool_]:
    """Which of n texts hold at least one keyword; a text that is None holds none.

    Compared as Unicode folds case and compatibility forms. A keyword stands alone: no letter,
    digit or mark of the same word beside it, where its script puts spaces between words; in the
    others (Chinese, Japanese, Thai …) it is found anywhere. A word also finds the hashtag made
    of it, while a keyword with `#` finds hashtags alone. The words of a phrase stand in its
    order with nothing but spaces, punctuation or symbols between them.
    """
    held = [False] * len(texts)
    # One search for each keyword in all texts at once: most keywords are in none of them.
    whole = [text or "" for text in texts]
    together = "\n".join(whole)
    if together.isascii():
        together = together.lower()
    else:
        whole = [_folded(text) for text in whole]
        together = "\n".join(whole)
    ends = list(accumulate(len(text) + 1 for text in whole))
    for words in {tuple(_folded(keyword).split()) for keyword in keywords}:
        at = together.find(words[0]) if words else -1
        while at >= 0:
            text = bisect_right(ends, at)
            if not held[text] and _stands(together, at, words, ends[text] - 1):
                held[text] = True
            at = together.find(words[0], ends[text] if held[text] else at + 1)
    return np.array(held, bool)


def _folded(text: str) -> str:
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def _stands(text: str, at: int, words: tuple[str, ...], end: int) -> bool:
    """Whether the words stand from `at` on, before `end`, in order and each by itself."""
    for place, word in enumerate(words):
        while place and at < end and not text.startswith(word, at) and not _in_word(text[at]):
            at += 1
        begin, at = at, at + len(word)
        if at > end or not text.startswith(word, begin):
            return False
        if not (_parted(text, begin) and _parted(text, at)):
            return False
    return True


def _parted(text: str, at: int) -> bool:
    """Whether no word goes on from the character before `at` to the one there."""
    if at in (0, len(text)):
        return True
    return not (_spaced(text[at - 1]) and _spaced(text[at]))


def _in_word(char: str) -> bool:
    return char.isalnum() or char == "_" or unicodedata.category(char)[0] == "M"


def _spaced(char: str) -> bool:
    """Whether it is part of words that have spaces between them."""
    if not _in_word(char):
        return False
    return char.isascii() or bisect_right(_UNSPACED, ord(char)) % 2 == 0


_UNSPACED = (
    *(0x0E00, 0x0F00),  # Thai, Lao
    *(0x1000, 0x10A0),  # Myanmar
    *(0x1780, 0x1800),  # Khmer
    *(0x3005, 0x3008),  # ideographic iteration mark
    *(0x3040, 0x3100),  # Hiragana, Katakana
    *(0x31F0, 0x3200),  # small Katakana
    *(0x3400, 0x4DC0),  # Han
    *(0x4E00, 0xA000),
    *(0xF900, 0xFB00),
    *(0x20000, 0x40000),
)
"""Scripts without spaces between words, as begin and end of ranges of code points, ascending."""
