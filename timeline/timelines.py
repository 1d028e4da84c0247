"""The service: a request in, a page of a timeline out, with everything said about it."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from actors.models import LIGHT_RANKER, Models
from actors.questions import AskUris
from actors.ranker import NO_RANKER, Ranker
from actors.router import Router, shards_of
from actors.scored_posts import NOTHING_SCORED, ScoredPosts
from actors.state import Failed
from cluster.settings import Settings
from timeline import products
from timeline.candidates import Candidates
from timeline.cursors import Cursor, Cursors
from timeline.filters import chain_hashes, originals_of
from timeline.pipeline import Pipeline, Trace
from timeline.predictions import Predictions
from timeline.quality_factor import QualityFactors
from timeline.query import Query
from timeline.reasons import Reason, reasons_of

_URI_BUDGET_S = 0.2
SCALED = ("in_network", "user_tweet_entity_graph", "cr_mixer", "follow_recommendations")
"""Sources that are asked for less while they are slow (the published ones)."""


@dataclass(frozen=True)
class Item:
    """One post of a page."""

    post_id: int
    author_id: int
    created_ms: int
    score: float
    source: str
    reasons: list[Reason]
    uri: str | None = None


@dataclass(frozen=True)
class Page:
    """An answer, and what was done to make it."""

    product: str
    viewer_id: int
    request_id: str
    now_ms: int
    items: list[Item]
    cursor: str | None
    reason: str | None
    degraded: list[str]
    timings_ms: dict[str, float]
    shown: Candidates = field(repr=False)
    trace: Trace = field(repr=False)
    source_names: list[str] = field(repr=False)
    model_version: str = ""
    """Of what gave the scores: the heavy ranker, or the light one where that did not."""
    light_version: str = ""
    predictions: Predictions | None = field(default=None, repr=False)
    weights: Mapping[str, float] = field(default_factory=dict, repr=False)
    """Of what the heavy ranker predicts."""
    cached: ScoredPosts = field(default=NOTHING_SCORED, repr=False)
    """What the request had from the ones before it."""


class Timelines:
    """Makes pages of For You and Following; thread-safe."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        models: Models,
        cursor_secret: bytes,
        ranker: Ranker = NO_RANKER,
    ) -> None:
        self._settings = settings
        self._router = router
        self._cursors = Cursors(cursor_secret, settings.http.cursor_ttl_s)
        self._products: list[Pipeline] = [products.for_you(models, ranker), products.following()]
        factors = settings.sources.quality_factor
        targets_ms = dict.fromkeys(SCALED, factors.fetch_target_ms)
        self._widths = QualityFactors(factors, targets_ms, time.monotonic)

    def for_you(
        self,
        viewer_id: int,
        limit: int,
        *,
        now_ms: int,
        cursor: str | None = None,
        seed: int = 0,
        deadline_s: float = 1e9,
        recorded: bool = False,
    ) -> Page:
        """A page of For You. `deadline_s` is on the monotonic clock; `recorded` as in `Query`.

        Raises `InvalidCursor` and `ExpiredCursor`.
        """
        return self._page(0, viewer_id, limit, now_ms, cursor, seed, deadline_s, recorded)

    def following(
        self,
        viewer_id: int,
        limit: int,
        *,
        now_ms: int,
        cursor: str | None = None,
        deadline_s: float = 1e9,
    ) -> Page:
        """A page of Following, newest first; raises as `for_you`."""
        return self._page(1, viewer_id, limit, now_ms, cursor, 0, deadline_s, recorded=False)

    def _page(
        self,
        number: int,
        viewer_id: int,
        limit: int,
        now_ms: int,
        cursor_text: str | None,
        seed: int,
        deadline_s: float,
        recorded: bool,
    ) -> Page:
        product = self._products[number]
        query = Query(
            viewer_id=viewer_id,
            now_ms=now_ms,
            limit=limit,
            request_id=uuid.uuid4().hex,
            settings=self._settings,
            router=self._router,
            seed=seed,
            deadline_s=deadline_s,
            recorded=recorded,
            widths=self._widths.factors() if recorded else {},
        )
        if cursor_text is not None:
            cursor = self._cursors.decode(cursor_text, number, viewer_id, now_ms)
            query.chain = cursor.chain
            if cursor.before_ms:
                query.before = (cursor.before_ms, cursor.before_id)
        started = time.perf_counter()
        shown, trace = product.run(query)
        if recorded:
            self._learn_speed(trace)
        if not len(shown) and number == 0 and "viewer_context" not in query.degraded:
            query.reason = query.reason or "nothing_new"
        items = self._items(query, product, shown)
        light_version = query.versions.get(LIGHT_RANKER, "")
        timings_ms = trace.timings_ms()
        timings_ms["total"] = round((time.perf_counter() - started) * 1000, 3)
        return Page(
            product=product.name,
            viewer_id=viewer_id,
            request_id=query.request_id,
            now_ms=now_ms,
            items=items,
            cursor=self._next_cursor(number, query, shown),
            reason=query.reason,
            degraded=query.degraded,
            timings_ms=timings_ms,
            shown=shown,
            trace=trace,
            source_names=product.source_names,
            model_version=query.ranked_by or light_version,
            light_version=light_version,
            predictions=query.predictions,
            weights=self._settings.heavy_ranker.weights.model_dump(),
            cached=query.cached,
        )

    def _learn_speed(self, trace: Trace) -> None:
        target_ms = self._settings.sources.quality_factor.fetch_target_ms
        for name, by in trace.sources.items():
            if name in SCALED:
                self._widths.record(name, by.ms or target_ms, failed=by.ms is None)

    def _items(self, query: Query, product: Pipeline, shown: Candidates) -> list[Item]:
        if not len(shown):
            return []
        names = product.source_names
        reasons = reasons_of(query, shown, names)
        uris = self._uris(query, shown)
        columns = zip(
            shown.post_ids.tolist(),
            shown.author_ids.tolist(),
            shown.created_ms.tolist(),
            shown.scores.tolist(),
            shown.source.tolist(),
            *(reasons, uris),
            strict=True,
        )
        return [
            Item(post, author, created, score, names[source], why, uri)
            for post, author, created, score, source, why, uri in columns
        ]

    def _uris(self, query: Query, shown: Candidates) -> list[str | None]:
        """External names; only systems whose posts have them pay for this wave."""
        uris: list[str | None] = [None] * len(shown)
        if not shown.has_uri.any():
            return uris
        homes = shards_of(shown.author_ids, self._router.n_shards)
        wave = {
            shard: [AskUris(shown.post_ids[homes == shard])] for shard in np.unique(homes).tolist()
        }
        gathered = self._router.ask(wave, min(query.left_s(), _URI_BUDGET_S))
        for shard, answer in gathered.answers(0).items():
            if not isinstance(answer, Failed):
                for at, uri in zip(np.flatnonzero(homes == shard).tolist(), answer, strict=True):
                    uris[at] = uri
        return uris

    def _next_cursor(self, number: int, query: Query, shown: Candidates) -> str | None:
        if len(shown) == 0:
            return None
        chain, before = query.chain, (0, 0)
        if number == 1:
            before = (int(shown.created_ms[-1]), int(shown.post_ids[-1]))
        else:
            both = np.concatenate([shown.post_ids, originals_of(shown)])
            chain = np.union1d(query.chain, chain_hashes(both))
            if len(chain) > query.settings.for_you.max_chain:
                return None
        return self._cursors.encode(Cursor(number, query.viewer_id, query.now_ms, *before, chain))
