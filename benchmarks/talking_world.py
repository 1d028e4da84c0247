"""A dense world in which posts have texts and link to others, and users have their dislikes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from actors.known_labels import KNOWN_LABELS
from benchmarks.worlds import FIRST_POST, DenseWorld, sliced
from cluster.events import Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS

_N_WORDS, _WORDS_A_POST, _MUTED_WORDS = 5_000, 15, 5
_N_TOPICS = 50


@dataclass(frozen=True)
class TalkingWorld(DenseWorld):
    """A quarter of the posts are replies, an eighth quotes or reposts, of earlier ones.

    One post in thirty has a label, and one author in a hundred; every user muted some words and
    a user, and blocked another.
    """

    def batches(self, now_ms: int) -> Iterator[pa.RecordBatch]:
        """As of a dense world; then labels, mutes and blocks, half a day ago."""
        rng = np.random.default_rng(self.seed + 1)
        words = np.array([f"w{number}" for number in range(_N_WORDS)])
        authors, roots = np.empty(0, np.int64), np.empty(0, np.int64)
        for batch in super().batches(now_ms):
            if batch.column("kind")[0].as_py() != Kind.POST_CREATE:
                yield batch
                continue
            at = len(authors) + np.arange(batch.num_rows)
            authors = np.concatenate([authors, batch.column("author_id").to_numpy()])
            linked = (at * rng.random(len(at))).astype(np.int64)
            replies = (at % 4 == 1) & (at > 1)
            roots = np.concatenate([roots, at])
            for reply, to in zip(at[replies].tolist(), linked[replies].tolist(), strict=True):
                roots[reply] = roots[to]
            columns: dict[str, Any] = {
                **dict(zip(batch.schema.names, batch.columns, strict=True)),
                "text": [" ".join(words[rng.integers(0, _N_WORDS, _WORDS_A_POST)]) for _ in at],
                "topics": [[topic] for topic in (1 + at % _N_TOPICS).tolist()],
                "root_id": pa.array(FIRST_POST + roots[at], mask=~replies),
                "root_author_id": pa.array(authors[roots[at]], mask=~replies),
            }
            chosen = {"reply_to": replies, "quote_of": at % 16 == 2, "repost_of": at % 16 == 3}
            for link, has in chosen.items():
                columns[f"{link}_id"] = pa.array(FIRST_POST + linked, mask=~has)
                columns[f"{link}_author_id"] = pa.array(authors[linked], mask=~has)
            yield pa.RecordBatch.from_pydict(columns)
        yield from self._choices(now_ms - DAY_MS // 2, words, authors, rng)

    def _choices(
        self, at_ms: int, words: npt.NDArray[np.str_], authors: Ids, rng: np.random.Generator
    ) -> Iterator[pa.RecordBatch]:
        def told(kind: Kind, n: int, **columns: Any) -> Iterator[pa.RecordBatch]:
            return sliced(kind, np.full(n, at_ms), **columns)

        labels, users = np.array(KNOWN_LABELS), self.user_ids()
        posts = rng.choice(self.posts, self.posts // 30, replace=False)
        of_posts = rng.choice(labels, len(posts))
        post_ids, wrote = FIRST_POST + posts, authors[posts]
        kind, n = Kind.SAFETY_LABEL, len(posts)
        yield from told(kind, n, post_id=post_ids, author_id=wrote, label=of_posts)
        some = rng.choice(users, len(users) // 100, replace=False)
        of_authors = rng.choice(labels, len(some))
        yield from told(Kind.SAFETY_LABEL, len(some), author_id=some, label=of_authors)
        who = np.repeat(users, _MUTED_WORDS)
        keywords = rng.choice(words, len(who))
        yield from told(Kind.KEYWORD_MUTE, len(who), actor_id=who, keyword=keywords)
        for kind in (Kind.MUTE, Kind.BLOCK):
            others = rng.permutation(users)
            who, whom = users[others != users], others[others != users]
            yield from told(kind, len(who), actor_id=who, target_id=whom)
