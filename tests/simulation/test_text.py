import numpy as np
import pytest

from simulation.text import compose, word
from simulation.vocabulary import COMMUNITIES, LANGUAGES, N_TOPICS, PHRASES


def _texts(
    n: int,
    *,
    language: str = "en",
    topic: int = 0,
    second_topic: int = -1,
    quality: float = 0.0,
    question: bool = False,
    toxic: bool = False,
    adult: bool = False,
) -> list[str]:
    return compose(
        np.full(n, LANGUAGES.index(language)),
        np.full(n, topic),
        np.full(n, second_topic),
        np.full(n, quality, np.float32),
        np.full(n, question),
        np.full(n, toxic),
        np.full(n, adult),
        np.random.default_rng(0),
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("topic", range(N_TOPICS))
def test_a_post_speaks_of_its_topic_in_its_language(language: str, topic: int) -> None:
    community = COMMUNITIES[topic]
    own = {w.lower() for w in (*community.words, *community.local_words.get(language, ()))}
    for text in _texts(20, language=language, topic=topic):
        assert any(w in text.lower() for w in own)
        assert "{" not in text


def test_traits_can_be_read_from_the_text() -> None:
    phrases = PHRASES["de"]
    plain = _texts(50, language="de")
    for trait, parts in (
        ({"toxic": True}, phrases.insults),
        ({"adult": True}, phrases.adult),
        ({"quality": 2.0}, phrases.praise),
        ({"quality": -2.0}, phrases.filler),
    ):
        marked = _texts(50, language="de", **trait)  # type: ignore[arg-type]
        assert all(any(part in text for part in parts) for text in marked)
        assert not any(any(part in text for part in parts) for text in plain)
    assert all("?" in text for text in _texts(50, question=True))


def test_some_posts_have_hashtags() -> None:
    tagged = [text for text in _texts(400) if "#" in text]
    assert 60 < len(tagged) < 140


def test_common_words_come_first() -> None:
    assert word("en", 0, 0.0) == "recipe"
    assert word("de", 0, 0.0) == "kochen"
    assert word("en", 0, 0.999) == "knife"
