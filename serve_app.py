"""The Ray Serve application: the HTTP interface over timelines and the event log."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from fastapi import FastAPI
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from actors.features.inputs import RankerInputs
from actors.models import Models
from actors.ranker import NO_RANKER, Floats, RankerUnavailable
from actors.ray_router import KEEPER, connect_log, connect_router
from actors.warm import pass_over_what_stays, warm
from cluster.artifacts import ArtifactStore
from cluster.http_edge import Edge, answer_problems
from cluster.log import LogUnavailable
from cluster.request_threads import RequestThreads
from cluster.settings import Settings
from cluster.tokens import (
    TOKENS_VARIABLE,
    Tokens,
    ensure_secret,
    ensure_tokens,
    load_tokens,
    tokens_path,
)
from timeline import answers
from timeline.analytics_routes import analytics_routes
from timeline.callers import allows
from timeline.event_routes import event_routes
from timeline.follow_recommendations.routes import follow_recommendation_routes
from timeline.operation_routes import operation_routes
from timeline.representation_routes import representation_routes
from timeline.service import Service
from timeline.timeline_routes import timeline_routes
from timeline.what_if_routes import what_if_routes

if TYPE_CHECKING:
    from training.heavy_ranker.loaded import LoadedRankers

_FLUSH_TIMEOUT_S = 60.0
PAGE_THREADS = 3
"""Of a replica. A page is computing for most of its time, so more of them only make each other
slow: of eight clients, eight threads answer seven tenths of what three do."""
EVENT_THREADS = 4
_WAITING_SHARE = 0.25
"""Of the deadline, for the longest wait before a page is begun: all threads busy, a page takes
several times as long as one alone, and has to be made in what is left."""
_SERVING_TIMEOUT_S = 0.2
_OUTAGES = (RayError, RayServeException, TimeoutError, RuntimeError)
"""What a deployment that is overloaded, restarting or gone raises."""
_VERSIONS_TOLD = 3
_NO_TIMEOUT_S = 1e9
"""Whoever asked the deployment keeps the time."""
_SPARE_REQUESTS = 32
"""Requests that Serve lets in beyond our own limit, so that the refusal is ours."""

T = TypeVar("T")

_DESCRIPTION = """
An open For You timeline. Send events to `/v1/events`, read timelines from `/v1/timelines`.

**Tokens.** Send `Authorization: Bearer TOKEN`. A token has one or more scopes: `write` sends
events, `read` reads everything of everybody, `admin` may do both and ask for exactly repeatable
timelines. `read:user:1033` reads what is user 1033's own and nothing else: timelines, accounts to
follow, why, what-if, analytics and labels; `write:user:1033` sends what user 1033 does at a screen,
such as impressions and engagements, and nothing else. `murmuration up` writes one token of each of
the first three into the file `tokens` of the data directory;
`murmuration token read:user:1033 write:user:1033` adds one of a user.

**Ids** are integers from 1 to 2^63−1; requests may write them as decimal strings, answers do.

**Errors** are problem documents (RFC 9457) that name the field. 503 and 507 pass: try again after
`Retry-After` seconds.
"""


def build_app(service: Service, tokens: Tokens, *, names_requests: bool = True) -> FastAPI:
    """The application over one process's service; see `Edge` for `names_requests`."""
    deadline_s = service.settings.http.deadline_ms / 1000
    pages = RequestThreads(PAGE_THREADS, "pages", _WAITING_SHARE * deadline_s)
    events = ThreadPoolExecutor(EVENT_THREADS, "events")
    # Health must not wait behind pages.
    control = ThreadPoolExecutor(1, "control")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        pages.close()
        for pool in (events, control):
            pool.shutdown(cancel_futures=True)
        service.close()

    app = FastAPI(
        title="Murmuration",
        version=_version(),
        description=_DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        responses={422: answers.PROBLEM, "default": answers.PROBLEM},
    )
    app.add_middleware(
        Edge,
        max_ongoing=service.settings.http.max_ongoing,
        observe=service.metrics.answered,
        names_requests=names_requests,
    )
    app.state.tokens = tokens
    answer_problems(app, outages=[RayError])

    app.include_router(timeline_routes(service, pages.run))
    app.include_router(what_if_routes(service.what_if, pages.run))
    app.include_router(analytics_routes(service.analytics, pages.run))
    app.include_router(follow_recommendation_routes(service.recommendations, pages.run))
    app.include_router(
        representation_routes(service.representations, pages.run), dependencies=[allows("read")]
    )
    app.include_router(event_routes(service, partial(_off_loop, events)))
    app.include_router(operation_routes(service, partial(_off_loop, control), app.version))
    return app


@serve.deployment(name="Ranker")
class RankerDeployment:
    """The heavy ranker in processes of its own, scaled alone; see `HeavyRankerSettings.home`."""

    def __init__(self, settings: Settings) -> None:
        self._rankers = _load_rankers(settings)
        self._pool = ThreadPoolExecutor(settings.http.max_ongoing, "scoring")

    async def serving(self, version: str) -> str | None:
        """See `Ranker.serving`."""
        return self._rankers.serving(version)

    async def score(self, version: str, inputs: RankerInputs) -> Floats:
        """See `Ranker.score`."""
        work = partial(self._rankers.score, version, inputs, _NO_TIMEOUT_S)
        return await _off_loop(self._pool, work)


class _RankerElsewhere:
    """The heavy ranker as a deployment; inputs travel by reference."""

    def __init__(self, handle: "DeploymentHandle[Any]") -> None:
        # Pages are made in threads, which wait for answers; the loop of requests does not.
        if not handle.is_initialized:
            handle._init(_run_router_in_separate_loop=True)
        self._handle = handle
        self._told: dict[str, tuple[str | None, float]] = {}

    @property
    def ready(self) -> bool:
        return any(version for version, _ in self._told.values())

    def serving(self, version: str) -> str | None:
        """What the deployment said in the last second; once it serves the version, for good."""
        found, until_s = self._told.get(version, (None, 0.0))
        if found == version or time.monotonic() < until_s:
            return found
        try:
            found = self._handle.serving.remote(version).result(timeout_s=_SERVING_TIMEOUT_S)
        except _OUTAGES:
            found = None
        # The versions told of are few: those of the last activations.
        recent = list(self._told.items())[-_VERSIONS_TOLD:]
        self._told = dict(recent) | {version: (found, time.monotonic() + 1.0)}
        return found

    def score(self, version: str, inputs: RankerInputs, timeout_s: float) -> Floats:
        asked = None
        try:
            asked = self._handle.score.remote(version, ray.put(inputs))
            found: Floats = asked.result(timeout_s=max(timeout_s, 0.0))
        except _OUTAGES as error:
            if asked is not None:
                asked.cancel()  # type: ignore[no-untyped-call]
            # A replica that was replaced has to load the version again.
            self._told.pop(version, None)
            raise RankerUnavailable(str(error)) from error
        return found


def _load_rankers(settings: Settings) -> "LoadedRankers":
    """The versions that this process scores with."""
    # Brings torch along, which processes that do not score need not load.
    from training.heavy_ranker.loaded import LoadedRankers

    artifacts = ArtifactStore(settings.data_dir / "artifacts")
    return LoadedRankers(artifacts, settings)


@serve.deployment(name="Timeline")
@serve.ingress()
class Timeline:
    """One replica: the whole pipeline in its own process, over the shards' actors."""

    def __init__(
        self,
        settings: Settings,
        tokens: Tokens,
        as_of_ms: int | None = None,
        ranker: "DeploymentHandle[Any] | None" = None,
    ) -> None:
        warm()
        pass_over_what_stays()
        self._tokens = tokens
        models = Models(ArtifactStore(settings.data_dir / "artifacts"))
        secret = ensure_secret(settings.data_dir / "cursor-secret")
        router, appender = connect_router(settings), connect_log(settings)

        def flush_archive() -> None:
            try:
                keeper = ray.get_actor(KEEPER, settings.namespace)
            except ValueError as error:
                raise LogUnavailable("the archive's keeper does not run") from error
            ray.get(keeper.flush.remote(), timeout=_FLUSH_TIMEOUT_S)

        rankers = _load_rankers(settings) if ranker is None else None
        self._service = Service(
            *(settings, router, models, appender, secret),
            ranker=_RankerElsewhere(ranker) if ranker is not None else rankers or NO_RANKER,
            flush_archive=flush_archive,
            as_of_ms=as_of_ms,
        )

        if rankers:
            rankers.tell_refused = self._service.metrics.ranker_refused

    def __serve_build_asgi_app__(self) -> FastAPI:
        # Serve names requests itself, and hands the names in.
        return build_app(self._service, self._tokens, names_requests=False)


def application(settings: Settings, as_of_ms: int | None = None) -> serve.Application:
    """The application to run on Ray Serve, now or as of a past instant. Raises `TokensError`.

    Tokens are read here, and made where there are none; replicas get their digests.
    """
    if not os.environ.get(TOKENS_VARIABLE):
        ensure_tokens(tokens_path(settings))
    http = settings.http
    deployment = Timeline.options(  # type: ignore[attr-defined]
        num_replicas=http.replicas,
        max_ongoing_requests=http.max_ongoing + _SPARE_REQUESTS,
        max_queued_requests=http.max_ongoing,
        health_check_period_s=2,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=5,
        logging_config=LoggingConfig(enable_access_log=False),
    )
    ranker = None
    if settings.heavy_ranker.home == "deployment":
        ranker = RankerDeployment.options(  # type: ignore[attr-defined]
            num_replicas=settings.heavy_ranker.replicas,
            max_ongoing_requests=http.max_ongoing,
            max_queued_requests=http.max_ongoing,
            ray_actor_options={"num_gpus": settings.heavy_ranker.gpus},
            logging_config=LoggingConfig(enable_access_log=False),
        ).bind(settings)
    bound: serve.Application = deployment.bind(settings, load_tokens(settings), as_of_ms, ranker)
    return bound


async def _off_loop(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _version() -> str:
    try:
        return metadata.version("murmuration")
    except metadata.PackageNotFoundError:
        return "0+unknown"
