"""Cursors: signed, self-contained, and good on any replica.

A cursor says where a chain of pages goes on: below what it showed, above it, or in a gap that a
page above it left. Timelines ordered by time need two places for that, and hashes of what was
shown out of its place; ranked ones carry hashes of everything that the chain showed.
"""

import base64
import hashlib
import hmac
import struct
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from actors.stores.newest_between import Place

_VERSION = 3
_HEADER = struct.Struct("<BBBqqqqqqqBBI")
_NO_AD = 255
_SIGNATURE_BYTES = 16


class InvalidCursor(ValueError):
    """Not a cursor of ours for this viewer and timeline."""


class ExpiredCursor(ValueError):
    """A cursor of ours that is too old."""


class CursorKind(IntEnum):
    """Where a chain of pages goes on."""

    OLDER = 0
    """Below the oldest post served (the original's bottom cursor)."""
    NEWER = 1
    """Above the newest post served (top)."""
    GAP = 2
    """Between two blocks that were served."""


@dataclass(frozen=True)
class Walk:
    """Which part of a timeline a request asks for."""

    kind: CursorKind | None = None
    """None for a first page."""
    before: Place | None = None
    """Ordered by time: only posts below this place,"""
    after: Place | None = None
    """and above this one."""
    list_id: int = 0
    """Lists: which."""
    with_replies: bool = False
    """Lists: replies too."""
    since_ad: int | None = None
    """As in `Cursor`, like the next."""
    until_ad: int | None = None


@dataclass(frozen=True)
class Cursor:
    """Where a chain of pages goes on."""

    product: int
    """Which timeline it belongs to."""
    viewer_id: int
    issued_ms: int
    before_ms: int
    before_id: int
    """Ordered by time: creation time and id of the post below which it goes on; 0 for none."""
    chain: npt.NDArray[np.uint32]
    """Hashes, sorted: in ranked timelines of the posts that the chain served, in those ordered
    by time of posts further down that stood above replies."""
    kind: CursorKind = CursorKind.OLDER
    after_ms: int = 0
    after_id: int = 0
    """Ordered by time: the post above which it goes on; 0 for none."""
    subject_id: int = 0
    """Of which list; 0 where there is one timeline a viewer."""
    since_ad: int | None = None
    """Posts shown between where it goes on and the last ad above; None where there was none.
    Beyond 254 they are not counted, here and below."""
    until_ad: int | None = None
    """Posts shown between there and the first ad below; None where nothing was shown below."""

    @property
    def before(self) -> Place | None:
        """The post below which it goes on."""
        return Place(self.before_ms, self.before_id) if self.before_id else None

    @property
    def after(self) -> Place | None:
        """The post above which it goes on."""
        return Place(self.after_ms, self.after_id) if self.after_id else None

    def walk(self, *, with_replies: bool = False) -> Walk:
        """What a request with this cursor asks for."""
        places = self.kind, self.before, self.after, self.subject_id, with_replies
        return Walk(*places, self.since_ad, self.until_ad)


class Cursors:
    """Signs and checks cursors with a secret that all replicas share."""

    def __init__(self, secret: bytes, ttl_s: int) -> None:
        if len(secret) < 16:
            raise ValueError(f"a cursor secret needs at least 16 bytes, got {len(secret)}")
        self._secret = secret
        self._ttl_ms = ttl_s * 1000

    def encode(self, cursor: Cursor) -> str:
        """URL-safe text of a cursor."""
        header = _HEADER.pack(
            *(_VERSION, cursor.product, cursor.kind, cursor.viewer_id, cursor.issued_ms),
            *(cursor.before_ms, cursor.before_id, cursor.after_ms, cursor.after_id),
            *(cursor.subject_id, _byte(cursor.since_ad), _byte(cursor.until_ad)),
            len(cursor.chain),
        )
        body = header + cursor.chain.astype("<u4").tobytes()
        return base64.urlsafe_b64encode(self._sign(body) + body).decode().rstrip("=")

    def decode(
        self, text: str, product: int, viewer_id: int, now_ms: int, subject_id: int = 0
    ) -> Cursor:
        """The cursor in `text`.

        Raises `InvalidCursor` for anything that this version did not issue to this viewer for
        this timeline, and `ExpiredCursor` for what it did, too long ago.
        """
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise InvalidCursor("not a cursor") from error
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not body or not hmac.compare_digest(signature, self._sign(body)):
            raise InvalidCursor("not a cursor, or one that was changed")
        if body[0] != _VERSION:
            raise InvalidCursor("a cursor of another version, timeline or user")
        cursor = _read(body)
        if (cursor.product, cursor.viewer_id) != (product, viewer_id):
            raise InvalidCursor("a cursor of another version, timeline or user")
        if cursor.subject_id != subject_id:
            raise InvalidCursor("a cursor of another list")
        if now_ms - cursor.issued_ms > self._ttl_ms:
            raise ExpiredCursor(f"older than {self._ttl_ms // 1000} s; begin again without one")
        return cursor

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, hashlib.sha256).digest()[:_SIGNATURE_BYTES]


def _read(body: bytes) -> Cursor:
    header = _HEADER.unpack_from(body)
    _, product, kind, viewer_id, issued_ms, before_ms, before_id, after_ms, after_id = header[:9]
    subject_id, since_ad, until_ad, n = header[9:]
    return Cursor(
        *(product, viewer_id, issued_ms, before_ms, before_id),
        np.frombuffer(body, "<u4", n, _HEADER.size).astype(np.uint32),
        *(CursorKind(kind), after_ms, after_id, subject_id),
        *(None if posts == _NO_AD else posts for posts in (since_ad, until_ad)),
    )


def _byte(posts: int | None) -> int:
    return _NO_AD if posts is None else min(posts, _NO_AD - 1)
