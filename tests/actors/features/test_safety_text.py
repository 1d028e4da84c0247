import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.features.safety_text import MAX_CHARACTERS, MENTION, SEPARATOR, URL, normal_forms


def form(text: str) -> str:
    return normal_forms([text]).strip()


@pytest.mark.parametrize(
    "disguised",
    [
        "You Are NASTY",
        "you are n a s t y",
        "you are n.a.s.t.y",
        "you are n - a - s - t - y",
        "you are na\u200bs\u2060ty",
        "you are n\u00ad\u200dasty",
        "you are n4sty",
        "you are na5ty",
        "you are n@$ty",
        "you are ｎａｓｔｙ",
        "you are 𝓷𝓪𝓼𝓽𝔂",
        "you are ⓝⓐⓢⓣⓨ",
        "you are 🅽🅰🆂🆃🆈",
        "you are nаѕtу",  # Cyrillic
        "you are nαsτy",  # Greek
        "you are n\u0336a\u0336s\u0336t\u0336y\u0336",
        "you are ñåśťÿ",
        "  you   are\n\tnasty!!!",
        "“you are nasty”",
        "RT @somebody: you are nasty",
        "&quot;you are nasty&quot;",
    ],
)
def test_disguises_have_one_form(disguised: str) -> None:
    assert form(disguised) == form("you are nasty")


def test_repeats_give_both_spellings() -> None:
    assert form("naaaaasty") == "naasty nasty"
    assert form("grrrassss") == "grrass gras"
    assert form("good balloon") == "good balloon"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10,000 in 2024", "10 000 in 2024"),
        ("don't, it’s", "dont its"),
        ("see https://example.org/a?b=1 @You #Fun", f"see {URL} {MENTION} fun"),
        ("me@home", "meahome"),
        ("so nice😀😀now", "so nice 😀 😀 now"),
        ("st*pid", "st*pid"),
        ("a b", "a b"),
        ("", ""),
    ],
)
def test_the_rest_of_the_form(text: str, expected: str) -> None:
    assert form(text) == expected


def test_words_of_another_alphabet_stay_apart_and_have_one_form() -> None:
    words = ("привет", "мир", "книга", "дом")
    assert len({form(word) for word in words}) == len(words)
    assert form("Мой ДОМ!") == form("мой дом")


def test_only_the_beginning_of_a_long_text_is_read() -> None:
    assert form("ab " * MAX_CHARACTERS) == form(("ab " * MAX_CHARACTERS)[:MAX_CHARACTERS])


@given(st.lists(st.text(max_size=40), max_size=6))
def test_a_text_has_one_form_whatever_stands_beside_it(texts: list[str]) -> None:
    together = normal_forms(texts).split(SEPARATOR) if texts else []
    assert together == [normal_forms([text]) for text in texts]


@given(
    st.lists(
        st.text(alphabet="aA1 @&#;r.t\x1e\u0301“RTx!$é/:h", max_size=60), min_size=1, max_size=4
    )
)
def test_batches_stay_apart_with_awkward_signs(texts: list[str]) -> None:
    assert normal_forms(texts).split(SEPARATOR) == [normal_forms([text]) for text in texts]
