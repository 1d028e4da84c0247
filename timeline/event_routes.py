"""The route under which HTTP sends events."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from cluster import bodies
from cluster.http_edge import BodyReader
from cluster.problems import FieldError, ProblemError
from cluster.tokens import writes_for
from timeline import answers
from timeline.answered import Run, answered
from timeline.callers import Writer, forbidden
from timeline.parameters import Switch
from timeline.service import Service

History = Annotated[Switch, Query(description="Scope admin: old events too, each once.")]


def event_routes(service: Service, run: Run) -> APIRouter:
    """One way to send; it guards itself."""
    router = APIRouter(tags=["events"])
    reader = BodyReader(service.settings.http.max_body_bytes)

    @router.post(
        "/v1/events",
        response_model=answers.EventsAnswer,
        summary="Send events",
        openapi_extra=answers.EVENTS_BODY,
    )
    async def send_events(request: Request, scopes: Writer, history: History = False) -> Response:
        """Answers once the good events are durable; bad ones are returned with why.

        An array, `{"events": […]}`, one object a line, or an Arrow IPC stream. Sending a batch
        again is safe: events with the same id count once.

        With the scope `write:user:ID` alone every event has to be that user's own: `actor_id`
        is the user, and the kind one that a user may tell of oneself. Others are returned with
        why. Event ids are the user's own then: the same id of anybody else is another one.
        """
        trusted, own = "admin" in scopes, writes_for(scopes)
        if history and not trusted:
            raise forbidden("admin")
        media_type = _media_type(request)
        length = request.headers.get("content-length")
        async with reader.body(request.receive, length) as body:

            def take_in() -> bytes:
                done = service.take_in(body, media_type, history=history, trusted=trusted, own=own)
                if done.problems and not done.accepted and not done.repeated:
                    errors = [FieldError(p.field, p.message, p.index) for p in done.problems]
                    raise ProblemError("invalid-events", errors[0].message, errors)
                return answers.events_json(done)

            return await answered(run, take_in)

    return router


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
