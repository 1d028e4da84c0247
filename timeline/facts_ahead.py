"""Facts ahead: what is known of posts, asked beside what sources still ask.

Facts are needed of every candidate in the end. While one source takes another step, those of
what the others found travel in the same wave, so that mostly nothing is left to be fetched
afterwards. What was not foreseen, or not answered, is fetched then: see `timeline.hydration`.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt

from actors.features.reputation import TWEEPCRED
from actors.posts import FoundPosts
from actors.questions import AskGone, AskPosts
from actors.router import shards_of
from actors.state import Failed, Question
from actors.stores.columns import Array
from actors.stores.id_map import IdMap
from cluster.ids import Ids
from timeline.candidates import N_POST_FEATURES, Candidates

Mask = npt.NDArray[np.bool_]

_FACTS = tuple(
    field.name for field in fields(FoundPosts) if field.name not in ("features", "ranks")
)
_REPOSTED_AUTHOR = 2
"""The column of `linked_author_ids`."""


class FactsAhead:
    """Posts whose facts one request will want, and what shards said of them."""

    def __init__(self, language: str, now_ms: int, versions: Mapping[str, str], n_shards: int):
        self._about = (language, now_ms, versions.get(TWEEPCRED, ""))
        self._posts, self._reposted = _Wanted(n_shards), _Wanted(n_shards)
        self.held_back: set[str] = set()
        """Sources that will yet foresee what they find: facts wait, to be asked all at once."""
        self._parts: list[FoundPosts] = []
        self._rows = np.empty(0, np.int64)
        """By number of a post: its row among all parts; -1 while nothing is known."""
        self._gone = np.empty(0, np.int8)
        """By number of a post that is reposted: whether it is gone; -1 while nobody said."""

    def want(self, post_ids: Ids, author_ids: Ids) -> None:
        """Note posts (n,) that may become candidates."""
        self._posts.add(post_ids, author_ids)

    def note(self, found: Candidates) -> None:
        """Note what a source found; of what it held the facts of nobody need be asked.

        Of a version that an edit replaced, facts are those of the newest, which it did not hold.
        """
        held = (found.created_ms > 0) & (found.newest_ids == 0)
        n_held = int(held.sum())
        if n_held < len(found):
            self.want(found.post_ids[~held], found.author_ids[~held])
        if not n_held:
            return
        rows = slice(None) if n_held == len(found) else held
        columns = {name: getattr(found, name)[rows] for name in _FACTS}
        features, post_ids = found.features[rows, :N_POST_FEATURES], columns["post_ids"]
        self._posts.add(post_ids, columns["author_ids"])
        numbers = self._posts.places_of(post_ids, columns["author_ids"])
        self._learn(numbers, FoundPosts(**columns, features=features, ranks=found.scores[rows]))

    def want_reposted(self, post_ids: Ids, author_ids: Ids) -> None:
        """Note posts (n,) that candidates repost."""
        self._reposted.add(post_ids, author_ids)

    def questions(self) -> dict[int, list[Question]]:
        """What was noted since the last time, by shard; `learn` wants the answers."""
        if self.held_back:
            return {}
        self._rows = _longer(self._rows, len(self._posts))
        self._gone = _longer(self._gone, len(self._reposted))
        posts, reposted = self._posts.asked(self._rows < 0), self._reposted.asked(self._gone < 0)
        wave: dict[int, list[Question]] = {}
        for shard, post_ids, _ in posts:
            wave.setdefault(shard, []).append(AskPosts(post_ids, *self._about))
        for shard, post_ids, author_ids in reposted:
            wave.setdefault(shard, []).append(AskGone(post_ids, author_ids))
        return wave

    def learn(self, questions: Mapping[int, list[Question]], answers: Mapping[int, Any]) -> None:
        """Take in the answers to `questions`, by shard; failed ones are as if never asked."""
        for shard, given in answers.items():
            for question, answer in zip(questions[shard], given, strict=True):
                if isinstance(answer, Failed):
                    continue
                if isinstance(question, AskGone):
                    self._gone[self._reposted.numbers_of(question.post_ids)] = answer
                elif isinstance(question, AskPosts):
                    self._learn(self._posts.numbers_of(question.post_ids), answer)

    def fill(self, columns: dict[str, Array], unknown: Mask) -> Mask:
        """Write what is known of `unknown` candidates (n,); returns of which (n,) that is."""
        self._rows = _longer(self._rows, len(self._posts))
        rows = np.full(len(unknown), -1, np.int64)
        if self._parts:
            places = self._posts.places_of(columns["post_ids"], columns["author_ids"])
            rows = np.where(unknown & (places >= 0), self._rows[places], -1)
        known: Mask = rows >= 0
        if known.any():
            found = joined(self._parts)
            write_facts(columns, np.flatnonzero(known), found, rows[known])
        return known

    def fill_gone(self, columns: dict[str, Array], reposts: Mask) -> Mask:
        """Count `reposts` (n,) as deleted whose original is gone; returns of which it is known."""
        self._gone = _longer(self._gone, len(self._reposted))
        if not len(self._gone):
            return np.zeros(len(reposts), np.bool_)
        authors = columns["linked_author_ids"][:, _REPOSTED_AUTHOR]
        places = self._reposted.places_of(columns["repost_of_ids"], authors)
        gone = np.where(reposts & (places >= 0), self._gone[places], np.int8(-1))
        columns["deleted"] |= gone > 0
        known: Mask = gone >= 0
        return known

    def _learn(self, numbers: Ids, found: FoundPosts) -> None:
        self._rows = _longer(self._rows, len(self._posts))
        begin = sum(len(part.post_ids) for part in self._parts)
        kept = np.flatnonzero(numbers >= 0)
        self._rows[numbers[kept]] = begin + kept
        self._parts.append(found)
        reposts = np.flatnonzero(found.repost_of_ids)
        authors = found.linked_author_ids[reposts, _REPOSTED_AUTHOR]
        self.want_reposted(found.repost_of_ids[reposts], authors)


class _Wanted:
    """Different posts in the order in which they were wanted, each with a supposed author."""

    def __init__(self, n_shards: int) -> None:
        self._n_shards = n_shards
        self._numbers = IdMap()
        self._author_ids = np.empty(0, np.int64)
        self._n_asked = 0

    def __len__(self) -> int:
        return len(self._author_ids)

    def add(self, post_ids: Ids, author_ids: Ids) -> None:
        if not len(post_ids):
            return
        real = (post_ids > 0) & (author_ids > 0)
        if not real.all():
            post_ids, author_ids = post_ids[real], author_ids[real]
        before = len(self)
        numbers = self._numbers.get_or_insert(post_ids)
        longer = np.empty(len(self._numbers), np.int64)
        # Of several values for one place the last one written stays: that of the first copy.
        longer[numbers[::-1]] = author_ids[::-1]
        longer[:before] = self._author_ids
        self._author_ids = longer

    def asked(self, unknown: Mask) -> list[tuple[int, Ids, Ids]]:
        """(shard, posts, authors) of what was added since the last call and is `unknown`."""
        begin, self._n_asked = self._n_asked, len(self)
        if begin == len(self):
            return []
        chosen = begin + np.flatnonzero(unknown[begin:])
        post_ids, author_ids = self._numbers.keys[chosen], self._author_ids[chosen]
        homes = shards_of(author_ids, self._n_shards)
        return [
            (shard, post_ids[homes == shard], author_ids[homes == shard])
            for shard in np.unique(homes).tolist()
        ]

    def numbers_of(self, post_ids: Ids) -> Ids:
        return self._numbers.get(post_ids).astype(np.int64)

    def places_of(self, post_ids: Ids, author_ids: Ids) -> Ids:
        """The number of each post, or -1 where it is unknown or was somebody else's."""
        numbers = self._numbers.get(post_ids).astype(np.int64)
        same = numbers >= 0
        same[same] = self._author_ids[numbers[same]] == author_ids[same]
        return np.where(same, numbers, -1)


def write_facts(columns: dict[str, Array], rows: Ids, found: FoundPosts, at: Ids | slice) -> None:
    """Write facts `at` places of what was found into candidates' columns.

    A post that is somebody else's than its source was told counts as deleted, and one that an
    edit replaced becomes its newest version.
    """
    # Whoever an event named as the author, the filters must look at who it is.
    others = found.author_ids[at] != columns["author_ids"][rows]
    others &= found.created_ms[at] > 0
    for name, values in vars(found).items():
        if name == "features":
            columns["features"][rows, : values.shape[1]] = values[at]
        elif name not in ("author_ids", "ranks"):
            columns[name][rows] = values[at]
    columns["deleted"][rows] |= others


def joined(parts: list[FoundPosts]) -> FoundPosts:
    """What several shards found, one after the other."""
    if len(parts) == 1:
        return parts[0]
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return FoundPosts(*(np.concatenate(column) for column in columns))


def _longer(values: Array, n: int) -> Array:
    if len(values) == n:
        return values
    return np.concatenate([values, np.full(n - len(values), -1, values.dtype)])
