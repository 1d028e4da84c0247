"""The timelines: a request in, a page out, with everything said about it."""

import time
import uuid
from dataclasses import dataclass, replace
from typing import Any

from actors.models import HEAVY_RANKER, LIGHT_RANKER, Models
from actors.ranker import NO_RANKER, Ranker
from actors.router import Router
from actors.stores.newest_between import Place
from cluster.ids import MAX_ID
from cluster.settings import Settings
from cluster.switches import Switches
from timeline import products
from timeline.ad_sources import ads_source
from timeline.cursors import CursorKind, Cursors, Walk
from timeline.dressing import ancestors_of, between, dressed, laid_out
from timeline.modules import Pill, new_posts_pill
from timeline.pages import Item, Page
from timeline.pipeline import Pipeline
from timeline.quality_factor import QualityFactors
from timeline.query import Query
from timeline.rules_off import check_rules_off
from timeline.threads import places_above
from timeline.walks import PageCursors, cursors_of_ordered, cursors_of_ranked

SCALED = ("in_network", "user_tweet_entity_graph", "cr_mixer", "follow_recommendations")
"""Sources that are asked for less while they are slow (the published ones)."""
NO_DEADLINE_S = 1e9


@dataclass(frozen=True)
class Asked:
    """A request for a page."""

    product: str
    viewer_id: int
    limit: int
    now_ms: int
    cursor: str | None = None
    seed: int = 0
    deadline_s: float = NO_DEADLINE_S
    """On the monotonic clock."""
    recorded: bool = False
    """As in `Query`."""
    list_id: int = 0
    """Lists: which."""
    with_replies: bool = False
    """Lists: replies too."""
    since_ms: int | None = None
    """Top posts: since when; None: since the viewer's last visit."""
    settings: Settings | None = None
    """Others than the viewer's own, which are those of the viewer's experiments."""
    posts_only: bool = False
    """Nothing is wanted but the posts and their trace."""


class Timelines:
    """Makes pages of every product; thread-safe."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        models: Models,
        cursor_secret: bytes,
        ranker: Ranker = NO_RANKER,
    ) -> None:
        """Raises `SettingsError` for rules turned off that there are not."""
        check_rules_off(settings)
        self._settings = settings
        self._router = router
        self._cursors = Cursors(cursor_secret, settings.http.cursor_ttl_s)
        self._ads = ads_source(settings.mixer.ads, cursor_secret[:64])
        switches = Switches(settings, settings.switches)
        self.products: dict[str, Pipeline] = {
            product.name: product for product in products.all_products(models, ranker, switches)
        }
        self._numbers = {name: number for number, name in enumerate(self.products)}
        factors = settings.sources.quality_factor
        targets_ms = dict.fromkeys(SCALED, factors.fetch_target_ms)
        targets_ms[HEAVY_RANKER] = factors.score_target_ms
        self._widths = QualityFactors(factors, targets_ms, time.monotonic)

    def close(self) -> None:
        """End what waits for ads."""
        if self._ads is not None:
            self._ads.close()

    def quality_factors(self) -> dict[str, float]:
        """How much of its work each scaled source, and the heavy ranker, may do now."""
        return self._widths.factors()

    def page(self, asked: Asked) -> Page:
        """A page. Raises `InvalidCursor` and `ExpiredCursor`; `KeyError` for no product."""
        product, number = self.products[asked.product], self._numbers[asked.product]
        query = self._query(asked, number)
        started = time.perf_counter()
        shown, trace = product.run(query)
        if asked.recorded:
            self._widths.learn(trace)
        ordered = product.name in products.ORDERED
        items = dressed(query, shown, product.source_names, ordered=ordered)
        if not items and not ordered and query.context is not None:
            query.reason = query.reason or "nothing_new"
        mixed = [] if asked.posts_only else between(query, product.name, shown, items, self._ads)
        ends = PageCursors()
        if ordered:
            page = laid_out(items, mixed)
            ends = cursors_of_ordered(number, query, shown, places_above(items), page)
        elif product.name not in products.OF_ONE_PAGE:
            page = laid_out(items, mixed)
            ends = cursors_of_ranked(number, query, shown, ancestors_of(items), page)
        light_version = query.versions.get(LIGHT_RANKER, "")
        timings_ms = trace.timings_ms()
        timings_ms["total"] = round((time.perf_counter() - started) * 1000, 3)
        older, newer, gap = (
            self._cursors.encode(end) if end else None for end in (ends.older, ends.newer, ends.gap)
        )
        return Page(
            product=product.name,
            viewer_id=asked.viewer_id,
            request_id=query.request_id,
            now_ms=asked.now_ms,
            items=items,
            cursor=older,
            newer_cursor=newer,
            gap_cursor=gap,
            between=mixed,
            new_posts=_pill(query, items),
            replaced=_replaced(query),
            reason=query.reason,
            degraded=query.degraded,
            timings_ms=timings_ms,
            shown=shown,
            trace=trace,
            source_names=product.source_names,
            settings=query.settings,
            model_version=query.ranked_by or light_version,
            light_version=light_version,
            arms=query.arms,
            predictions=query.predictions,
            weights=query.settings.heavy_ranker.weights.model_dump(),
            cached=query.cached,
        )

    def for_you(self, viewer_id: int, limit: int, **more: Any) -> Page:
        """A page of For You; `more` are other fields of `Asked`."""
        return self.page(Asked(products.FOR_YOU, viewer_id, limit, **more))

    def following(self, viewer_id: int, limit: int, **more: Any) -> Page:
        """A page of Following; `more` are other fields of `Asked`."""
        return self.page(Asked(products.FOLLOWING, viewer_id, limit, **more))

    def _query(self, asked: Asked, number: int) -> Query:
        query = Query(
            viewer_id=asked.viewer_id,
            now_ms=asked.now_ms,
            limit=asked.limit,
            request_id=uuid.uuid4().hex,
            settings=asked.settings or self._settings,
            router=self._router,
            seed=asked.seed,
            deadline_s=asked.deadline_s,
            recorded=asked.recorded,
            widths=self._widths.factors() if asked.recorded else {},
            own_settings=asked.settings is None,
            posts_only=asked.posts_only,
        )
        query.walk = Walk(list_id=asked.list_id, with_replies=asked.with_replies)
        if asked.since_ms is not None:
            query.walk = replace(query.walk, after=Place(asked.since_ms, MAX_ID))
        if asked.cursor is not None:
            cursor = self._cursors.decode(
                asked.cursor, number, asked.viewer_id, asked.now_ms, asked.list_id
            )
            if asked.product in products.ORDERED:
                query.carried = cursor.chain
            else:
                query.chain = cursor.chain
            query.walk = cursor.walk(with_replies=asked.with_replies)
        return query


def _pill(query: Query, items: list[Item]) -> Pill | None:
    if query.walk.kind is not CursorKind.NEWER:
        return None
    authors = [item.author_id for item in items]
    return new_posts_pill(query.viewer_id, authors, query.settings.mixer.new_posts)


def _replaced(query: Query) -> list[tuple[int, int]]:
    if query.page_facts is None:
        return []
    found = query.page_facts.replaced
    return list(zip(found.old_ids.tolist(), found.posts.post_ids.tolist(), strict=True))
