"""What posts say: sentences from the words of their topics, in their language."""

import numpy as np
import numpy.typing as npt

from cluster.ids import Ids
from simulation.vocabulary import COMMUNITIES, LANGUAGES, PHRASES

HASHTAG_SHARE = 0.25
GOOD, POOR = 0.7, -0.7
"""Qualities above and below which a post closes accordingly."""


def compose(
    languages: Ids,
    topics: Ids,
    second_topics: Ids,
    qualities: npt.NDArray[np.float32],
    are_questions: npt.NDArray[np.bool_],
    are_toxic: npt.NDArray[np.bool_],
    are_adult: npt.NDArray[np.bool_],
    rng: np.random.Generator,
) -> list[str]:
    """One text per post. `second_topics` is -1 where a post has one topic only."""
    draws = rng.random((len(topics), 8)).tolist()
    rows = zip(
        languages.tolist(),
        topics.tolist(),
        second_topics.tolist(),
        qualities.tolist(),
        are_questions.tolist(),
        are_toxic.tolist(),
        are_adult.tolist(),
        draws,
        strict=True,
    )
    return [_sentence(*row) for row in rows]


def word(language: str, topic: int, draw: float) -> str:
    """A word of the topic, by a draw from 0 … 1: a local one first, and common ones often."""
    community = COMMUNITIES[topic]
    words = community.local_words.get(language, ()) + community.words
    return words[int(len(words) * draw**2)]


def _sentence(
    language_row: int,
    topic: int,
    second_topic: int,
    quality: float,
    is_question: bool,
    is_toxic: bool,
    is_adult: bool,
    draws: list[float],
) -> str:
    language = LANGUAGES[language_row]
    phrases = PHRASES[language]
    first = word(language, topic, draws[0])
    second = word(language, second_topic if second_topic >= 0 else topic, draws[1])
    if second == first:
        second = COMMUNITIES[topic].words[-1]
    templates = phrases.questions if is_question else phrases.statements
    parts = [_pick(templates, draws[2]).format(a=first, b=second)]
    if is_toxic:
        parts.append(_pick(phrases.insults, draws[3]))
    if is_adult:
        parts.append(_pick(phrases.adult, draws[4]))
    if quality > GOOD:
        parts.append(_pick(phrases.praise, draws[5]))
    elif quality < POOR:
        parts.append(_pick(phrases.filler, draws[5]))
    if draws[6] < HASHTAG_SHARE:
        parts.append(f"#{COMMUNITIES[topic].name if draws[7] < 0.5 else first}")
    text = " ".join(parts)
    return text[0].upper() + text[1:]


def _pick(options: tuple[str, ...], draw: float) -> str:
    return options[int(len(options) * draw)]
