"""The routes under which HTTP asks how a process is: alive, ready, which version, its counters."""

from typing import Any

import orjson
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

from cluster.events import SCHEMA_VERSION
from timeline import answers
from timeline.answered import Run
from timeline.callers import allows
from timeline.service import Service

_NOT_READY = {
    **answers.PROBLEM,
    "description": "No shard answers",
    "model": answers.ReadyAnswer,
}


def operation_routes(service: Service, run: Run, version: str) -> APIRouter:
    """Four ways to ask; all but the counters are open to everybody."""
    router = APIRouter(tags=["operation"])

    @router.get(
        "/healthz", response_model=answers.AliveAnswer, summary="Whether this process answers"
    )
    async def healthz() -> Response:
        """Needs no token."""
        return _json({"status": "ok"})

    @router.get(
        "/readyz",
        response_model=answers.ReadyAnswer,
        responses={503: _NOT_READY},
        summary="Whether shards answer, and which do not",
    )
    async def readyz() -> Response:
        """503 when no shard answers. Needs no token."""
        ready, shards = await run(service.ready)
        return _json({"ready": ready, **shards}, 200 if ready else 503)

    @router.get("/version", response_model=answers.VersionAnswer, summary="What runs here")
    async def what_runs() -> Response:
        """Needs no token."""
        return _json({"name": "murmuration", "version": version, "events": SCHEMA_VERSION})

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        dependencies=[allows("read")],
        summary="Counters of this process for Prometheus",
    )
    async def metrics() -> Response:
        """Needs the scope read."""
        return Response(await run(service.metrics.render), media_type=CONTENT_TYPE_LATEST)

    return router


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
