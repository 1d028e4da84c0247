"""The kind `vectors`: what posts are about, by who likes them, and what is near to what.

A post lives with its author's shard, and so do its embeddings. A favourite moves them when it
is applied. Trained artifacts come in pinned versions, and two may be held at once: `prepare`
accumulates the posts' embeddings under a new version from the favourites of the last two
days, then both follow what is applied, until `activate` and `drop`.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from actors.features.pair_scores import sparse_matrix_scores
from actors.rows import Engagements, Rows
from actors.stores.cluster_search import (
    ClusterSearch,
    FoundByCommunity,
    heads_of,
    search_communities,
)
from actors.stores.cluster_search_many import ManySearches, search_for_many
from actors.stores.columns import Array
from actors.stores.hnsw import HnswBase, Neighbours
from actors.stores.nearest import NearestIndex
from actors.stores.post_embeddings import (
    DELETED,
    HOUR_MS,
    EmbeddingLimits,
    PostEmbeddings,
)
from actors.stores.post_vectors import PostVectors
from actors.stores.ranked_lists import RankedLists
from actors.stores.recent_engagements import Changes, RecentEngagements
from actors.stores.sparse_embeddings import Communities, Scores, SparseEmbeddings
from actors.vector_models import DenseVectors, Float32s, VectorModels
from cluster.events import UNDONE_BY, Kind
from cluster.ids import Ids
from cluster.settings import VectorSettings

ENGAGED = (Kind.FAVOURITE, Kind.REPOST, Kind.REPLY, Kind.QUOTE)
"""Engagements whose users' vectors make a fresh post's; only favourites make its communities."""

VECTOR_TABLES = (*("recent_engagements", "embedded_posts", "embedding_entries", "post_vectors"),)
"""What `VectorsKind.columns` gives: first what no version of the models has part in."""
_PREPARED_AT_ONCE = 2_000
_LOOKED_AT_ONCE = 100_000
_NO_MODELS = VectorModels("none+none")
_NO_IDS = np.empty(0, np.int64)


@dataclass(frozen=True)
class VectorLimits:
    """How far back the kind looks and how much it holds."""

    embeddings: EmbeddingLimits = field(default_factory=EmbeddingLimits)
    recent_ms: int = 48 * HOUR_MS
    """Engagements kept for a version to come, and for undos of them."""
    max_recent: int = 20_000_000

    @classmethod
    def of(cls, chosen: VectorSettings) -> "VectorLimits":
        """As the settings say."""
        embeddings = EmbeddingLimits(
            half_life_ms=chosen.half_life_ms,
            max_age_ms=chosen.max_age_ms,
            communities_per_post=chosen.communities_per_post,
            posts_per_community=chosen.posts_per_community,
            max_posts=chosen.max_posts,
            max_entries=chosen.max_entries,
        )
        return cls(embeddings, chosen.recent_ms, chosen.max_recent)


class VectorsKind:
    """The embeddings of the posts of one shard's users, under one or two versions of models."""

    def __init__(
        self, limits: VectorLimits | None = None, models: VectorModels | None = None
    ) -> None:
        self._limits = limits or VectorLimits()
        first = _Held(models or _NO_MODELS, self._limits.embeddings)
        self._recent = RecentEngagements(self._limits.recent_ms, self._limits.max_recent)
        self._held = {first.models.version: first}
        self._prepared: dict[str, _Prepared] = {}
        self._expiring = False
        self.version = first.models.version
        """The version that serves."""

    @property
    def versions(self) -> list[str]:
        """The versions held."""
        return list(self._held)

    @property
    def memory_bytes(self) -> int:
        """Memory held by all stores of this kind; mapped artifacts are not counted."""
        held = sum(held.memory_bytes for held in self._held.values())
        return held + self._recent.memory_bytes

    def sizes(self) -> dict[str, int]:
        """How much of what the serving version holds."""
        serving = self._held[self.version]
        return {
            "embedded_posts": len(serving.embeddings),
            "embedding_entries": serving.embeddings.n_entries,
            "vectors": len(serving.posts),
            "vectors_one_by_one": serving.posts.n_fresh,
        }

    def apply(self, rows: Rows, engagements: Engagements) -> None:
        """Apply admitted rows."""
        created = rows.of(Kind.POST_CREATE, Kind.POST_EDIT)
        created = created.where(created.concern("author_id"))
        gone = rows.of(Kind.POST_DELETE)
        gone = gone.where(gone.concern("author_id"))
        theirs = engagements.where(
            engagements.of_author
            & (_ENGAGED_AS[engagements.kinds] > 0)
            & (engagements.actor_ids != engagements.author_ids)
        )
        kinds = _ENGAGED_AS[theirs.kinds]
        changes = self._recent.write(
            *(theirs.actor_ids, theirs.post_ids, theirs.author_ids),
            *(kinds, theirs.times_ms, theirs.kinds != kinds),
        )
        if len(changes):
            for prepared in self._prepared.values():
                # In their order: what ceases must not come before what began.
                prepared.waiting.append(changes)
        for held in [*self._held.values(), *(one.held for one in self._prepared.values())]:
            if len(created):
                held.create(created["post_id"], created["author_id"], created["time_ms"])
            if len(gone):
                held.delete(gone["post_id"], gone["author_id"], gone["time_ms"])
            if len(changes) and held.models.version in self._held:
                held.change(changes)

    def expire(self, now_ms: int) -> None:
        """Forget what no window reaches any more, all at once."""
        for _ in self.expiring(now_ms):
            pass

    def expiring(self, now_ms: int) -> Iterator[None]:
        """`expire` in slices, between which the thread may apply what else came.

        Builds beside and swaps, so that queries may go on; not while something is applied.
        Does nothing where another is under way.
        """
        if self._expiring:
            return
        self._expiring = True
        try:
            self._recent = yield from self._recent.expiring(now_ms)
            for held in list(self._held.values()):
                yield from held.expiring(now_ms)
        finally:
            self._expiring = False

    def prepare(self, models: VectorModels, now_ms: int) -> None:
        """Hold a new version beside the others, made from the engagements in force.

        Queries may go on meanwhile; called by the thread that applies. A version that is held
        is left as it is.
        """
        for _ in self.preparing(models, now_ms):
            pass

    def preparing(self, models: VectorModels, now_ms: int) -> Iterator[None]:
        """`prepare` in slices, between which the thread may apply what else came."""
        if models.version in self._held:
            return
        if models.version not in self._prepared:
            held = _Held(models, self._limits.embeddings)
            posts = self._held[self.version].embeddings.columns()["posts"]
            posts["favourites"][:] = 0
            held.embeddings.restore(posts)
            held.show_trained(posts["post_ids"])
            recent = self._recent.in_force(now_ms - self._limits.recent_ms)
            parts = [slice(i, i + _PREPARED_AT_ONCE) for i in _steps(len(recent))]
            self._prepared[models.version] = _Prepared(held, deque(map(recent.take, parts)))
        # Whoever takes the last slice, of several that ask for one version, brings it in.
        while models.version in self._prepared:
            prepared = self._prepared[models.version]
            if prepared.waiting:
                prepared.held.change(prepared.waiting.popleft())
            else:
                del self._prepared[models.version]
                self._held = {**self._held, models.version: prepared.held}
            yield

    def activate(self, version: str) -> None:
        """Serve a version that is held; raises `LookupError` for another."""
        self._of(version)
        self.version = version

    def drop(self, version: str) -> None:
        """Forget a version; raises `ValueError` for the one that serves."""
        if version == self.version:
            raise ValueError(f"version {version} serves, and cannot be dropped")
        self._held = {name: held for name, held in self._held.items() if name != version}

    def models(self, version: str) -> VectorModels:
        """The artifacts of a version; raises `LookupError` where it is not held."""
        return self._of(version).models

    def interests(self, version: str, user_id: int) -> tuple[Communities, Scores]:
        """A user's communities and their scores, best first; every shard knows every user."""
        return self._of(version).models.interested_in.of(user_id)

    def similar(
        self,
        version: str,
        communities: Communities,
        weights: Scores,
        search: ClusterSearch,
        now_ms: int,
        floors: npt.NDArray[np.float64] | None = None,
    ) -> FoundByCommunity:
        """Posts of this shard with communities like a source's; see `search_communities`."""
        index = self._of(version).embeddings.index(now_ms)
        return search_communities(index, communities, weights, search, now_ms, floors)

    def similar_to_many(
        self, version: str, sources: SparseEmbeddings, searches: ManySearches, now_ms: int
    ) -> RankedLists:
        """Posts of this shard with communities like each source's; see `search_for_many`."""
        index = self._of(version).embeddings.index(now_ms)
        return search_for_many(index, sources, searches, now_ms)

    def community_heads(
        self, version: str, communities: Communities, limit: int, now_ms: int
    ) -> list[npt.NDArray[np.float64]]:
        """The best scores of communities here, of which `floors_of` makes floors."""
        return heads_of(self._of(version).embeddings.index(now_ms), communities, limit)

    def embeddings(self, version: str, post_ids: Ids, now_ms: int) -> SparseEmbeddings:
        """Sparse embeddings of posts of this shard, row by row as asked."""
        return self._of(version).embeddings.of(post_ids, now_ms)

    def pair_scores(
        self, version: str, sources: SparseEmbeddings, post_ids: Ids, now_ms: int
    ) -> Float32s:
        """Scores of every source with every post: (sources, posts, len(PAIR_SCORES))."""
        return sparse_matrix_scores(sources, self.embeddings(version, post_ids, now_ms))

    def vectors(
        self, version: str, post_ids: Ids, now_ms: int
    ) -> tuple[Float32s, npt.NDArray[np.bool_]]:
        """Dense unit vectors of posts (n, D), zero where there is none, and which have one.

        As with sparse embeddings, only posts whose creation is known and not too old do.
        """
        held = self._of(version)
        vectors, known = held.posts.vectors(post_ids)
        known &= held.embeddings.living(post_ids, now_ms)
        vectors[~known] = 0.0
        return vectors, known

    def near(
        self,
        version: str,
        vector: Float32s,
        limit: int,
        now_ms: int,
        max_age_ms: int,
        min_age_ms: int = 0,
        excluded_post_id: int = 0,
    ) -> Neighbours:
        """Posts of this shard whose dense vectors are nearest to one (D,), by cosine.

        Trained posts have their trained vectors, fresh ones the mean of their engagers'.
        Raises `ValueError` for a vector that is none.
        """
        held = self._of(version)
        return held.posts.search(
            vector,
            limit,
            held.within(now_ms, now_ms - max_age_ms, now_ms - min_age_ms, excluded_post_id),
        )

    def near_many(
        self,
        version: str,
        vectors: Float32s,
        limit: int,
        now_ms: int,
        max_age_ms: int,
        excluded_post_ids: Ids,
    ) -> RankedLists:
        """For each vector (n, D) what `near` finds; `excluded_post_ids` (n,) are 0 for none."""
        found = [
            self.near(version, vector, limit, now_ms, max_age_ms, excluded_post_id=excluded)
            for vector, excluded in zip(vectors, excluded_post_ids.tolist(), strict=True)
        ]
        embeddings = self._of(version).embeddings
        post_ids = np.concatenate([_NO_IDS, *(of.ids for of in found)])
        return RankedLists(
            np.cumsum([0, *(len(of.ids) for of in found)]),
            post_ids,
            embeddings.author_ids(post_ids),
            embeddings.created_ms(post_ids),
            np.concatenate([np.empty(0, np.float32), *(of.scores for of in found)]),
        )

    def near_trained(self, version: str, base: str, vector: Float32s, limit: int) -> Neighbours:
        """The trained `authors`, `users` or `posts` nearest to a vector (D,); the same in every
        shard. Raises `ValueError` for a vector that is none.
        """
        trained = self._of(version).models.bases.get(base)
        if trained is None:
            return Neighbours(np.empty(0, np.int64), np.empty(0, np.float32))
        return NearestIndex(trained).search(vector, limit)

    def export_near(self, version: str) -> tuple[Ids, Float32s, int]:
        """What another process needs to build a base of (`build_base`), and a mark.

        Due when `sizes()["vectors_one_by_one"]` is some ten thousands: a search compares them
        one by one until then.
        """
        return self._of(version).posts.export()

    def export_fresh_near(self, version: str) -> tuple[HnswBase, Ids, Float32s, int]:
        """The same to extend the base by (`NearestIndex.export_fresh`)."""
        return self._of(version).posts.export_fresh()

    def swap_near(self, version: str, base: HnswBase, mark: int) -> None:
        """Search the base built of what was exported; what changed since stays so."""
        self._of(version).posts.swap(base, mark)

    def columns(self) -> dict[str, dict[str, Array]]:
        """What a snapshot has to keep, by table; every table names its rows' `author_ids`.

        Of several versions the serving one; a version being prepared is prepared anew.
        """
        serving = self._held[self.version]
        embeddings = serving.embeddings.columns()
        return {
            "recent_engagements": self._recent.columns(),
            "embedded_posts": embeddings["posts"],
            "embedding_entries": embeddings["entries"],
            "post_vectors": serving.fresh.columns(),
        }

    def restore(self, tables: Mapping[str, Mapping[str, Array]]) -> None:
        """Add exported rows, of authors of whom nothing is held; the version must be the same.

        `embedded_posts` come before or together with `embedding_entries`.
        """
        serving = self._held[self.version]
        if "recent_engagements" in tables:
            self._recent.restore(tables["recent_engagements"])
        if "embedded_posts" in tables:
            serving.embeddings.restore(tables["embedded_posts"])
            serving.show_trained(np.asarray(tables["embedded_posts"]["post_ids"]))
        if "embedding_entries" in tables:
            serving.embeddings.restore_entries(tables["embedding_entries"])
        if "post_vectors" in tables:
            serving.fresh.restore(tables["post_vectors"])
            serving.show(np.asarray(tables["post_vectors"]["post_ids"]))

    def _of(self, version: str) -> "_Held":
        held = self._held.get(version)
        if held is None:
            raise LookupError(f"version {version} is not held; held are {', '.join(self._held)}")
        return held


@dataclass(frozen=True)
class _Prepared:
    """A version that is being made, and the engagements that it has yet to hear of."""

    held: "_Held"
    waiting: deque[Changes]


def _steps(n: int) -> range:
    return range(0, n, _PREPARED_AT_ONCE)


class _Held:
    """What is held under one version of the models."""

    def __init__(self, models: VectorModels, limits: EmbeddingLimits) -> None:
        self.models = models
        self._limits = limits
        self.embeddings = PostEmbeddings(limits)
        self.fresh = PostVectors(models.dimension)
        self._trained = models.dense.get("posts") or DenseVectors.empty(models.dimension)
        # Of this shard's posts only, so that no shard does another's work.
        self.posts = NearestIndex(HnswBase.empty(models.dimension))

    @property
    def memory_bytes(self) -> int:
        return self.embeddings.memory_bytes + self.fresh.memory_bytes + self.posts.memory_bytes

    def create(self, post_ids: Ids, author_ids: Ids, times_ms: Ids) -> None:
        self.embeddings.create(post_ids, author_ids, times_ms)
        self.show_trained(post_ids)

    def change(self, changes: Changes) -> None:
        changes = changes.where(self.embeddings.created_ms(changes.post_ids) != DELETED)
        liked = changes.where(changes.kinds == Kind.FAVOURITE)
        if len(liked):
            rows = self.models.contributions.rows_of(liked.user_ids)
            self.embeddings.add(
                *(liked.post_ids, liked.author_ids, liked.times_ms, liked.signs),
                self.models.contributions.take(rows),
            )
        vectors, known = self.models.user_engagement.of(changes.user_ids)
        if self.models.engager_centres is not None:
            vectors -= self.models.engager_centres[changes.kinds]
        # A trained post keeps its trained vector.
        known &= ~self._trained.holds(changes.post_ids)
        if known.any():
            changes = changes.where(known)
            changed = self.fresh.add(
                *(changes.post_ids, changes.author_ids, changes.times_ms, changes.signs),
                vectors[known],
            )
            self.show(changed)

    def show(self, post_ids: Ids) -> None:
        """Let fresh posts be found where their vectors are now."""
        means, counts = self.fresh.means(post_ids)
        shown = (counts > 0) & (np.abs(means).max(axis=1, initial=0.0) > 0)
        shown &= self.embeddings.created_ms(post_ids) != DELETED
        self.posts.put(post_ids[shown], means[shown])
        self.posts.remove(post_ids[~shown])

    def show_trained(self, post_ids: Ids) -> None:
        """Let those of a shard's posts that are trained be found where they were trained to be."""
        post_ids = post_ids[self._trained.holds(post_ids)]
        post_ids = post_ids[self.embeddings.created_ms(post_ids) > 0]
        if len(post_ids):
            vectors, _ = self._trained.of(post_ids)
            shown = np.abs(vectors).max(axis=1) > 0
            self.posts.put(post_ids[shown], vectors[shown])

    def delete(self, post_ids: Ids, author_ids: Ids, times_ms: Ids) -> None:
        self.embeddings.delete(post_ids, author_ids, times_ms)
        self.posts.remove(post_ids[self.embeddings.created_ms(post_ids) == DELETED])

    def expiring(self, now_ms: int) -> Iterator[None]:
        n_gone = n = len(self.fresh)
        for begin in range(0, n, _LOOKED_AT_ONCE):
            rows = slice(begin, min(begin + _LOOKED_AT_ONCE, n))
            kept = self._kept(rows, now_ms)
            self.posts.remove(self.fresh.post_ids[rows][~kept])
            n_gone -= int(kept.sum())
            yield
        if n_gone > 0.1 * n:
            self.fresh = yield from self.fresh.moving(partial(self._kept, now_ms=now_ms))
        shown = self.posts.ids()
        for begin in range(0, len(shown), _LOOKED_AT_ONCE):
            some = shown[begin : begin + _LOOKED_AT_ONCE]
            created = self.embeddings.created_ms(some)
            old = (created > 0) & (now_ms - created >= self._limits.max_age_ms)
            self.posts.remove(some[old])
            yield
        self.embeddings = yield from self.embeddings.expiring(now_ms)

    def _kept(self, rows: slice, now_ms: int) -> npt.NDArray[np.bool_]:
        """Which rows of the fresh vectors are of posts not yet too old, nor deleted."""
        created = self.embeddings.created_ms(self.fresh.post_ids[rows])
        since_ms = np.where(created > 0, created, self.fresh.newest_ms[rows])
        young = now_ms - since_ms < self._limits.max_age_ms
        kept: npt.NDArray[np.bool_] = young & (created != DELETED)
        return kept

    def within(
        self, now_ms: int, since_ms: int, until_ms: int, excluded_post_id: int
    ) -> Callable[[Ids], npt.NDArray[np.bool_]]:
        """Which posts were created in [since_ms, until_ms], as far as this shard knows."""

        def keep(post_ids: Ids) -> npt.NDArray[np.bool_]:
            created = self.embeddings.created_ms(post_ids)
            kept = self.embeddings.living(post_ids, now_ms) & (created >= since_ms)
            kept &= (created <= until_ms) & (post_ids != excluded_post_id)
            return kept

        return keep


_ENGAGED_AS = np.zeros(256, np.uint8)
"""The engagement that a kind gives or takes back, or 0."""
for _kind in ENGAGED:
    _ENGAGED_AS[_kind] = _kind
for _undo, _kind in UNDONE_BY.items():
    if _kind in ENGAGED:
        _ENGAGED_AS[_undo] = _kind
