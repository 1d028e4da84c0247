"""The Ray Serve application: the HTTP interface over timelines and the event log."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import orjson
import ray
from fastapi import Depends, FastAPI, Query, Request, Response, Security
from fastapi.responses import PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from actors.features.inputs import RankerInputs
from actors.models import Models
from actors.ranker import NO_RANKER, Floats, RankerUnavailable
from actors.ray_router import KEEPER, connect_log, connect_router
from actors.warm import prefer_short_waits, warm
from cluster import bodies
from cluster.artifacts import ArtifactStore
from cluster.events import SCHEMA_VERSION
from cluster.http_edge import BodyReader, Edge, answer_problems
from cluster.log import LogUnavailable
from cluster.problems import MEDIA_TYPE, FieldError, ProblemError
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
from timeline.follow_recommendations.routes import follow_recommendation_routes
from timeline.parameters import Exactly, Id, Limit, Seed, Switch, TimeMs
from timeline.products import FOLLOWING, FOR_YOU, LISTS, TOP_POSTS
from timeline.representation_routes import representation_routes
from timeline.service import Service
from timeline.timelines import Asked
from timeline.what_if_routes import what_if_routes

if TYPE_CHECKING:
    from training.heavy_ranker.loaded import LoadedRankers

APPLICATION_NAME = "murmuration"
_FLUSH_TIMEOUT_S = 60.0
PAGE_THREADS = 8
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
events, `read` reads timelines and metrics, `admin` may do both and ask for exactly repeatable
timelines. `murmuration up` writes one token of each into the file `tokens` of the data directory.

**Ids** are integers from 1 to 2^63−1; requests may write them as decimal strings, answers do.

**Errors** are problem documents (RFC 9457) that name the field. 503 and 507 pass: try again after
`Retry-After` seconds.
"""
_PROBLEM = {
    "description": "A problem document (RFC 9457)",
    "content": {MEDIA_TYPE: {"schema": answers.ProblemAnswer.model_json_schema()}},
}
_NOT_READY = {**_PROBLEM, "description": "No shard answers", "model": answers.ReadyAnswer}
_BEARER = HTTPBearer(auto_error=False, description="A token of the tokens file.")


def _allows(scope: str) -> Any:
    """A dependency: the scopes of a caller who has at least this one."""

    async def scopes_of_caller(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    ) -> frozenset[str]:
        tokens: Tokens = request.app.state.tokens
        scopes = tokens.scopes_of(credentials.credentials) if credentials else None
        if scopes is None:
            header = 'Bearer realm="murmuration"'
            raise ProblemError("unauthorized", headers={"WWW-Authenticate": header})
        if scope not in scopes:
            raise _forbidden(scope)
        return scopes

    return Security(scopes_of_caller)


Reader = Annotated[frozenset[str], _allows("read")]
Writer = Annotated[frozenset[str], _allows("write")]
Size = Annotated[Limit, Query(description="Items, 1 to 100.")]
Cursor = Annotated[str | None, Query(description="`cursor` of the page before.")]
Owner = Annotated[Id, Query(description="Whose list it is, and who reads it.")]
Replies = Annotated[Switch, Query(description="Whether replies come too.")]
Since = Annotated[TimeMs | None, Query(description="Since when, ms; default: the last visit.")]
RequestId = Annotated[str | None, Query(description="Of one of the user's last 20 requests.")]
Instant = Annotated[TimeMs | None, Query(description="Scope admin: the time it is.")]
Chance = Annotated[Seed | None, Query(description="Scope admin: the seed of all chance.")]
Record = Annotated[Switch, Query(description="Scope admin: `false` leaves nothing behind.")]
History = Annotated[Switch, Query(description="Scope admin: old events too, each once.")]


async def _exactly(
    scopes: Reader, now_ms: Instant = None, seed: Chance = None, record: Record = True
) -> Exactly:
    asked = Exactly(now_ms, seed, record)
    if asked.asked and "admin" not in scopes:
        raise _forbidden("admin")
    return asked


Exact = Annotated[Exactly, Depends(_exactly)]


def build_app(service: Service, tokens: Tokens, *, names_requests: bool = True) -> FastAPI:
    """The application over one process's service; see `Edge` for `names_requests`."""
    deadline_s = service.settings.http.deadline_ms / 1000
    pages = RequestThreads(PAGE_THREADS, "pages", _WAITING_SHARE * deadline_s)
    events = ThreadPoolExecutor(EVENT_THREADS, "events")
    # Health must not wait behind pages.
    control = ThreadPoolExecutor(1, "control")
    reader = BodyReader(service.settings.http.max_body_bytes)

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
        responses={422: _PROBLEM, "default": _PROBLEM},
    )
    app.add_middleware(
        Edge,
        max_ongoing=service.settings.http.max_ongoing,
        observe=service.metrics.answered,
        names_requests=names_requests,
    )
    app.state.tokens = tokens
    answer_problems(app, outages=[RayError])

    async def page(request: Request, asked: Asked, exact: Exactly) -> Response:
        request_id, arrived_s = request.state.request_id, time.monotonic()

        def make() -> bytes:
            return answers.page_json(service.page(asked, exact, request_id, arrived_s))

        return Response(await pages.run(make), media_type="application/json")

    @app.get(
        "/v1/timelines/for-you/{user_id}",
        response_model=answers.PageAnswer,
        tags=["timelines"],
        summary="A page of For You",
    )
    async def for_you(
        request: Request, user_id: Id, exact: Exact, limit: Size = 20, cursor: Cursor = None
    ) -> Response:
        """Candidates of all sources, ranked, filtered and mixed.

        The same request with `now_ms`, `seed` and `record=false` gives the same timeline on the
        same data and versions; it has no deadline.
        """
        return await page(request, Asked(FOR_YOU, user_id, limit, 0, cursor), exact)

    @app.get(
        "/v1/timelines/following/{user_id}",
        response_model=answers.PageAnswer,
        tags=["timelines"],
        summary="A page of Following",
    )
    async def following(
        request: Request, user_id: Id, exact: Exact, limit: Size = 20, cursor: Cursor = None
    ) -> Response:
        """Every post of those the user follows, newest first."""
        return await page(request, Asked(FOLLOWING, user_id, limit, 0, cursor), exact)

    @app.get(
        "/v1/timelines/lists/{list_id}",
        response_model=answers.PageAnswer,
        tags=["timelines"],
        summary="A page of a list",
    )
    async def list_posts(
        request: Request,
        list_id: Id,
        user_id: Owner,
        exact: Exact,
        limit: Size = 20,
        cursor: Cursor = None,
        replies: Replies = False,
    ) -> Response:
        """Every post of the members of a list of the user's own, newest first."""
        asked = Asked(LISTS, user_id, limit, 0, cursor, list_id=list_id, with_replies=replies)
        return await page(request, asked, exact)

    @app.get(
        "/v1/users/{user_id}/top-posts",
        response_model=answers.PageAnswer,
        tags=["timelines"],
        summary="Top posts since the user left",
    )
    async def top_posts(
        request: Request,
        user_id: Id,
        exact: Exact,
        limit: Size = service.settings.products.top_posts.limit,
        since_ms: Since = None,
    ) -> Response:
        """The best of what the user's network brought since the last visit; no visit itself."""
        return await page(request, Asked(TOP_POSTS, user_id, limit, 0, since_ms=since_ms), exact)

    @app.get(
        "/v1/timelines/for-you/{user_id}/why/{post_id}",
        response_model=answers.WhyAnswer,
        tags=["timelines"],
        summary="Why a post is there, or is not",
    )
    async def why(
        user_id: Id,
        post_id: Id,
        exact: Exact,
        request_id: RequestId = None,
        limit: Size = 20,
    ) -> Response:
        """Which sources found it, what it scored and by what, and which filter dropped it.

        With `request_id` this is what that request did; without, what a request would do now,
        which leaves nothing behind.
        """
        arrived_s = time.monotonic()

        def explain() -> bytes:
            return orjson.dumps(service.why(user_id, post_id, limit, request_id, exact, arrived_s))

        return Response(await pages.run(explain), media_type="application/json")

    app.include_router(
        representation_routes(service.representations, pages.run),
        dependencies=[_allows("read")],
    )
    app.include_router(
        follow_recommendation_routes(service.recommendations, pages.run),
        dependencies=[_allows("read")],
    )
    app.include_router(
        what_if_routes(service.what_if, pages.run, Depends(_exactly), _allows("read"))
    )
    app.include_router(
        analytics_routes(service.analytics, pages.run),
        dependencies=[_allows("read")],
    )

    @app.post(
        "/v1/events",
        response_model=answers.EventsAnswer,
        tags=["events"],
        summary="Send events",
        openapi_extra=answers.EVENTS_BODY,
    )
    async def send_events(
        request: Request,
        scopes: Writer,
        history: History = False,
    ) -> Response:
        """Answers once the good events are durable; bad ones are returned with why.

        An array, `{"events": […]}`, one object a line, or an Arrow IPC stream. Sending a batch
        again is safe: events with the same id count once.
        """
        trusted = "admin" in scopes
        if history and not trusted:
            raise _forbidden("admin")
        media_type = _media_type(request)
        length = request.headers.get("content-length")
        async with reader.body(request.receive, length) as body:
            done = await _off_loop(
                events,
                lambda: service.take_in(body, media_type, history=history, trusted=trusted),
            )
        if done.problems and not done.accepted and not done.repeated:
            errors = [FieldError(p.field, p.message, p.index) for p in done.problems]
            raise ProblemError("invalid-events", errors[0].message, errors)
        return Response(answers.events_json(done), media_type="application/json")

    @app.get(
        "/healthz",
        response_model=answers.AliveAnswer,
        tags=["operation"],
        summary="Whether this process answers",
    )
    async def healthz() -> Response:
        """Needs no token."""
        return _json({"status": "ok"})

    @app.get(
        "/readyz",
        response_model=answers.ReadyAnswer,
        responses={503: _NOT_READY},
        tags=["operation"],
        summary="Whether shards answer, and which do not",
    )
    async def readyz() -> Response:
        """503 when no shard answers. Needs no token."""
        ready, shards = await _off_loop(control, service.ready)
        return _json({"ready": ready, **shards}, 200 if ready else 503)

    @app.get(
        "/version",
        response_model=answers.VersionAnswer,
        tags=["operation"],
        summary="What runs here",
    )
    async def version() -> Response:
        """Needs no token."""
        return _json({"name": "murmuration", "version": app.version, "events": SCHEMA_VERSION})

    @app.get(
        "/metrics",
        response_class=PlainTextResponse,
        tags=["operation"],
        summary="Counters of this process for Prometheus",
    )
    async def metrics(scopes: Reader) -> Response:
        """Needs the scope read."""
        content = await _off_loop(control, service.metrics.render)
        return Response(content, media_type=CONTENT_TYPE_LATEST)

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
        prefer_short_waits()
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


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _media_type(request: Request) -> str:
    given, _, parameters = request.headers.get("content-type", "").partition(";")
    media_type = given.strip().lower()
    charset = parameters.lower().partition("charset=")[2].strip().strip('"')
    if media_type not in bodies.READERS or charset not in ("", "utf-8"):
        takes = ", ".join(bodies.READERS)
        raise ProblemError("unsupported-media-type", f"Content-Type must be one of {takes}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProblemError("unsupported-media-type", "Content-Encoding is not supported")
    return media_type


def _forbidden(scope: str) -> ProblemError:
    header = f'Bearer realm="murmuration", error="insufficient_scope", scope="{scope}"'
    return ProblemError(
        "forbidden", f"needs the scope {scope}", headers={"WWW-Authenticate": header}
    )


def _version() -> str:
    try:
        return metadata.version("murmuration")
    except metadata.PackageNotFoundError:
        return "0+unknown"
