"""Dense synthetic events for benchmarks: as many follows, posts and favourites as asked."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from cluster.events import Kind
from cluster.ids import Ids
from cluster.settings import DAY_MS

_BATCH = 50_000
_SHARE_AT_HOME = 0.8
FIRST_POST = 10**12 + 1


@dataclass(frozen=True)
class DenseWorld:
    """Sizes of a world in which every viewer has more candidates than are asked for."""

    users: int = 20_000
    follows: int = 200
    posts: int = 100_000
    favourites: int = 2_000_000
    seed: int = 0
    communities: int = 1
    """Users are divided among so many, and mostly keep to their own."""

    def batches(self, now_ms: int) -> Iterator[pa.RecordBatch]:
        """Events of the last day, by kind: follows, then posts, then favourites, by time."""
        rng = np.random.default_rng(self.seed)
        n = self.users * self.follows
        actors = np.repeat(self.user_ids(), self.follows)
        # Popularity falls with the rank of a user like a power, as on any social network.
        targets = 1 + (self.users * rng.random(n) ** 2).astype(np.int64)
        targets = self._at_home(targets, actors, rng)
        apart = actors != targets
        times_ms = np.full(int(apart.sum()), now_ms - DAY_MS)
        yield from sliced(Kind.FOLLOW, times_ms, actor_id=actors[apart], target_id=targets[apart])

        authors = self.authors()
        created_ms = now_ms - DAY_MS + np.sort(rng.integers(1, DAY_MS - 1000, self.posts))
        post_ids = np.arange(self.posts) + FIRST_POST
        yield from sliced(Kind.POST_CREATE, created_ms, post_id=post_ids, author_id=authors)

        drawn = self.drawn(self.favourites, authors, rng)
        posts = drawn["post_id"] - FIRST_POST
        age_ms = now_ms - created_ms[posts]
        favoured_ms = now_ms - (age_ms * rng.random(self.favourites)).astype(np.int64)
        order = np.argsort(favoured_ms)
        by_time = {name: ids[order] for name, ids in drawn.items()}
        yield from sliced(Kind.FAVOURITE, favoured_ms[order], **by_time)

    def authors(self) -> Ids:
        """Who wrote each post, in the order of the posts' ids."""
        rng = np.random.default_rng((self.seed, 1))
        return 1 + (self.users * rng.random(self.posts) ** 1.3).astype(np.int64)

    def drawn(self, n: int, authors: Ids, rng: np.random.Generator) -> dict[str, Ids]:
        """Who engages with which post in n engagements such as this world's, as columns of events;
        `authors` are those that `authors()` says."""
        posts = (self.posts * rng.random(n) ** 1.5).astype(np.int64)
        actors = 1 + (self.users * rng.random(n) ** 1.3).astype(np.int64)
        return {
            "actor_id": self._at_home(actors, authors[posts], rng),
            "post_id": posts + FIRST_POST,
            "author_id": authors[posts],
        }

    def _at_home(self, user_ids: Ids, others: Ids, rng: np.random.Generator) -> Ids:
        """Most of the users, each moved to the same place in the community of the other."""
        if self.communities == 1:
            return user_ids
        n = self.communities
        moved = np.minimum((user_ids - 1) // n * n + (others - 1) % n + 1, self.users)
        return np.where(rng.random(len(user_ids)) < _SHARE_AT_HOME, moved, user_ids)

    def user_ids(self) -> Ids:
        """All users."""
        return np.arange(1, self.users + 1)


def sliced(kind: Kind, times_ms: Ids, **columns: Ids) -> Iterator[pa.RecordBatch]:
    """Events of one kind from their columns, a batch at a time."""
    for start in range(0, len(times_ms), _BATCH):
        part = slice(start, start + _BATCH)
        kinds = np.full(len(times_ms[part]), kind, np.uint8)
        given = {name: values[part] for name, values in columns.items()}
        yield pa.RecordBatch.from_pydict({"kind": kinds, "time_ms": times_ms[part], **given})
