"""What went wrong, as clients are told: problem documents of RFC 9457."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from cluster import log

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 1

_TITLES = {
    "malformed-body": (400, "The body cannot be read"),
    "invalid-cursor": (400, "The cursor is not valid here"),
    "unauthorized": (401, "A valid token is required"),
    "forbidden": (403, "The token's scope does not suffice"),
    "not-found": (404, "There is nothing here"),
    "unknown-request": (404, "No trace of this request is kept"),
    "unknown-list": (404, "The user has no such list"),
    "unknown-user": (404, "There is no such user"),
    "unknown-post": (404, "There is no such post"),
    "method-not-allowed": (405, "This method is not supported here"),
    "body-timeout": (408, "The body did not arrive in time"),
    "expired-cursor": (410, "The cursor has expired"),
    "too-large": (413, "The body is too large"),
    "unsupported-media-type": (415, "The body's media type is not supported"),
    "invalid-request": (422, "The request does not hold what is expected"),
    "invalid-events": (422, "No event of the batch is valid"),
    "headers-too-large": (431, "The headers are too large"),
    "internal": (500, "Something failed inside"),
    "overloaded": (503, "Too many requests at once"),
    "log-unavailable": (503, "The event log does not answer"),
    "unavailable": (503, "A part of the system does not answer"),
    "log-full": (507, "The event log has no room"),
}


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field, and of which event where there are several."""

    field: str
    message: str
    index: int | None = None


@dataclass(eq=False)
class ProblemError(Exception):
    """A request that is answered with a problem; `slug` names its type."""

    slug: str
    detail: str = ""
    errors: Sequence[FieldError] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> int:
        """The HTTP status of the type."""
        return _TITLES[self.slug][0]

    def document(self, request_id: str) -> bytes:
        """The problem document, as JSON."""
        status, title = _TITLES[self.slug]
        content: dict[str, Any] = {
            "type": f"urn:murmuration:problem:{self.slug}",
            "title": title,
            "status": status,
            "detail": self.detail or title,
            "instance": f"urn:murmuration:request:{request_id}",
        }
        if self.errors:
            content["errors"] = [
                {k: v for k, v in vars(error).items() if v is not None} for error in self.errors
            ]
        # Lone surrogates, which a client can send in a path, are no JSON.
        try:
            return orjson.dumps(content)
        except TypeError:
            return orjson.dumps(_cleaned(content))


def invalid(name: str, message: str) -> ProblemError:
    """The problem of one field of a request."""
    return ProblemError("invalid-request", f"{name}: {message}", [FieldError(name, message)])


def try_later(slug: str, detail: str = "") -> ProblemError:
    """A problem that passes: it says when to try again."""
    return ProblemError(slug, detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def of_log_error(error: log.LogError) -> ProblemError:
    """What a failed append means to the client that sent the events."""
    if isinstance(error, log.LogFull):
        return ProblemError("log-full", "nothing was appended; reads go on")
    if isinstance(error, log.PayloadTooLarge):
        return ProblemError("too-large", "too many events of the same users; send smaller batches")
    if isinstance(error, log.AppendUnknown):
        return try_later(
            "log-unavailable", "the events may or may not be in the log; sending them again is safe"
        )
    return try_later("log-unavailable", "nothing was appended; try again")


def slug_of_status(status: int) -> str:
    """The type for a status that a framework chose."""
    for slug, (code, _) in _TITLES.items():
        if code == status:
            return slug
    return "invalid-request" if status < 500 else "internal"


def _cleaned(content: Any) -> Any:
    if isinstance(content, str):
        return content.encode("utf-8", "replace").decode()
    if isinstance(content, dict):
        return {key: _cleaned(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_cleaned(value) for value in content]
    return content
