"""Jetstream's messages to events: commits, identities and accounts.

Times: an event has the time at which Jetstream saw it (`time_us`), since only that clock is
one clock: by clients' clocks an unlike could come before its like. Events of one actor in
one millisecond are set one millisecond apart, so that they keep their order. A post has the
earlier of its own `createdAt` (or its rkey's time) and that moment, as Bluesky sorts posts:
imported old posts stay old, and none is from the future.
"""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from cluster.events import Kind
from cluster.ids import id_of_string
from cluster.importers.atproto import (
    POST,
    Malformed,
    RecordUri,
    parse_did,
    parse_tid,
    parse_uri,
    tid_time_us,
)
from cluster.importers.bluesky_posts import content_of, links_of, mentions_of
from cluster.importers.contract import Report
from cluster.importers.records import RecordMap
from cluster.importers.rows import Rows

_ON_POSTS = {"app.bsky.feed.like": Kind.FAVOURITE, "app.bsky.feed.repost": Kind.REPOST}
_ON_USERS = {"app.bsky.graph.follow": Kind.FOLLOW, "app.bsky.graph.block": Kind.BLOCK}
_KINDS = {**_ON_POSTS, **_ON_USERS}
_UNDO = {
    Kind.FAVOURITE: Kind.UNFAVOURITE,
    Kind.REPOST: Kind.UNREPOST,
    Kind.FOLLOW: Kind.UNFOLLOW,
    Kind.BLOCK: Kind.UNBLOCK,
}
_INACTIVE = {
    None: Kind.USER_DEACTIVATE,
    "deactivated": Kind.USER_DEACTIVATE,
    "suspended": Kind.USER_SUSPEND,
    "takendown": Kind.USER_SUSPEND,  # like a suspension it can be lifted again
    "deleted": Kind.USER_DELETE,
}
_MAX_CLOCKS = 200_000
_MAX_AHEAD_MS = 1000
_FIRST_TID_MS = 1_640_995_200_000
"""2022-01-01, when the network did not exist yet: an rkey from before tells no time."""


class JetstreamMapper:
    """Decoded Jetstream messages to events, in their order.

    Every event has an id made of what it says (URI, operation, revision), so that the same
    message always gives the same event. A user who is seen for the first time gets a
    `user_create` that carries the DID.
    """

    def __init__(self, records: RecordMap, report: Report) -> None:
        self.time_us = 0
        self._records = records
        self._notes = report.notes
        self._clocks: dict[str, int] = {}

    def add(self, message: Any, rows: Rows, line: int) -> None:
        """Append a message's events; raises `Malformed` or `IdCollision`."""
        if type(message) is not dict:
            raise Malformed(f"a message must be a JSON object; got {message!r:.80}")
        did = parse_did(message.get("did"), "did")
        time_us = message.get("time_us")
        if type(time_us) is not int or not 0 < time_us < 2**63:
            raise Malformed(f"time_us must be microseconds since 1970; got {time_us!r:.80}")
        kind = message.get("kind")
        if kind not in ("commit", "identity", "account"):
            if type(kind) is not str:
                raise Malformed(f"kind must be a string; got {kind!r:.80}")
            self._notes["messages of another kind"] += 1
            return
        body = message.get(kind)
        if type(body) is not dict:
            raise Malformed(f"{kind} must be an object; got {body!r:.80}")
        about = _About(rows, line, did, time_us, self._seen_ms(did, time_us))
        if kind == "commit":
            self._commit(about, body)
        elif kind == "identity":
            self._identity(about, body)
        else:
            self._account(about, body)
        self.time_us = time_us

    def _commit(self, about: "_About", commit: dict[str, Any]) -> None:
        operation, collection = commit.get("operation"), commit.get("collection")
        if operation not in ("create", "update", "delete"):
            raise Malformed(f"commit.operation must be one of three; got {operation!r:.80}")
        if type(collection) is not str:
            raise Malformed(f"commit.collection must be a string; got {collection!r:.80}")
        undone = _KINDS.get(collection)
        if undone is None and collection != POST:
            self._notes["records of another collection"] += 1
            return
        tid = parse_tid(commit.get("rkey"), "commit.rkey")
        rkey = commit["rkey"]
        uri = RecordUri(f"at://{about.did}/{collection}/{rkey}", about.did, collection, rkey)
        event_id = id_of_string(f"{uri.text}#{operation}#{commit.get('rev') or about.time_us}")
        if operation == "delete":
            if undone is None:
                self._delete_post(about, event_id, uri)
            else:
                self._undo(about, event_id, undone, tid)
            return
        record = commit.get("record")
        if type(record) is not dict:
            raise Malformed(f"commit.record must be an object; got {record!r:.80}")
        if collection == POST:
            self._post(about, event_id, operation, uri, tid, record)
        elif operation == "update":
            self._notes["updates of records that have nothing to update"] += 1
        elif collection in _ON_POSTS:
            self._on_post(about, event_id, _ON_POSTS[collection], tid, record)
        else:
            self._on_user(about, event_id, _ON_USERS[collection], tid, record)

    def _post(
        self,
        about: "_About",
        event_id: int,
        operation: str,
        uri: RecordUri,
        tid: int,
        record: dict[str, Any],
    ) -> None:
        others = content_of(record, uri)
        links = links_of(record) if operation == "create" else {}
        named = mentions_of(record)
        author_id = self._user(about, about.did)
        post_id = self._records.post(uri, author_id)
        for name, column in (("parent", "reply_to"), ("quote", "quote_of"), ("root", "root")):
            if name in links:
                linked_id, linked_author_id = self._linked(about, links[name])
                others[f"{column}_id"] = linked_id
                others[f"{column}_author_id"] = linked_author_id
        if operation == "create":
            kind, time_ms = Kind.POST_CREATE, _written_ms(record, tid, about.seen_ms)
        else:
            kind, time_ms = Kind.POST_EDIT, about.seen_ms
        about.rows.add(
            *(about.line, event_id, kind, time_ms),
            post_id=post_id,
            author_id=author_id,
            others=others,
        )
        user_ids = {self._user(about, did) for did in named if did != about.did}
        self._mention(about, event_id, time_ms, author_id, post_id, user_ids)

    def _mention(
        self,
        about: "_About",
        event_id: int,
        time_ms: int,
        author_id: int,
        post_id: int,
        user_ids: set[int],
    ) -> None:
        """Say whom a post names now, and whom no longer."""
        before = self._records.mentioned(post_id)
        for kind, changed in (
            (Kind.MENTION, user_ids - before),
            (Kind.UNMENTION, before - user_ids),
        ):
            for user_id in sorted(changed):
                about.rows.add(
                    *(about.line, id_of_string(f"{event_id}#{kind.label}#{user_id}")),
                    *(kind, time_ms),
                    actor_id=author_id,
                    post_id=post_id,
                    target_id=user_id,
                )
        if before != user_ids:
            self._records.mention(post_id, user_ids)

    def _delete_post(self, about: "_About", event_id: int, uri: RecordUri) -> None:
        author_id = self._user(about, about.did)
        post_id = self._records.post(uri, author_id)
        about.rows.add(
            *(about.line, event_id, Kind.POST_DELETE, about.seen_ms),
            post_id=post_id,
            author_id=author_id,
        )
        self._mention(about, event_id, about.seen_ms, author_id, post_id, set())

    def _on_post(
        self, about: "_About", event_id: int, kind: Kind, tid: int, record: dict[str, Any]
    ) -> None:
        subject = record.get("subject")
        subject = subject.get("uri") if type(subject) is dict else subject
        uri = parse_uri(subject, "commit.record.subject.uri")
        if uri.collection != POST:
            self._notes["likes and reposts of something other than a post"] += 1
            return
        actor_id = self._user(about, about.did)
        post_id, author_id = self._linked(about, uri)
        self._records.put(actor_id, kind, tid, post_id, author_id)
        about.rows.add(
            *(about.line, event_id, kind, about.seen_ms),
            actor_id=actor_id,
            post_id=post_id,
            author_id=author_id,
        )

    def _on_user(
        self, about: "_About", event_id: int, kind: Kind, tid: int, record: dict[str, Any]
    ) -> None:
        target = parse_did(record.get("subject"), "commit.record.subject")
        if target == about.did:
            raise Malformed(f"commit.record.subject must be another user; got {target}")
        actor_id = self._user(about, about.did)
        target_id = self._user(about, target)
        self._records.put(actor_id, kind, tid, target_id, 0)
        about.rows.add(
            *(about.line, event_id, kind, about.seen_ms), actor_id=actor_id, target_id=target_id
        )

    def _undo(self, about: "_About", event_id: int, undone: Kind, tid: int) -> None:
        actor_id = self._user(about, about.did)
        taken = self._records.take(actor_id, undone, tid)
        if taken is None:
            self._notes["deletes of records never seen"] += 1
            return
        subject_id, author_id = taken
        of_post = undone in _ON_POSTS.values()
        about.rows.add(
            *(about.line, event_id, _UNDO[undone], about.seen_ms),
            actor_id=actor_id,
            post_id=subject_id if of_post else 0,
            author_id=author_id,
            target_id=0 if of_post else subject_id,
        )

    def _identity(self, about: "_About", identity: dict[str, Any]) -> None:
        actor_id = self._user(about, about.did)
        handle = identity.get("handle")
        if type(handle) is not str or handle == "handle.invalid":
            self._notes["identities without a handle"] += 1
            return
        event_id = id_of_string(f"{about.did}#identity#{_sequence(about, identity)}")
        about.rows.add(
            *(about.line, event_id, Kind.USER_UPDATE, about.seen_ms),
            actor_id=actor_id,
            others={"name": handle},
        )

    def _account(self, about: "_About", account: dict[str, Any]) -> None:
        active, status = account.get("active"), account.get("status")
        if type(active) is not bool:
            raise Malformed(f"account.active must be true or false; got {active!r:.80}")
        if type(status) is not str and status is not None:
            raise Malformed(f"account.status must be a string; got {status!r:.80}")
        if not active and status not in _INACTIVE:
            self._notes["account states without an event"] += 1
            return
        actor_id = self._user(about, about.did)
        new = 0 if active else int(_INACTIVE[status])
        old = self._records.change_status(actor_id, new)
        was_suspended = old == Kind.USER_SUSPEND
        back = Kind.USER_UNSUSPEND if was_suspended else Kind.USER_REACTIVATE
        event_id = id_of_string(f"{about.did}#account#{_sequence(about, account)}")
        about.rows.add(*(about.line, event_id, new or back, about.seen_ms), actor_id=actor_id)

    def _linked(self, about: "_About", uri: RecordUri) -> tuple[int, int]:
        """(post, author) of a post that is named by another record."""
        author_id = self._user(about, uri.did)
        return self._records.post(uri, author_id), author_id

    def _user(self, about: "_About", did: str) -> int:
        user_id, is_new = self._records.user(did)
        if is_new:
            about.rows.add(
                *(about.line, id_of_string(f"{did}#user_create"), Kind.USER_CREATE, about.seen_ms),
                actor_id=user_id,
                others={"uri": did},
            )
        return user_id

    def _seen_ms(self, did: str, time_us: int) -> int:
        seen_ms = time_us // 1000
        last_ms = self._clocks.get(did, 0)
        # A clock far ahead is one wrong message, which must not drag the actor's others along.
        if seen_ms <= last_ms < seen_ms + _MAX_AHEAD_MS:
            seen_ms = last_ms + 1
        if len(self._clocks) >= _MAX_CLOCKS:
            self._clocks.clear()
        self._clocks[did] = seen_ms
        return seen_ms


class _About(NamedTuple):
    """The message at hand: where its events go, its line, whose it is and when it was seen."""

    rows: Rows
    line: int
    did: str
    time_us: int
    seen_ms: int


def _written_ms(record: dict[str, Any], tid: int, seen_ms: int) -> int:
    """When a post was written, as far as it says something sensible, else when it was seen."""
    try:
        written = datetime.fromisoformat(record.get("createdAt", ""))
        if written.tzinfo is None:
            written = written.replace(tzinfo=UTC)
        written_ms = int(written.timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        written_ms = tid_time_us(tid) // 1000
        if written_ms < _FIRST_TID_MS:
            return seen_ms
    return written_ms if 0 < written_ms < seen_ms else seen_ms


def _sequence(about: _About, body: dict[str, Any]) -> object:
    return body.get("seq") or about.time_us
