"""The languages of posts: one key for one language, in every shard."""

import numpy as np
import pytest

from actors.post_languages import LanguageKeys, language_key
from actors.questions import AskPosts
from actors.stores.words import Words
from cluster.events import Kind
from tests.worlds import NOW_MS, USERS, Clock, apply, states_of


@pytest.mark.parametrize(
    ("code", "same"),
    [("en", "en"), ("en-GB", "en"), ("EN", "en"), ("pt-BR", "pt"), ("gsw", "gsw"), ("", "")],
)
def test_a_language_is_its_primary_tag(code: str, same: str) -> None:
    assert language_key(code) == language_key(same)
    assert (language_key(code) == 0) == (code == "")
    assert language_key(code) < 2**56


def test_languages_have_keys_of_their_own() -> None:
    codes = ("de", "en", "fr", "gsw", "d", "ed")
    assert len({language_key(code) for code in codes}) == len(codes)


def test_keys_follow_words_that_come_later() -> None:
    words = Words()
    keys = LanguageKeys(words)
    none = np.zeros(2, np.int16)
    assert keys.of(none).tolist() == [0, 0]
    codes = np.array([words.code("fr"), 0, words.code("de-AT")], np.int16)
    assert keys.of(codes).tolist() == [language_key("fr"), 0, language_key("de")]
    later = np.array([words.code("en")], np.int16)
    assert keys.of(later).tolist() == [language_key("en")]
    assert keys.of(codes)[0] == language_key("fr")


def test_posts_are_told_with_their_languages_whatever_came_first_in_their_shard() -> None:
    clock = Clock()
    given = {10: "de", 11: "en-GB", 12: None, 13: "de"}
    events = [
        clock.post(post_id, USERS[k], **({"language": code} if code else {}))
        for k, (post_id, code) in enumerate(given.items())
    ]
    asked = AskPosts(np.array([*given, 99]), "", NOW_MS)
    for n_shards in (1, 4):
        states = states_of(events, n_shards)
        found: dict[int, int] = {}
        for state in states:
            told = asked.answer(state)
            here = told.created_ms > 0
            posts = told.post_ids[here].tolist()
            found |= dict(zip(posts, told.languages[here].tolist(), strict=True))
            assert (told.languages[~here] == 0).all()
        assert found == {post: language_key(code or "") for post, code in given.items()}


def test_an_edit_may_change_the_language() -> None:
    clock = Clock()
    states = states_of([clock.post(10, USERS[0], language="de")])
    edit = clock.event(Kind.POST_EDIT, post_id=10, author_id=USERS[0], text="", language="fr")
    apply(states, [edit], offset=2)
    found = AskPosts(np.array([10]), "", NOW_MS).answer(states[0])
    assert found.languages.tolist() == [language_key("fr")]
