import base64
import hashlib
import hmac
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.stores.newest_between import Place
from timeline.cursors import Cursor, CursorKind, Cursors, ExpiredCursor, InvalidCursor, Walk

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


@given(
    st.sampled_from(CursorKind),
    *(st.integers(0, 2**63 - 1) for _ in range(5)),
)
def test_a_walk_comes_back(
    kind: CursorKind, before_ms: int, before_id: int, after_ms: int, after_id: int, list_id: int
) -> None:
    places = {"before_ms": before_ms, "before_id": before_id, "after_ms": after_ms}
    given_one = replace(cursor(2, **places), kind=kind, after_id=after_id, subject_id=list_id)
    text = CURSORS.encode(given_one)
    found = CURSORS.decode(text, 0, 5, NOW_MS, list_id)
    assert replace(found, chain=given_one.chain) == given_one
    before = Place(before_ms, before_id) if before_id else None
    after = Place(after_ms, after_id) if after_id else None
    assert found.walk() == Walk(kind, before, after, list_id)
    assert found.walk(with_replies=True).with_replies


@pytest.mark.parametrize(("posts", "found"), [(None, None), (0, 0), (254, 254), (9_999, 254)])
def test_it_says_how_far_ads_are(posts: int | None, found: int | None) -> None:
    for given_one, expected in (
        (replace(cursor(2), since_ad=posts), (found, None)),
        (replace(cursor(2), until_ad=posts), (None, found)),
    ):
        walk = CURSORS.decode(CURSORS.encode(given_one), 0, 5, NOW_MS).walk()
        assert (walk.since_ad, walk.until_ad) == expected


@pytest.mark.parametrize("version", [0, 1, 2, 4, 255])
def test_a_cursor_of_another_version(version: int) -> None:
    body = bytes([version]) + bytes(90)
    signature = hmac.new(b"s" * 32, body, hashlib.sha256).digest()[:16]
    text = base64.urlsafe_b64encode(signature + body).decode().rstrip("=")
    with pytest.raises(InvalidCursor, match="another version"):
        CURSORS.decode(text, 0, 0, NOW_MS)


def test_a_cursor_is_for_one_list() -> None:
    text = CURSORS.encode(replace(cursor(), subject_id=71))
    assert CURSORS.decode(text, 0, 5, NOW_MS, 71).subject_id == 71
    for other in (0, 72):
        with pytest.raises(InvalidCursor, match="another list"):
            CURSORS.decode(text, 0, 5, NOW_MS, other)


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
