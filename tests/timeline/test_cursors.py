import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from timeline.cursors import Cursor, Cursors, ExpiredCursor, InvalidCursor

NOW_MS = 1_700_000_000_000
CURSORS = Cursors(b"s" * 32, ttl_s=3_600)


def cursor(n: int = 3, **given: int) -> Cursor:
    plain = {"product": 0, "viewer_id": 5, "issued_ms": NOW_MS, "before_ms": 7, "before_id": 8}
    return Cursor(**(plain | given), chain=np.arange(n, dtype=np.uint32))  # type: ignore[arg-type]


@given(st.integers(0, 1_000), st.integers(1, 2**63 - 1), st.integers(0, 1))
def test_a_cursor_comes_back(n: int, viewer_id: int, product: int) -> None:
    given_one = cursor(n, viewer_id=viewer_id, product=product, before_id=viewer_id)
    text = CURSORS.encode(given_one)
    assert set(text) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    found = CURSORS.decode(text, product, viewer_id, NOW_MS + 1)
    assert found.chain.tolist() == given_one.chain.tolist()
    assert (found.before_ms, found.before_id) == (7, viewer_id)


def test_any_changed_bit_is_noticed() -> None:
    raw = base64.urlsafe_b64decode(CURSORS.encode(cursor(1)) + "==")
    for bit in range(8 * len(raw)):
        changed = bytearray(raw)
        changed[bit // 8] ^= 1 << bit % 8
        text = base64.urlsafe_b64encode(bytes(changed)).decode().rstrip("=")
        with pytest.raises(InvalidCursor):
            CURSORS.decode(text, 0, 5, NOW_MS)


@pytest.mark.parametrize("length", [0, 1, 5, 20, 60])
def test_a_cut_cursor_is_noticed(length: int) -> None:
    text = CURSORS.encode(cursor())
    with pytest.raises(InvalidCursor):
        CURSORS.decode(text[:length], 0, 5, NOW_MS)


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80).map(lambda b: b.hex())))
def test_garbage(text: str) -> None:
    with pytest.raises(InvalidCursor):
        CURSORS.decode(text, 0, 5, NOW_MS)


def test_a_cursor_is_for_one_viewer_and_timeline() -> None:
    text = CURSORS.encode(cursor())
    with pytest.raises(InvalidCursor, match="another version, timeline or user"):
        CURSORS.decode(text, 0, 6, NOW_MS)
    with pytest.raises(InvalidCursor, match="another version, timeline or user"):
        CURSORS.decode(text, 1, 5, NOW_MS)
    with pytest.raises(InvalidCursor):
        Cursors(b"t" * 32, ttl_s=3_600).decode(text, 0, 5, NOW_MS)


def test_a_cursor_expires() -> None:
    text = CURSORS.encode(cursor())
    assert CURSORS.decode(text, 0, 5, NOW_MS + 3_600_000).viewer_id == 5
    with pytest.raises(ExpiredCursor, match="older than 3600 s"):
        CURSORS.decode(text, 0, 5, NOW_MS + 3_600_001)
    # What was changed is invalid, however old: expiry tells nothing about it.
    with pytest.raises(InvalidCursor):
        CURSORS.decode("A" + text[1:] if text[0] != "A" else "B" + text[1:], 0, 5, 2**50)


def test_secrets_are_long() -> None:
    with pytest.raises(ValueError, match="at least 16 bytes, got 4"):
        Cursors(b"abcd", 1)
