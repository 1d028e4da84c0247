"""Everything the HTTP interface does, without HTTP: pages, explanations, events, readiness."""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import numpy as np

from actors.models import Models
from actors.questions import AskTrace
from actors.ranker import NO_RANKER, Ranker
from actors.router import Router, shards_of
from actors.state import Failed
from cluster import bodies
from cluster.artifacts import ArtifactStore
from cluster.ingest import Appender, Ingest, Ingested
from cluster.log import LogError
from cluster.problems import ProblemError, of_log_error
from cluster.settings import Settings
from timeline.analytics import CreatorAnalytics
from timeline.cursors import ExpiredCursor, InvalidCursor
from timeline.explain import UnreadableTrace, pack_trace, stage_kinds, why
from timeline.follow_recommendations.service import AccountRecommendations
from timeline.metrics import Metrics
from timeline.pages import Page
from timeline.parameters import Exactly
from timeline.products import FALLBACKS, FOR_YOU, TOP_POSTS
from timeline.representations import Representations
from timeline.served import Recorder
from timeline.sources.list_posts import UNKNOWN_LIST
from timeline.timelines import NO_DEADLINE_S, Asked, Timelines
from timeline.what_if import Asked as WhatIfAsked
from timeline.what_if import WhatIf

UNRECORDED = (TOP_POSTS,)
"""Products that are no visit."""
_TRACE_TIMEOUT_S = 0.5
_READY_TIMEOUT_S = 0.5
_LOG = logging.getLogger(__name__)


def wall_clock_ms() -> int:
    """Now, ms UTC."""
    return time.time_ns() // 1_000_000


class Service:
    """One process's share of the service; thread-safe.

    `appender` and `router` reach the log and the shards, in this process or elsewhere;
    every process that answers requests needs the same `cursor_secret`. `flush_archive` is
    `Ingest`'s.
    """

    def __init__(
        self,
        settings: Settings,
        router: Router,
        models: Models,
        appender: Appender,
        cursor_secret: bytes,
        *,
        ranker: Ranker = NO_RANKER,
        flush_archive: Callable[[], None] = lambda: None,
        clock: Callable[[], int] = wall_clock_ms,
        as_of_ms: int | None = None,
    ) -> None:
        """With `as_of_ms` pages are made as of that past instant, and leave nothing behind."""
        self.settings = settings
        self._as_of_ms = as_of_ms
        self.metrics = Metrics()
        self._router = router
        self._models = models
        self._clock = clock
        self._timelines = Timelines(settings, router, models, cursor_secret, ranker)
        self.metrics.watch_factors(self._timelines.quality_factors)
        self._kinds = {name: stage_kinds(p) for name, p in self._timelines.products.items()}
        self.representations = Representations(
            *(settings, router, ArtifactStore(settings.data_dir / "artifacts")),
            lambda: self._as_of_ms or self._clock(),
        )
        self.recommendations = AccountRecommendations(
            settings, router, lambda: self._as_of_ms or self._clock()
        )
        self._what_if = WhatIf(self._kinds, models.light_ranker)
        self.analytics = CreatorAnalytics(settings, router, lambda: self._as_of_ms or self._clock())
        self._ingest = Ingest(settings, appender, flush_archive)
        self.recorder = Recorder(
            settings, router, appender, self._kinds, clock, self.metrics.dropped
        )

    def page(self, asked: Asked, exactly: Exactly, request_id: str, arrived_s: float) -> Page:
        """A page of a product, recorded unless asked otherwise.

        `arrived_s`, on the monotonic clock, is when the deadline began; it and the instant of
        the request are filled in here. Raises `ProblemError` for a cursor that does not fit.
        """
        page = self._make(asked, exactly, arrived_s)
        if page.reason == UNKNOWN_LIST:
            raise ProblemError("unknown-list")
        page = replace(page, request_id=request_id)
        self.metrics.paged(page)
        if exactly.record and self._as_of_ms is None and page.product not in UNRECORDED:
            self.recorder.offer(page)
        return page

    def why(
        self,
        viewer_id: int,
        post_id: int,
        limit: int,
        request_id: str | None,
        exactly: Exactly,
        arrived_s: float,
    ) -> dict[str, Any]:
        """Why a post is in For You or is not: by a request's trace, else by a dry run.

        Raises `ProblemError` for a request of which this viewer has no trace.
        """
        if request_id is None:
            asked = Asked(FOR_YOU, viewer_id, limit, 0, posts_only=True)
            page = self._make(asked, exactly, arrived_s)
            trace = pack_trace(page, self._kinds[page.product])
        else:
            kept = self.recorder.trace_of(viewer_id, request_id)
            trace_or_shard = kept or self._stored_trace(viewer_id, request_id)
            if isinstance(trace_or_shard, int):
                return self._unavailable(viewer_id, post_id, request_id, trace_or_shard)
            trace = trace_or_shard
        try:
            return why(trace, post_id, self._models.light_ranker)
        except UnreadableTrace as error:
            raise ProblemError("unknown-request", str(error)) from error

    def what_if(
        self, viewer_id: int, asked: WhatIfAsked, exactly: Exactly, operator: bool
    ) -> dict[str, Any]:
        """A page of For You as it is and as it would be; see `WhatIf.compare`."""
        now_ms = exactly.now_ms or self._as_of_ms or self._clock()

        def make(settings: Settings | None) -> Page:
            within_s = self.settings.http.deadline_ms / 1000
            return self._timelines.page(
                Asked(
                    *(FOR_YOU, viewer_id, asked.limit, now_ms),
                    seed=exactly.seed or 0,
                    deadline_s=NO_DEADLINE_S if exactly.asked else time.monotonic() + within_s,
                    settings=settings,
                    posts_only=True,
                )
            )

        return self._what_if.compare(asked, make, operator=operator)

    def take_in(
        self,
        body: bytes,
        media_type: str,
        *,
        history: bool,
        trusted: bool,
        own: Collection[int] | None = None,
    ) -> Ingested:
        """Ingest a body of events; `trusted` ones may activate artifacts, and those of a sender
        for whom `own` is given must be these users' own.

        Raises `ProblemError` where nothing of it could be taken in.
        """
        received = bodies.READERS[media_type](body, self.settings.http.max_events)
        if not trusted:
            received = bodies.without_activations(received)
        try:
            done = bodies.take_in(
                received, self._ingest, now_ms=self._clock(), history=history, own=own
            )
        except LogError as error:
            _LOG.warning("events were not taken in: %s", error)
            raise of_log_error(error) from error
        self.metrics.ingested(done)
        return done

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether any shard answers, and which do not."""
        n_shards = self._router.n_shards
        replies = self._router.ask({s: [] for s in range(n_shards)}, _READY_TIMEOUT_S).replies
        stale_ms = self.settings.shards.stale_after_ms
        missing = {
            str(shard): "behind the log" if shard in replies else "no answer"
            for shard in range(n_shards)
            if shard not in replies or replies[shard].lag_ms > stale_ms
        }
        return len(missing) < n_shards, {"shards": n_shards, "missing": missing}

    def close(self) -> None:
        """Record what waits."""
        self._timelines.close()
        self.recorder.close()

    def _make(self, asked: Asked, exactly: Exactly, arrived_s: float) -> Page:
        deadline_s = arrived_s + self.settings.http.deadline_ms / 1000
        asked = replace(
            asked,
            now_ms=exactly.now_ms or self._as_of_ms or self._clock(),
            seed=exactly.seed or 0,
            deadline_s=NO_DEADLINE_S if exactly.asked else deadline_s,
            # What was cached a moment ago is no answer to a question about an exact instant.
            recorded=exactly.record and not exactly.asked and self._as_of_ms is None,
        )
        try:
            return self._timelines.page(asked)
        except InvalidCursor as error:
            raise ProblemError("invalid-cursor", str(error)) from error
        except ExpiredCursor as error:
            raise ProblemError("expired-cursor", str(error)) from error
        except Exception:
            if asked.product not in FALLBACKS or asked.settings is not None:
                raise
            _LOG.exception("%s failed for user %d", asked.product, asked.viewer_id)
        return self._fall_back(asked)

    def _fall_back(self, asked: Asked) -> Page:
        """The first page with posts of what takes a failed product's place, else the last page."""
        failed = [asked.product]
        page: Page | None = None
        for product in FALLBACKS[asked.product]:
            try:
                page = self._timelines.page(replace(asked, product=product, cursor=None))
            except Exception:
                _LOG.exception("%s failed for user %d", product, asked.viewer_id)
                failed.append(product)
                continue
            if page.items:
                break
        if page is None:
            raise RuntimeError(f"{', '.join(failed)} failed")
        # Another product's cursor would not fit the next request.
        return replace(
            page,
            cursor=None,
            newer_cursor=None,
            gap_cursor=None,
            degraded=[*page.degraded, *failed],
        )

    def _stored_trace(self, viewer_id: int, request_id: str) -> bytes | int:
        """The trace from the viewer's shard, or the shard that does not answer."""
        viewer = np.array([viewer_id], np.int64)
        shard = int(shards_of(viewer, self._router.n_shards)[0])
        since_ms = self._clock() - self.settings.windows.trace_ms
        question = AskTrace(viewer_id, request_id, since_ms)
        reply = self._router.ask({shard: [question]}, _TRACE_TIMEOUT_S).replies.get(shard)
        if reply is None or isinstance(reply.answers[0], Failed):
            return shard
        trace: bytes | None = reply.answers[0]
        if trace is None:
            raise ProblemError(
                "unknown-request",
                "traces of a user's last 20 requests are kept for 24 hours, and lost with a shard",
            )
        return trace

    def _unavailable(
        self, viewer_id: int, post_id: int, request_id: str, shard: int
    ) -> dict[str, Any]:
        return {
            "post_id": str(post_id),
            "user_id": str(viewer_id),
            "request_id": request_id,
            "product": FOR_YOU,
            "now_ms": self._clock(),
            "model_version": "",
            "degraded": [f"shard_{shard}"],
            "found": False,
            "verdict": "unavailable",
            "detail": "the shard that keeps the traces does not answer",
        }
