"""Who asks over HTTP and what they may: the dependencies that guard routes.

A route guarded by nothing but `allows` refuses the tokens of single users, so a new one cannot
forget them; `User` and `Owner` are the ids of those whose own business a route tells, and `Writer`
may be a user who tells of oneself.
"""

from typing import Annotated, Any

from fastapi import Depends, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cluster.problems import ProblemError
from cluster.tokens import BY_USER, OF_USER, Tokens, may_read, of_user, writes_for
from timeline.parameters import Exactly, Id, Seed, Switch, TimeMs

_BEARER = HTTPBearer(auto_error=False, description="A token of the tokens file.")
_OWN = [f"{OF_USER}{{user_id}}"]
_BY_SELF = [f"{BY_USER}{{actor_id}}"]
"""The least scopes, as OpenAPI shows them."""


async def _scopes(
    request: Request,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
) -> frozenset[str]:
    tokens: Tokens = request.app.state.tokens
    scopes = tokens.scopes_of(credentials.credentials) if credentials else None
    if scopes is None:
        header = 'Bearer realm="murmuration"'
        raise ProblemError("unauthorized", headers={"WWW-Authenticate": header})
    return scopes


Scopes = Annotated[frozenset[str], Depends(_scopes)]
"""What a caller with any valid token may."""


def allows(scope: str) -> Any:
    """A dependency: the scopes of a caller who has at least this one."""

    async def allowed(scopes: Scopes) -> frozenset[str]:
        if scope not in scopes:
            raise forbidden(scope)
        return scopes

    return Security(allowed, scopes=[scope])


def forbidden(scope: str, detail: str = "") -> ProblemError:
    """The problem of a token that lacks a scope."""
    header = f'Bearer realm="murmuration", error="insufficient_scope", scope="{scope}"'
    detail = detail or f"needs the scope {scope}"
    return ProblemError("forbidden", detail, headers={"WWW-Authenticate": header})


async def _reader(scopes: Scopes) -> frozenset[str]:
    # Before anything is said of the parameters.
    if "read" not in scopes and not any(scope.startswith(OF_USER) for scope in scopes):
        raise forbidden("read")
    return scopes


_Reader = Annotated[frozenset[str], Depends(_reader)]


async def _writer(scopes: Scopes) -> frozenset[str]:
    if writes_for(scopes) == frozenset():
        raise forbidden("write")
    return scopes


async def _user(user_id: Id, scopes: _Reader) -> int:
    if not may_read(scopes, user_id):
        own = of_user(user_id)
        raise forbidden(own, f"needs the scope read or {own}")
    return user_id


async def _owner(
    user_id: Annotated[Id, Query(description="Whose list it is, and who reads it.")],
    scopes: _Reader,
) -> int:
    return await _user(user_id, scopes)


User = Annotated[int, Security(_user, scopes=_OWN)]
"""`user_id` of the path, whose own business the caller may read."""
Owner = Annotated[int, Security(_owner, scopes=_OWN)]
"""The same of the query."""

Writer = Annotated[frozenset[str], Security(_writer, scopes=_BY_SELF)]
"""Scopes of a caller who may send events, if only a user's own (`writes_for`)."""

Instant = Annotated[TimeMs | None, Query(description="Scope admin: the time it is.")]
Chance = Annotated[Seed | None, Query(description="Scope admin: the seed of all chance.")]
Record = Annotated[Switch, Query(description="Scope admin: `false` leaves nothing behind.")]


async def _exactly(
    scopes: Scopes, now_ms: Instant = None, seed: Chance = None, record: Record = True
) -> Exactly:
    asked = Exactly(now_ms, seed, record)
    if asked.asked and "admin" not in scopes:
        raise forbidden("admin")
    return asked


Exact = Annotated[Exactly, Depends(_exactly)]
"""What makes a request repeatable, which only operators may ask for."""
