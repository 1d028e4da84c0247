import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.muted_words import holding


@pytest.mark.parametrize(
    ("keyword", "text", "held"),
    [
        ("cat", "a cat sat", True),
        ("cat", "cat", True),
        ("cat", "cats and concatenation", False),
        ("cat", "tomcat", False),
        ("cat", "cat_food, cat2", False),
        ("cat", "(cat)", True),
        ("Cat", "a CAT sat", True),
        ("cat", "#cat", True),
        ("#cat", "#Cat!", True),
        ("#cat", "a cat sat", False),
        ("cat", "#cats", False),
        ("cat", "@cat says", True),
        ("c++", "I like C++", True),
        ("big cat", "a big   cat", True),
        ("big cat", "so big, #cat", True),
        ("big #cat", "so big, #cat", True),
        ("big cat", "a big black cat", False),
        ("big cat", "a cat, big", False),
        ("big cat", "bigcat", False),
        ("big cat", "big cats", False),
        ("big cat", "big cats, big cat", True),
        ("straße", "STRASSE", True),
        ("café", "cafe\u0301 au lait", True),
        ("cafe", "cafe\u0301 au lait", False),
        ("ｃａｔ", "cat", True),
        ("é", "caféé é", True),
        ("क", "की", False),
        ("की", "की बात", True),
        ("猫", "黒猫が好き", True),
        ("cat", "猫cat猫", True),
        ("แมว", "ฉันรักแมวมาก", True),
        ("東京 タワー", "東京タワーへ", True),
        ("🎉", "party🎉🎉", True),
        ("", "anything", False),
        ("  ", "anything", False),
        ("cat", "", False),
        ("cat", None, False),
    ],
)
def test_holding(keyword: str, text: str | None, held: bool) -> None:
    assert holding([text], [keyword]).tolist() == [held]


def test_each_text_by_itself_and_any_keyword() -> None:
    texts = ["the big", "cat sat", None, "", "big cat", "a dog"]
    assert holding(texts, ["big cat"]).tolist() == [False] * 4 + [True, False]
    assert holding(texts, ["dog", "the"]).tolist() == [True] + [False] * 4 + [True]
    assert holding(texts, []).tolist() == [False] * 6
    assert holding([], ["cat"]).tolist() == []


_WORD = st.text("ab", min_size=1, max_size=2)
_TEXT = st.lists(st.sampled_from(["a", "b", "ab", "A", "#a", "#ab", ",", " ", "  ", "#"])).map(
    "".join
)
_KEYWORD = st.lists(st.tuples(st.sampled_from(["", "#"]), _WORD).map("".join), max_size=3)


def _tokens_hold(text: str, words: list[str]) -> bool:
    """The obvious way: a run of tokens, each the word itself, or the hashtag of it."""
    tokens = re.findall(r"#?\w+", text.lower())
    runs = (tokens[k : k + len(words)] for k in range(len(tokens) - len(words) + 1))
    return bool(words) and any(
        all(token in (word, f"#{word}") for token, word in zip(run, words, strict=True))
        for run in runs
    )


@given(st.lists(_TEXT, max_size=5), st.lists(_KEYWORD, max_size=3))
def test_as_tokens_one_by_one(texts: list[str], keywords: list[list[str]]) -> None:
    wanted = [any(_tokens_hold(text, words) for words in keywords) for text in texts]
    assert holding(texts, [" ".join(words) for words in keywords]).tolist() == wanted
