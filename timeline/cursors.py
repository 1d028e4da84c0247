"""Cursors: signed, self-contained, and good on any replica."""

import base64
import hashlib
import hmac
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_VERSION = 1
_HEADER = struct.Struct("<BBqqqqI")
_SIGNATURE_BYTES = 16


class InvalidCursor(ValueError):
    """Not a cursor of ours for this viewer and timeline."""


class ExpiredCursor(ValueError):
    """A cursor of ours that is too old."""


@dataclass(frozen=True)
class Cursor:
    """Where a chain of pages goes on."""

    product: int
    """Which timeline it belongs to."""
    viewer_id: int
    issued_ms: int
    before_ms: int
    before_id: int
    """Following: creation time and id of the last post served."""
    chain: npt.NDArray[np.uint32]
    """Hashes of the posts that the chain served, sorted (For You)."""


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
            *(_VERSION, cursor.product, cursor.viewer_id, cursor.issued_ms),
            *(cursor.before_ms, cursor.before_id, len(cursor.chain)),
        )
        body = header + cursor.chain.astype("<u4").tobytes()
        return base64.urlsafe_b64encode(self._sign(body) + body).decode().rstrip("=")

    def decode(self, text: str, product: int, viewer_id: int, now_ms: int) -> Cursor:
        """The cursor in `text`.

        Raises `InvalidCursor` for anything that was not issued to this viewer for this
        timeline, and `ExpiredCursor` for what was, too long ago.
        """
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError as error:
            raise InvalidCursor("not a cursor") from error
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if len(body) < _HEADER.size or not hmac.compare_digest(signature, self._sign(body)):
            raise InvalidCursor("not a cursor, or one that was changed")
        version, found_product, found_viewer, issued_ms, before_ms, before_id, n = (
            _HEADER.unpack_from(body)
        )
        if version != _VERSION or found_product != product or found_viewer != viewer_id:
            raise InvalidCursor("a cursor of another version, timeline or user")
        if now_ms - issued_ms > self._ttl_ms:
            raise ExpiredCursor(f"older than {self._ttl_ms // 1000} s; begin again without one")
        chain = np.frombuffer(body, "<u4", n, _HEADER.size).astype(np.uint32)
        return Cursor(product, viewer_id, issued_ms, before_ms, before_id, chain)

    def _sign(self, body: bytes) -> bytes:
        return hmac.new(self._secret, body, hashlib.sha256).digest()[:_SIGNATURE_BYTES]
