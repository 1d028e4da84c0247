"""The world: its people, posts and relations, and the ground truth about them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cluster.events import CORE
from cluster.ids import Ids
from simulation.behaviour import UTILITIES, components, probabilities
from simulation.follows import Edges, Encounters, initial_follows
from simulation.population import FIRST_USER_ID, Floats, draw_population
from simulation.posts import PostTable
from simulation.reactions import react
from simulation.recorder import Recorder
from simulation.shown import Feed, Seen


class World:
    """Everything that is true at one moment of a simulation.

    Users and posts are rows inside and ids outside. A world of the same size, start and
    seed is the same world.
    """

    def __init__(self, n_users: int, start_ms: int, rng: np.random.Generator) -> None:
        if n_users < 2:
            raise ValueError(f"n_users is {n_users}; a social world needs at least 2")
        self.start_ms = start_ms
        self.population = draw_population(n_users, start_ms, rng)
        self.posts = PostTable()
        self.follows = Edges(n_users)
        self.hidden = Edges(n_users)
        """(viewer, author): the viewer must not see the author, because of a block or mute."""
        self.seen = Seen(n_users)
        self.reposts: list[tuple[Ids, Ids, Ids]] = []
        """(users, posts, times_ms), as rows, of reposts in the order in which they were drawn."""
        self.list_owners: Ids = np.empty(0, np.int64)
        self.encounters = Encounters(self.population)
        self.initial_follows = initial_follows(self.encounters, start_ms, rng)
        """(sources, targets, times_ms), as rows, of the follows before `start_ms`."""
        self.follows.add(*self.initial_follows[:2])

    def users_of(self, user_ids: npt.ArrayLike) -> Ids:
        """Rows of user ids; raises `KeyError` naming an unknown one."""
        ids = np.asarray(user_ids, np.int64)
        rows = ids - FIRST_USER_ID
        unknown = (rows < 0) | (rows >= len(self.population))
        if unknown.any():
            raise KeyError(f"user {int(ids[unknown].flat[0])} is unknown to the world")
        return rows

    def probabilities(
        self, user_ids: npt.ArrayLike, post_ids: npt.ArrayLike, now_ms: int
    ) -> Floats:
        """(n, len(HEADS)): the true chance of each kind of reaction once a post is on screen.

        `user_ids` and `post_ids` are paired; one user may stand for all posts.
        """
        users, rows = np.broadcast_arrays(self.users_of(user_ids), self.posts.rows_of(post_ids))
        posts = self.posts.rows[rows.ravel()]
        found = components(self.population, self.follows, users.ravel(), posts, now_ms)
        return probabilities(found, posts)

    def utility(
        self,
        user_ids: npt.ArrayLike,
        post_ids: npt.ArrayLike,
        now_ms: int,
        utilities: Floats = UTILITIES,
    ) -> Floats:
        """(n,): what seeing each post is worth to its user, in favourites.

        The expectation of the reactions' utilities; `utilities` (one per head) replaces them.
        """
        return self.probabilities(user_ids, post_ids, now_ms) @ utilities

    def oracle(self, user_id: int, pool_ids: npt.ArrayLike, now_ms: int, k: int) -> Ids:
        """The ids of the `k` best posts of the pool for a user, best first."""
        pool = np.unique(np.asarray(pool_ids, np.int64))
        best = np.argsort(-self.utility(user_id, pool, now_ms), kind="stable")
        chosen: Ids = pool[best[:k]]
        return chosen

    def regret(
        self,
        user_id: int,
        shown_ids: Sequence[int] | Ids,
        pool_ids: Sequence[int] | Ids,
        now_ms: int,
    ) -> float:
        """Mean utility of the best posts of the pool less that of the posts shown.

        As many are taken from the pool as were shown; 0 if nothing was. Not below 0 where
        what was shown came, without repetition, from the pool.
        """
        if not len(shown_ids):
            return 0.0
        best = self.oracle(user_id, pool_ids, now_ms, len(shown_ids))
        achievable = self.utility(user_id, best, now_ms).mean()
        return float(achievable - self.utility(user_id, shown_ids, now_ms).mean())

    def react(
        self,
        user_id: int,
        post_ids: Sequence[int] | Ids,
        now_ms: int,
        request_id: str,
        rng: np.random.Generator,
        *,
        scroll: bool = True,
    ) -> pa.RecordBatch:
        """What a user does with a timeline, given from the top: impressions and engagements.

        The events are in time order from `now_ms` on, and reach past it by as long as
        people take. The world changes with them: new replies and quotes are posts of it,
        follows and blocks hold. With `scroll` the user stops somewhere on the way down;
        otherwise all posts get on screen. Raises `KeyError` for an unknown user or post.
        """
        rows = self.posts.rows_of(post_ids)
        feed = Feed(
            viewers=self.users_of([user_id]),
            starts_ms=np.array([now_ms]),
            request_ids=pa.array([request_id]),
            sessions=np.zeros(len(rows), np.int64),
            posts=rows,
            positions=np.arange(len(rows)),
        )
        recorder = Recorder()
        react(self, feed, recorder, rng, scroll=scroll)
        return recorder.take() or _nothing()


def _nothing() -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([], schema=CORE)
